"""A tokenizer.json: its ids, its end token, its pattern, and what is refused."""

import json
import pickle
import sys

import pytest

from token_helpers import EOT, hf_file, message, says
from windrow.tokens import patterns
from windrow.tokens.protocol import bos_id_of
from windrow.tokens.tokenizer import load_tokenizer


def test_a_tokenizer_json_adds_and_reads_no_special_token(tmp_path):
    known = load_tokenizer(str(hf_file(tmp_path)))
    assert (known.name, known.eos_id, known.pattern) == ("tokenizer.json", 0, "gpt2")
    text = f"the quick{EOT} brown fox jumps over"
    assert 0 not in known.encode(text)  # neither the template's nor the text's
    assert len(known.encode(text)) > 3  # no truncation
    assert known.decode(known.encode(text)) == text
    assert known.encode(text, allowed_special={EOT}).count(0) == 1
    assert known.decode([0]) == EOT
    assert known.encode("") == []
    assert [row.tolist() for row in known.encode_batch(["the", "fox"])] == [known.encode("the"), known.encode("fox")]


def test_a_tokenizer_json_pickles_and_has_a_fingerprint_of_its_content(tmp_path):
    path = hf_file(tmp_path)
    known = load_tokenizer(path)
    again = pickle.loads(pickle.dumps(known))
    assert again.encode("the fox") == known.encode("the fox")
    assert again.fingerprint == known.fingerprint
    settings = json.loads(path.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict(reversed(settings.items())) | {"truncation": None, "padding": None}, indent=3))
    assert load_tokenizer(other).fingerprint == known.fingerprint
    assert load_tokenizer(f"{path}:Ġ").fingerprint != known.fingerprint


def test_the_end_token_of_a_tokenizer_json_is_found_or_named(tmp_path):
    assert load_tokenizer(hf_file(tmp_path, specials=("<pad>", "</s>"))).eos_id == 1
    path = hf_file(tmp_path, specials=("<pad>", "<stop>"))
    says(message(load_tokenizer, path), "usual end tokens", "<pad>, <stop>", "after a colon")
    assert load_tokenizer(f"{path}:<stop>").eos_id == 1
    says(message(load_tokenizer, f"{path}:</s>"), "has no token '</s>'", "<pad>, <stop>")


def test_the_token_that_begins_documents_is_one_of_a_usual_name_or_none(tmp_path):
    known = load_tokenizer(hf_file(tmp_path, specials=("<pad>", "</s>", "<s>")))
    assert (known.bos_id, bos_id_of(known)) == (2, 2)
    without = load_tokenizer(hf_file(tmp_path, specials=("<pad>", "</s>")))
    assert without.bos_id is None
    says(message(bos_id_of, without), "the tokenizer 'tokenizer.json' has no bos_id")
    assert load_tokenizer("gpt2").bos_id is None


def test_a_vocabulary_that_holds_a_control_token_as_a_word_is_caught(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"</s>": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["</s>", "[UNK]"])
    path = tmp_path / "words.json"
    words.save(str(path))
    known = load_tokenizer(path)
    assert known.encode("a b") == [2, 1]  # an unknown word is no forgery
    says(message(known.encode_batch, ["a", "a </s>"]), "text 1", "'</s>' (id 0)", "end documents")


def test_the_pattern_of_a_tokenizer_json_is_known_only_if_it_does_nothing_else(tmp_path):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {
        "type": "Split",
        "pattern": {"Regex": patterns.PATTERNS["cl100k_base"][2]},
        "behavior": "Isolated",
        "invert": False,
    }

    def pattern(**changes):
        return load_tokenizer(hf_file(tmp_path, **changes)).pattern

    def steps(*pretokenizers):
        return {"type": "Sequence", "pretokenizers": list(pretokenizers)}

    assert pattern() == "gpt2"
    assert pattern(pre_tokenizer=steps(split, level)) == "cl100k_base"
    assert pattern(pre_tokenizer=steps(split | {"pattern": {"Regex": "x"}}, level)) is None
    assert pattern(pre_tokenizer=steps(split | {"behavior": "Removed"}, level)) is None
    assert pattern(pre_tokenizer=steps(split, split, level)) is None
    assert pattern(pre_tokenizer=level) is None
    assert pattern(pre_tokenizer=None) is None
    assert pattern(add_prefix_space=True) is None
    assert pattern(normalizer={"type": "NFC"}) == "gpt2"
    assert pattern(normalizer={"type": "NFKC"}) is None
    assert pattern(more=["<think>"]) == "gpt2"
    assert pattern(more=["<think>"], normalizer={"type": "NFC"}) is None  # it is sought in what NFC makes


def test_what_is_no_tokenizer_json_is_an_error(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "some.json"
    for content in ("{", "[]", '{"a": 1}', "\udcff"):
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        says(message(load_tokenizer, path), "is not a tokenizer.json", "tokenizers.Tokenizer.save")
    path.write_text('{"model": {"type": "Unheard", "vocab": {}}}')
    says(message(load_tokenizer, path), "cannot read", "--upgrade tokenizers")


def test_an_id_outside_a_tokenizer_json_cannot_be_decoded(tmp_path):
    known = load_tokenizer(hf_file(tmp_path))
    for wrong in ([-100], [known.vocab_size], [[1]], [1.5]):
        says(message(known.decode, wrong), "cannot decode", "vocab_size")


def test_without_the_package_a_tokenizer_json_says_what_to_install(tmp_path, monkeypatch):
    path = hf_file(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    says(message(load_tokenizer, path), 'pip install "windrow-data[hf]"')


def test_a_package_that_cannot_leave_special_tokens_alone_is_refused(tmp_path, monkeypatch):
    path = hf_file(tmp_path)
    old = type(sys)("tokenizers")
    old.Tokenizer, old.__version__ = object, "0.15.0"
    monkeypatch.setitem(sys.modules, "tokenizers", old)
    says(message(load_tokenizer, path), "tokenizers 0.15.0", "--upgrade")


def test_each_id_of_a_byte_level_file_has_its_bytes_half_a_characters_too(tmp_path):
    known = load_tokenizer(hf_file(tmp_path, more=["<think>", "é e"]))
    for text in ("naïve 天 the quick\x00\xa0", "<think>é e."):
        ids = known.encode(text)
        assert b"".join(known.token_bytes[token] for token in ids) == text.encode()
    assert known.token_bytes[known.eos_id] == EOT.encode()


def test_blanks_and_single_bytes_of_a_metaspace_file_are_bytes_and_other_decoders_do_not_tell(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    vocab = {"</s>": 0, "<0xE5>": 1, "\u2581hay": 2, "\u2581\u2581": 3}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="</s>"))
    made.add_special_tokens(["</s>"])
    path = tmp_path / "tokenizer.json"
    decoders = tokenizers.decoders
    metaspace = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    for decoder in (decoders.Sequence(metaspace), decoders.Metaspace()):
        made.decoder = decoder
        made.save(str(path))
        assert load_tokenizer(path).token_bytes == {0: b"</s>", 1: b"\xe5", 2: b" hay", 3: b"  "}
    for decoder in (decoders.WordPiece(), None):
        made.decoder = decoder
        made.save(str(path))
        says(message(lambda: load_tokenizer(path).token_bytes), str(decoder and "WordPiece"), "Leave num_bytes out")
