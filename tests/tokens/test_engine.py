"""gigatoken in front of a tokenizer.json, with the package tokenizers as the oracle.

All of Unicode by a second pattern when WINDROW_EXHAUSTIVE is set (as in .ci/run).
"""

import json
import os
import random
import re
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from token_helpers import ADVERSARIAL, ANY_TEXT, EOT, TRICKY, encoding, message, says
from windrow import prepare
from windrow.tokens import cuts, disputed
from windrow.tokens.engine import Engine
from windrow.tokens.patterns import PATTERNS
from windrow.tokens.tokenizer import TextTokenizer, load_tokenizer

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("gigatoken")

CONTROLS = ("<|begin_of_text|>", "<|end_of_text|>", EOT)
SIGNS = ("<think>", "</think>", "<tool_call>")
KINDS: dict[str, Any] = {
    **{name: {"pattern": name} for name in PATTERNS},
    "qwen2, NFC": {"pattern": "qwen2", "normalizer": "NFC"},
    "qwen2, NFC, signs": {"pattern": "qwen2", "normalizer": "NFC", "signs": SIGNS},
    "cl100k_base, words as they are": {"pattern": "cl100k_base", "ignore_merges": True},
}
CODE = Path(__file__).read_text(encoding="utf-8")
SIGNED = st.lists(st.sampled_from([*CONTROLS, *SIGNS, "<", ">", "|", "a", "1", " \n", "e\u0301"]))
TEXTS = ANY_TEXT | (ADVERSARIAL | SIGNED).map("".join)


@pytest.fixture(autouse=True)
def fast_from_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "FAST_FROM", 0)


@cache
def settings_of(
    pattern: str, normalizer: str = "", signs: tuple[str, ...] = (), ignore_merges: bool = False
) -> dict[str, Any]:
    """A byte-level vocabulary trained on a little code and the scripts of the tricky texts."""
    level = tokenizers.pre_tokenizers.ByteLevel
    made = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=ignore_merges))
    made.pre_tokenizer, made.decoder = level(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    if pattern != "gpt2":
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERNS[pattern][-1]), "isolated")
        made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level(add_prefix_space=False, use_regex=False)])
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=level.alphabet(), show_progress=False, special_tokens=[CONTROLS[0]]
    )
    made.train_from_iterator([CODE, *TRICKY], trainer)
    made.add_special_tokens([*CONTROLS[1:]])
    made.add_tokens([tokenizers.AddedToken(sign, normalized=False, special=False) for sign in signs])
    return json.loads(made.to_str()) | {"normalizer": {"type": normalizer} if normalizer else None}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TextTokenizer, Any]]:
    """Of each kind ours and the package's own, which reads special tokens as text."""
    return {kind: both(settings_of(**given), tmp_path_factory.mktemp("json")) for kind, given in KINDS.items()}


def both(made: dict[str, Any], folder: Path) -> tuple[TextTokenizer, Any]:
    (folder / "tokenizer.json").write_text(json.dumps(made), encoding="utf-8")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(made))
    theirs.encode_special_tokens = True
    return load_tokenizer(folder), theirs


def same(known: TextTokenizer, theirs: Any, texts: list[str]) -> None:
    for text, ids in zip(texts, known.encode_batch(texts), strict=True):
        assert ids.tolist() == theirs.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_the_package_on_tricky_texts_and_code(kind: str, loaded: Any) -> None:
    known, theirs = loaded[kind]
    same(known, theirs, [*TRICKY, CODE, *CONTROLS, f"{EOT}<think>{''.join(CONTROLS)}</think> <think", "x\u1abf\u0323"])
    assert known._model.fast is not None
    assert known.pattern == KINDS[kind]["pattern"]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=4))
@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_the_package_on_any_text(kind: str, loaded: Any, texts: list[str]) -> None:
    same(*loaded[kind], texts)


@pytest.mark.parametrize("kind", ["cl100k_base"] * bool(os.environ.get("WINDROW_EXHAUSTIVE")) + ["qwen2, NFC"])
def test_every_undisputed_character_is_the_same_to_gigatoken_and_the_package(kind: str, loaded: Any) -> None:
    """All of Unicode, also where NFC orders it among marks."""
    known, theirs = loaded[kind]
    known.encode("")
    chars = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    chars = [char for char in chars if not disputed.is_disputed(char)]
    for start in range(0, len(chars), 512):
        text = "".join(f"{char}'s e{char}\u0301 e{char}\u0323 " for char in chars[start : start + 512])
        assert known._model.fast.encode(text).tolist() == theirs.encode(text, add_special_tokens=False).ids, text


@given(TEXTS, TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_cut_by_the_rule_of_a_file_have_the_ids_of_the_whole(
    kind: str, loaded: Any, head: str, tail: str
) -> None:
    known, _ = loaded[kind]
    rule = cuts.rule_of(known.pattern, known.added)
    assert rule == ("blank" if known.added else True)
    text = f"{head} a <think>1 e\u0301</think> <tool_call>x 12。{tail} naïve"
    edges = [0, *(found.start() for found in cuts._RULES[rule].finditer(text)), len(text)]
    assert len(edges) > 3
    parts = [text[start:stop] for start, stop in pairwise(edges)]
    assert [token for part in parts for token in known.encode_reference(part)] == known.encode_reference(text)


def test_nfc_changes_nothing_at_a_cut() -> None:
    """No character on either side of one is joined to what comes before it, or becomes another."""
    either = re.compile(f"[{cuts._LETTERS}{cuts._AFTER}0-9A-Za-z]")
    chars = [chr(point) for point in range(0x110000)]
    parts = [unicodedata.decomposition(char).split() for char in chars]
    joined = {chr(int(codes[1], 16)) for codes in parts if len(codes) == 2 and "<" not in codes[0]}
    assert "\u0301" in joined
    for char in filter(either.match, chars):
        assert char not in joined
        assert unicodedata.combining(char) == 0
        assert unicodedata.normalize("NFC", char) == char


def test_ids_and_merges_may_stand_in_any_order(tmp_path: Path) -> None:
    made = json.loads(json.dumps(settings_of("cl100k_base")))
    ids = list(made["model"]["vocab"].values())
    random.Random(0).shuffle(ids)
    made["model"]["vocab"] = dict(zip(made["model"]["vocab"], ids, strict=True))
    made["added_tokens"][0]["id"] = made["model"]["vocab"][CONTROLS[0]]
    known, theirs = both(made, tmp_path)
    same(known, theirs, [*TRICKY, CODE])
    assert known._model.fast is not None


def changed(**changes: Any) -> dict[str, Any]:
    made = json.loads(json.dumps(settings_of("cl100k_base", signs=SIGNS)))
    for name, value in changes.items():
        place, _, name = name.rpartition("__")
        within = {"": made, "model": made["model"], "split": made["pre_tokenizer"]["pretokenizers"][0]}
        within |= {"level": made["pre_tokenizer"]["pretokenizers"][1], "sign": made["added_tokens"][-1]}
        within[place][name] = value
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"model__dropout": 0.5},
        {"model__end_of_word_suffix": "</w>"},
        {"model__continuing_subword_prefix": "##", "model__merges": []},
        {"split__behavior": "Removed"},
        {"split__invert": True},
        {"split__pattern": {"Regex": r"\w+"}},
        {"level__add_prefix_space": True},
        {"level__use_regex": True},
        {"normalizer": {"type": "Lowercase"}},
        {"sign__lstrip": True},
        {"sign__rstrip": True},
        {"sign__single_word": True},
        {"normalizer": {"type": "NFC"}, "sign__normalized": True},
        {"sign__content": "|>x"},  # begins in <|end_of_text|>
    ],
    ids=str,
)
def test_a_file_that_does_more_than_gigatoken_is_left_to_the_package(changes: dict[str, Any], tmp_path: Path) -> None:
    known, theirs = both(changed(**changes), tmp_path)
    text = "Some words <tool_call> here, <|end_of_text|>x\n"
    assert known.encode(text) or changes == {"split__behavior": "Removed"}
    if "model__dropout" not in changes:
        same(known, theirs, [text])
    assert known._model.fast is None


def test_a_control_token_that_letters_make_is_an_error_to_gigatoken_too(tmp_path: Path) -> None:
    made = json.loads(json.dumps(settings_of("cl100k_base", ignore_merges=True)))
    made["added_tokens"].append(made["added_tokens"][-1] | {"id": 2002, "content": "stop"})
    made["model"]["vocab"]["stop"] = 2002
    known, _ = both(made, tmp_path)
    assert known.encode("sto p")
    assert known._model.fast is not None
    says(message(known.encode_batch, ["a", "stop"]), "text 1 makes the control token 'stop' (id 2002)", "plain letters")


def test_a_gigatoken_that_differs_from_the_package_is_an_error_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = both(settings_of("cl100k_base"), tmp_path)
    real = Engine._encode_fast
    monkeypatch.setattr(Engine, "_encode_fast", lambda self, texts: [ids[:-1] for ids in real(self, texts)])
    for _ in range(2):
        says(message(known.encode, "the cat"), "gigatoken and tokenizers differ", "pip uninstall gigatoken")


def test_a_folder_stands_for_the_tokenizer_json_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, _ = both(settings_of("gpt2"), tmp_path)
    assert known.name == "tokenizer.json"
    assert load_tokenizer(str(tmp_path)).fingerprint == load_tokenizer(tmp_path / "tokenizer.json").fingerprint
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "tokenizer.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("gpt2").fingerprint != known.fingerprint  # a name is a name
    (tmp_path / "empty").mkdir()
    says(message(load_tokenizer, "empty"), "there is no tokenizer 'empty'", "or its folder")


@pytest.mark.parametrize("kind", ["cl100k_base", "qwen2, NFC, signs"])
def test_a_long_document_is_cut_and_has_the_ids_of_the_whole(kind: str, loaded: Any, tmp_path: Path) -> None:
    known, theirs = loaded[kind]
    text = "Some words <think>here</think>, e\u0301 and 12345 there.\n" * 170_000
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    store = prepare(tmp_path / "x.txt", tmp_path / "out", tokenizer=known)["train"]
    expected = theirs.encode(text[: len(text) // 170_000 * 1000], add_special_tokens=False).ids
    ids = store.document(0)
    assert ids[: len(expected) - 5].tolist() == expected[:-5]
    assert known.decode(ids[:-1]) == unicodedata.normalize("NFC", text) if "NFC" in kind else text


def test_an_encoding_with_qwens_pattern_is_known() -> None:
    known = load_tokenizer(encoding(regex=PATTERNS["qwen2"][0]))
    assert known.pattern == "qwen2"
    assert known.encode("12345 words") == known.encode_reference("12345 words")
