"""What the tests of tokenizers share: published ids, toy vocabularies, and what a message must say."""

import json

import pytest
import tiktoken
from hypothesis import strategies as st

from windrow.errors import TokenizerError
from windrow.tokens import engine, patterns

EOT = "<|endoftext|>"

GOLDEN = {
    "": [],
    " ": [220],
    "\n\n": [628],
    "Hello, world!": [15496, 11, 995, 0],
    "  two  spaces ": [220, 734, 220, 9029, 220],
    "I'll we've they're don't": [40, 1183, 356, 1053, 484, 821, 836, 470],
    "<|endoftext|>": [27, 91, 437, 1659, 5239, 91, 29],
    "naïve café Ⅳ ½": [2616, 38776, 40304, 2343, 227, 96, 25208],
    "日本語のテキスト": [33768, 98, 17312, 105, 45739, 252, 5641, 24336, 25084, 43302],
    "\ufeffBOM": [171, 119, 123, 33, 2662],
    "tab\tand\r\ncrlf": [8658, 197, 392, 201, 198, 6098, 1652],
    "a" * 50: [24794] * 12 + [7252],
}

TRICKY = [
    *GOLDEN,
    *engine.SELF_TEST,
    "\x00",
    "a\x00b",
    " " * 999 + "a",
    "\r\n" * 99,
    "'" * 50,
    "é" * 500,
    "\u3000 \n x\n ",
]

TRICKY += ["x\U000323b0's", "\u088f's \U0001e6c0't"]  # letters since Unicode 17, which tiktoken 0.14 does not know


def message(call, *args, **kwargs):
    with pytest.raises(TokenizerError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def says(text, *parts):
    for part in parts:
        assert part in text, (part, text)


def without_gigatoken(known):
    """``known``, whose ids are tiktoken's alone from now on."""
    known._model.may_be_fast = False
    return known


def toy_ranks(*more):
    tokens = [bytes([byte]) for byte in range(256)] + list(more)
    return {token: rank for rank, token in enumerate(tokens)}


def encoding(name="toy", ranks=None, specials=None, regex=patterns.PATTERNS["gpt2"][0]):
    ranks = ranks or toy_ranks(b"th", b"the")
    specials = {EOT: len(ranks)} if specials is None else specials
    return tiktoken.Encoding(name, pat_str=regex, mergeable_ranks=ranks, special_tokens=specials)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))

ADVERSARIAL = st.lists(
    st.sampled_from(list(" \t\r\n\x00'sStdlrev1½Ⅳ٣aAéǅß日ー\u0301\u200d\u00a0\u3000\u2028👩<|>/.")), max_size=30
)


class Words:
    """The smallest tokenizer of somebody else's."""

    vocab_size, eos_id, fingerprint = 5, 4, "words"

    def encode(self, text):
        return [len(word) for word in text.split()]

    def decode(self, ids):
        return " ".join("x" * token for token in ids)


def hf_file(folder, specials=(EOT,), more=(), add_prefix_space=False, name="tokenizer.json", **changes):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=list(specials), show_progress=False
    )
    made.train_from_iterator(["the quick brown fox jumps over the lazy dog " * 5], trainer)
    made.add_tokens(list(more))
    if specials:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            f"{specials[0]} $A", special_tokens=[(specials[0], 0)]
        )
    made.enable_truncation(3)
    made.enable_padding(length=50)
    path = folder / name
    path.write_text(json.dumps(json.loads(made.to_str()) | changes), encoding="utf-8")
    return path
