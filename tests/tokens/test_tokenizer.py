"""Tokenizers: ids, fingerprints, errors. tiktoken is the oracle; GPT-2's published ids are the golden values."""

import hashlib
import importlib.resources
import json
import lzma
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED
from windrow.errors import TokenizerError
from windrow.tokens import bpe, disputed, tokenizer
from windrow.tokens.protocol import encode_documents, token_dtype
from windrow.tokens.tokenizer import load_tokenizer

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
    *bpe.SELF_TEST,
    "\x00",
    "a\x00b",
    " " * 999 + "a",
    "\r\n" * 99,
    "'" * 50,
    "é" * 500,
    "\u3000 \n x\n ",
]
TRICKY += ["x\U000323b0's", "\u088f's \U0001e6c0't"]  # letters since Unicode 17, which tiktoken 0.14 does not know


@pytest.fixture(autouse=True)
def fast_from_the_first_text(monkeypatch):
    monkeypatch.setattr(bpe._Engine, "FAST_FROM", 0)


@pytest.fixture(scope="module")
def gpt2():
    return load_tokenizer("gpt2")


@pytest.fixture(scope="module")
def plain():
    """GPT-2 by tiktoken alone."""
    return tokenizer._from_name("gpt2", "tiktoken")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))


def message(call, *args, **kwargs):
    with pytest.raises(TokenizerError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def says(text, *parts):
    for part in parts:
        assert part in text, (part, text)


def toy_ranks(*more):
    tokens = [bytes([byte]) for byte in range(256)] + list(more)
    return {token: rank for rank, token in enumerate(tokens)}


def encoding(name="toy", ranks=None, specials=None, regex=bpe.PATTERNS["gpt2"][0]):
    ranks = ranks or toy_ranks(b"th", b"the")
    specials = {EOT: len(ranks)} if specials is None else specials
    return tiktoken.Encoding(name, pat_str=regex, mergeable_ranks=ranks, special_tokens=specials)


# ------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("text", GOLDEN)
def test_gpt2_ids_are_the_published_ones(gpt2, plain, text):
    assert gpt2.encode(text) == plain.encode(text) == GOLDEN[text]
    assert gpt2.decode(GOLDEN[text]) == text


@pytest.mark.skipif(not SHARED.exists(), reason="the golden file is not in a bare clone")
def test_gpt2_ids_are_those_of_the_golden_file(gpt2, plain):
    golden = json.loads((SHARED / "golden.json").read_text(encoding="utf-8"))
    for case in golden["strings"]:
        assert gpt2.encode(case["text"]) == plain.encode(case["text"]) == case["ids"]
    for case in golden["strings_special_allowed"]:
        assert gpt2.encode(case["text"], allowed_special={EOT}) == case["ids"]
    for name, facts in golden["texts"].items():
        ids = gpt2.encode_batch([(SHARED / "data" / name).read_text(encoding="utf-8")])[0]
        assert len(ids) == facts["num_tokens"]
        assert hashlib.sha256(ids.astype("<u2").tobytes()).hexdigest() == facts["ids_sha256_u16"]


def test_gpt2_has_50257_ids_and_ends_documents_with_50256(gpt2):
    assert (gpt2.vocab_size, gpt2.eos_id, gpt2.name, gpt2.pattern) == (50257, 50256, "gpt2", "gpt2")
    assert gpt2.decode([64, 50256, 65]) == "a<|endoftext|>b"


def test_text_makes_a_control_token_only_where_allowed(gpt2):
    assert 50256 not in gpt2.encode("a<|endoftext|>b")
    assert gpt2.encode("a<|endoftext|>b", allowed_special={EOT}) == [64, 50256, 65]
    assert gpt2.encode(f"{EOT}{EOT}", allowed_special="all") == [50256, 50256]
    assert gpt2.encode("  \n a", allowed_special="all") == gpt2.encode("  \n a")


@given(st.lists(st.sampled_from([EOT, "<|endof", "a", "  ", "\n", "text|>", "é"]), max_size=8).map("".join))
def test_allowed_special_gives_the_ids_of_tiktoken(text):
    toy = encoding()
    assert load_tokenizer(toy).encode(text, allowed_special="all") == toy.encode(text, allowed_special="all")


def test_a_special_token_that_begins_another_is_not_read_as_it():
    specials = {EOT: 256, "<|end|>": 257, "<|end|>x": 258}
    toy = load_tokenizer(encoding(ranks=toy_ranks(), specials=specials))
    assert toy.encode("<|end|>x<|end|>", allowed_special="all") == [258, 257]


def test_gigatoken_gives_the_ids_of_tiktoken_on_tricky_texts(gpt2, plain):
    pytest.importorskip("gigatoken")
    for left, right in zip(gpt2.encode_batch(TRICKY), plain.encode_batch(TRICKY), strict=True):
        assert left.tolist() == right.tolist()
    assert gpt2._model._running.fast is not None


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ADVERSARIAL = st.lists(
    st.sampled_from(list(" \t\r\n\x00'sStdlrev1½Ⅳ٣aAéǅß日ー\u0301\u200d\u00a0\u3000\u2028👩<|>/.")), max_size=30
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY_TEXT | ADVERSARIAL.map("".join), max_size=5))
@pytest.mark.parametrize("pattern", bpe.PATTERNS)
def test_gigatoken_gives_the_ids_of_tiktoken_on_any_text(pattern, texts):
    pytest.importorskip("gigatoken")
    fast, slow = both_engines(pattern)
    for left, right in zip(fast.encode_batch(texts), slow.encode_batch(texts), strict=True):
        assert left.tolist() == right.tolist()


def both_engines(pattern, made={}):  # noqa: B006
    if pattern not in made:
        ranks, regex = load_tokenizer("gpt2")._model.ranks, bpe.PATTERNS[pattern][0]
        made[pattern] = [
            tokenizer._from_ranks("x", ranks, regex, {EOT: 50256}, engine=engine) for engine in (None, "tiktoken")
        ]
    return made[pattern]


@pytest.mark.parametrize("pattern", bpe.PATTERNS)
def test_every_undisputed_character_is_the_same_to_both_engines(pattern):
    """All of Unicode, where letter or not decides the ids. What differs must be in DISPUTED, and so skip gigatoken."""
    pytest.importorskip("gigatoken")
    fast, slow = both_engines(pattern)
    fast.encode("")
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(f"{char}'s " for char in characters[i : i + 512]) for i in range(0, len(characters), 512)]
    texts = [text for text in texts if not disputed.is_disputed(text)]
    assert len(texts) > 200
    for text, ids in zip(texts, fast._model._running._encode_fast(texts), strict=True):
        assert ids.tolist() == slow.encode(text), text


def test_characters_newer_than_an_engines_tables_get_the_ids_of_tiktoken(gpt2, plain):
    for text in ("x\U000323b0's", "\u088f's", "\U0001e6c0't and more"):
        assert gpt2.encode(text) == plain.encode(text)


def test_only_the_part_around_a_disputed_character_goes_to_tiktoken(gpt2, plain, monkeypatch):
    pytest.importorskip("gigatoken")
    gpt2.encode("the engine is there")
    text, seen = "It's 1 of the lines.\n " * 1000 + "x\U000323b0's" + " and that's the rest" * 1000, []
    expected = plain.encode(text)
    real = bpe._Engine._encode_reference
    monkeypatch.setattr(bpe._Engine, "_encode_reference", lambda self, part: seen.append(part) or real(self, part))
    monkeypatch.setattr(bpe._Engine, "_compare", lambda self, text, ids: None)
    assert gpt2.encode(text) == expected
    assert len(seen) == 1
    assert len(seen[0]) < 5000


def test_a_batch_gives_what_each_text_gives_alone(gpt2):
    rows = gpt2.encode_batch(TRICKY)
    assert [row.tolist() for row in rows] == [gpt2.encode(text) for text in TRICKY]
    assert all(row.dtype == np.uint16 and row.base is None for row in rows)
    assert gpt2.encode_batch([]) == []


@given(ANY_TEXT)
def test_decode_undoes_encode(text):
    for name in ("gpt2", "bytes"):
        known = load_tokenizer(name)
        assert known.decode(known.encode(text)) == text
        assert known.decode_bytes(known.encode_batch([text])[0]) == text.encode()


def test_half_a_character_decodes_to_a_replacement_and_to_its_exact_bytes(gpt2):
    assert gpt2.decode([2343]) == " \ufffd"
    assert gpt2.decode_bytes([2343]) == b" \xe2"


def test_bytes_are_256_ids_and_eos():
    known = load_tokenizer("bytes")
    assert (known.vocab_size, known.eos_id, known.pattern) == (257, 256, None)
    assert repr(known) == "<TextTokenizer 'bytes', vocab_size 257>"
    assert known.encode("é\x00") == [0xC3, 0xA9, 0]
    assert known.encode(f"a{EOT}", allowed_special={EOT}) == [97, 256]
    assert known.decode([97, 256, 98]) == f"a{EOT}b"


def test_many_threads_may_share_a_tokenizer(gpt2):
    from concurrent.futures import ThreadPoolExecutor

    texts = ["the quick brown fox " * 500] * 2
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: [row.tolist() for row in gpt2.encode_batch(texts)], range(40)))
    assert all(result == results[0] for result in results)


# ---------------------------------------------------------------------------------------------- guards seen to fail


def test_a_gigatoken_that_differs_is_an_error(monkeypatch):
    pytest.importorskip("gigatoken")
    real = bpe._Engine._encode_fast
    monkeypatch.setattr(bpe._Engine, "_encode_fast", lambda self, texts: [ids[:-1] for ids in real(self, texts)])
    text = message(load_tokenizer(encoding()).encode, "the cat")
    says(text, "gigatoken and tiktoken differ", "pip uninstall gigatoken", "reference")


def test_a_gigatoken_that_goes_wrong_later_is_caught_by_the_spot_check(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    toy.encode("the")
    real = bpe._Engine._encode_fast
    monkeypatch.setattr(bpe._Engine, "_encode_fast", lambda self, texts: [ids + 1 for ids in real(self, texts)])
    says(message(toy.encode_batch, ["the"] * 1024), "the text 'the'")


def test_the_spot_check_takes_every_1024th_text_however_batches_are_cut(monkeypatch):
    pytest.importorskip("gigatoken")
    toy, seen = load_tokenizer(encoding()), []
    toy.encode_batch([])
    monkeypatch.setattr(bpe._Engine, "_compare", lambda self, text, ids: seen.append(text))
    for start in range(0, 3000, 250):
        toy.encode_batch([str(number) for number in range(start, start + 250)])
    assert seen == ["0", "1024", "2048"]


def test_gigatoken_is_rebuilt_before_its_cache_grows_without_bound(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    toy.encode("a")
    monkeypatch.setattr(bpe._Engine, "REBUILD_AFTER", 100)
    before = toy._model._running.fast
    assert toy.encode("the " * 50) == tokenizer._from_ranks(
        "x", toy._model.ranks, toy._model.regex, toy.specials
    ).encode("the " * 50)
    assert toy._model._running.fast is not before


def test_text_that_is_only_expected_does_not_rebuild_gigatoken(monkeypatch):
    pytest.importorskip("gigatoken")
    monkeypatch.setattr(bpe._Engine, "REBUILD_AFTER", 100)
    toy = load_tokenizer(encoding())
    toy.expect(1)
    before = toy._model._running.fast
    for _ in range(10):
        toy.expect(50)
        toy.encode("the")
    assert toy._model._running.fast is before is not None


def test_many_texts_in_one_batch_have_the_ids_of_each(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    texts = ["the cat ", "", "sat"] * 50
    one_by_one = [ids.tolist() for ids in toy.encode_batch(texts)]
    monkeypatch.setattr(bpe._Engine, "BATCH_FROM", 0)
    assert [ids.tolist() for ids in toy.encode_batch(texts)] == one_by_one


def test_gigatoken_is_not_made_for_a_text_too_short_to_gain_from_it(monkeypatch):
    pytest.importorskip("gigatoken")
    monkeypatch.setattr(bpe._Engine, "FAST_FROM", 1000)
    toy = load_tokenizer(encoding())
    toy.encode("the " * 200)
    assert toy._model._running.fast is None
    assert toy.encode("the " * 200) == encoding().encode("the " * 200)
    assert toy._model._running.fast is not None


def test_without_gigatoken_the_ids_are_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    toy = load_tokenizer(encoding())
    assert toy.encode("the cat") == encoding().encode("the cat")
    assert toy._model._running.fast is None


def test_ranks_with_gaps_go_to_tiktoken():
    ranks = {**toy_ranks(), b"th": 300, b"the": 400}
    toy = encoding(ranks=ranks, specials={EOT: 256})
    known = load_tokenizer(toy)
    assert known.encode("the cat") == toy.encode("the cat")
    assert (known.eos_id, known.vocab_size) == (256, 401)


def test_damaged_ranks_in_the_package_are_an_error(monkeypatch, tmp_path):
    good = importlib.resources.files("windrow.tokens").joinpath("gpt2.tiktoken.xz").read_bytes()
    changed = lzma.compress(lzma.decompress(good).replace(b"IQ== 0\n", b"IQ== 1\n", 1))
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    for data in (changed, good[:-100], b"", b"not xz"):
        (tmp_path / "gpt2.tiktoken.xz").write_bytes(data)
        says(message(tokenizer._gpt2_form), "damaged", tokenizer.GPT2_SHA256, "--force-reinstall")


def test_a_million_spaces_before_a_letter_are_an_error_of_ours_not_a_panic(plain, capfd):
    try:
        ids = plain.encode(" " * 1_000_000 + "a")
    except TokenizerError as error:
        says(str(error), "tiktoken gave up", "1000001 characters", "million blanks", 'pip install "windrow[fast]"')
    else:
        assert len(ids) == 1_000_000  # a tiktoken that has learnt it


def test_gigatoken_takes_a_million_spaces_before_a_letter(gpt2):
    pytest.importorskip("gigatoken")
    ids = gpt2.encode(" " * 1_000_000 + "a")
    assert ids == [220] * 999_999 + [257]


def test_a_panic_in_a_batch_names_the_longest_text_and_an_interrupt_passes():
    panic = type("PanicException", (BaseException,), {})

    def fail(error):
        with bpe._panic_as_error("gigatoken", ["a", "bbb" * 50]):
            raise error

    says(message(fail, panic("boom")), "one of 2 texts", "'bbbb", "150 characters", "boom")
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())


# -------------------------------------------------------------------------------------------- loading, fingerprints


def test_importing_the_module_loads_no_engine():
    engines = "{'tiktoken', 'gigatoken', 'torch', 'tokenizers', 'awkward'}"
    code = f"import windrow.tokens.tokenizer, sys; print(*sorted({engines} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_gpt2_and_bytes_need_no_network(no_network):
    tokenizer._from_name.cache_clear()
    assert load_tokenizer("gpt2").encode("Hello, world!") == GOLDEN["Hello, world!"]
    assert load_tokenizer("r50k_base").fingerprint == load_tokenizer("gpt2").fingerprint
    assert load_tokenizer("bytes").encode("a") == [97]


def test_a_name_is_loaded_once_per_process():
    assert load_tokenizer("gpt2") is load_tokenizer("gpt2")


def test_an_encoding_that_cannot_be_downloaded_says_what_to_do(no_network):
    text = message(load_tokenizer, "cl100k_base")
    says(text, "'cl100k_base'", "network", "TIKTOKEN_CACHE_DIR", "cl100k_base.tiktoken:PATTERN", '"gpt2"')


def test_an_encoding_by_name_is_cut_by_todays_regex_whatever_tiktoken_spells(monkeypatch):
    old, new = (encoding("cl100k_base", regex=bpe.PATTERNS["cl100k_base"][spelling]) for spelling in (2, 0))
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: old)
    tokenizer._from_name.cache_clear()
    known = load_tokenizer("cl100k_base")
    assert (known.name, known.pattern, known.fingerprint) == (
        "cl100k_base",
        "cl100k_base",
        load_tokenizer(new).fingerprint,
    )
    assert pickle.loads(pickle.dumps(known)) is known
    assert load_tokenizer(old).fingerprint != known.fingerprint  # an object keeps its own
    tokenizer._from_name.cache_clear()


def test_equal_tokenizers_have_equal_fingerprints_by_every_route(gpt2, plain, tmp_path):
    ranks = gpt2._model.ranks
    path = tmp_path / "some.tiktoken"
    path.write_bytes(
        b"\r\n".join(reversed(bpe.tiktoken_form(ranks).splitlines()))
    )  # order and line ends are no content
    routes = [plain, load_tokenizer(f"{path}:gpt2"), load_tokenizer(Path(f"{path}:gpt2"))]
    routes += [load_tokenizer(encoding("gpt2", ranks, regex=regex)) for regex in bpe.PATTERNS["gpt2"]]
    assert {known.fingerprint for known in routes} == {gpt2.fingerprint}
    assert gpt2.fingerprint == "c7a4ad63c1c0b3bd693c55c0d459b26de21a8f302a2ad61fb745384ff95c7167"
    assert load_tokenizer(f"{path}:gpt2").name == "some.tiktoken:gpt2"


def test_different_tokenizers_have_different_fingerprints():
    ranks = toy_ranks(b"th", b"the")
    others = [
        encoding(),
        encoding(ranks=toy_ranks(b"he", b"the")),
        encoding(regex=bpe.PATTERNS["cl100k_base"][0]),
        encoding(regex=bpe.PATTERNS["cl100k_base"][1]),
        encoding(specials={EOT: len(ranks) + 1}),
        encoding(specials={EOT: len(ranks), "<|x|>": len(ranks) + 1}),
        "bytes",
        "gpt2",
    ]
    assert len({load_tokenizer(other).fingerprint for other in others}) == len(others)


@pytest.mark.parametrize("pattern", bpe.PATTERNS)
def test_a_file_of_ranks_is_read_with_the_pattern_named(pattern, tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(bpe.tiktoken_form(toy_ranks(b"th", b"the", b"12", b"123", b"1234")))
    known = load_tokenizer(f"{path}:{pattern}")
    oracle = encoding(ranks=toy_ranks(b"th", b"the", b"12", b"123", b"1234"), regex=bpe.PATTERNS[pattern][0])
    assert known.encode("the 12345 \n x") == oracle.encode("the 12345 \n x")
    assert (known.name, known.pattern, known.eos_id) == (f"my.tiktoken:{pattern}", pattern, 261)


def test_known_patterns_are_those_of_tiktoken():
    from tiktoken_ext import openai_public

    if not hasattr(openai_public, "r50k_pat_str"):
        pytest.skip("an older tiktoken spells it in place")
    assert bpe.pattern_of(openai_public.r50k_pat_str) == "gpt2"


@settings(max_examples=200, deadline=None)
@given(ADVERSARIAL.map("".join))
def test_the_spellings_of_the_gpt2_pattern_cut_alike(text):
    ranks = toy_ranks(b"  ", b"\n ", b" \n", b"\n\n", b"'s", b" a")
    encodings = [encoding(ranks=ranks, regex=regex) for regex in bpe.PATTERNS["gpt2"]]
    assert len({tuple(known.encode(text, disallowed_special=())) for known in encodings}) == 1


def test_a_tiktoken_encoding_keeps_its_own_regex_and_name():
    known = load_tokenizer(encoding("folder/some\\toy", regex=r"\w+|\W"))
    assert (known.name, known.pattern) == ("toy", None)
    assert known.encode("the cat") == encoding(regex=r"\w+|\W").encode("the cat")


class Words:
    """The smallest tokenizer of somebody else's."""

    vocab_size, eos_id, fingerprint = 5, 4, "words"

    def encode(self, text):
        return [len(word) for word in text.split()]

    def decode(self, ids):
        return " ".join("x" * token for token in ids)


def test_an_object_of_the_protocol_is_returned_as_it_is():
    words = Words()
    assert load_tokenizer(words) is words
    rows = encode_documents(words, ["a bb ccc", ""])
    assert [row.tolist() for row in rows] == [[1, 2, 3], []]
    assert all(row.dtype == np.uint16 for row in rows)


def test_an_id_outside_the_vocabulary_is_an_error_with_its_place():
    says(message(encode_documents, Words(), ["a", "a bb seventy"]), "id 7 at position 2 of text 1", "vocab_size = 5")
    words = Words()
    words.encode = lambda text: [-1]
    says(message(encode_documents, words, ["a"]), "id -1 at position 0 of text 0")


def test_ids_that_are_not_a_flat_list_of_integers_are_an_error():
    words = Words()
    for wrong in ([1.5], [[1, 2]], ["a"]):
        words.encode = lambda text, wrong=wrong: wrong
        says(message(encode_documents, words, ["a"]), "text 0", "flat list of int")
    words.encode_batch = lambda texts: []
    says(message(encode_documents, words, ["a"]), "0 rows of 1 texts")


def test_ids_are_stored_in_two_bytes_up_to_65536_and_four_beyond():
    assert token_dtype(65536) == np.uint16
    assert token_dtype(65537) == np.uint32
    big = Words()
    big.vocab_size, big.encode = 70_000, lambda text: [69_999]
    assert encode_documents(big, ["a"])[0].tolist() == [69_999]
    big.vocab_size, big.encode = 65_536, lambda text: [65_535]
    assert encode_documents(big, ["a"])[0].tolist() == [65_535]


# ------------------------------------------------------------------------------------------------- other processes


def _ids_in_child(known, text):
    return known.fingerprint, known.encode(text), [row.tolist() for row in known.encode_batch([text] * 3)]


def _all_named(tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(bpe.tiktoken_form(toy_ranks(b"th")))
    return [load_tokenizer(spec) for spec in ("gpt2", "bytes", f"{path}:o200k_base", encoding())]


def test_a_tokenizer_pickles_small_and_comes_back_the_same(tmp_path, monkeypatch):
    for known in _all_named(tmp_path):
        known.encode("warm")
        packed = pickle.dumps(known)
        assert len(packed) < 10_000
        monkeypatch.chdir("/")
        assert _ids_in_child(pickle.loads(packed), "the cat") == _ids_in_child(known, "the cat")


def test_a_relative_path_pickles_as_an_absolute_one(tmp_path, monkeypatch):
    (tmp_path / "my.tiktoken").write_bytes(bpe.tiktoken_form(toy_ranks()))
    monkeypatch.chdir(tmp_path)
    packed = pickle.dumps(load_tokenizer("my.tiktoken:gpt2"))
    monkeypatch.chdir("/")
    assert pickle.loads(packed).encode("a") == [97]


def test_a_file_that_changed_after_pickling_is_an_error(tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(bpe.tiktoken_form(toy_ranks(b"th")))
    packed = pickle.dumps(load_tokenizer(f"{path}:gpt2"))
    path.write_bytes(bpe.tiktoken_form(toy_ranks(b"he")))
    says(message(pickle.loads, packed), "changed after", "fingerprint")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # forking is the point
def test_another_process_gives_the_same_ids(method, gpt2):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    from concurrent.futures import ProcessPoolExecutor

    expected = _ids_in_child(gpt2, "the cat\n" * 1000)  # the parent's engine has run, with its threads
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(_ids_in_child, gpt2, "the cat\n" * 1000).result(timeout=60) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_engine_is_rebuilt_after_a_fork(gpt2):
    gpt2.encode("warm")
    before = gpt2._model._running
    child = os.fork()
    if child == 0:
        ok = gpt2.encode("Hello, world!") == GOLDEN["Hello, world!"] and gpt2._model._running is not before
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gpt2._model._running is before


# -------------------------------------------------------------------------------------------------------- errors


def test_an_unknown_name_lists_what_is_known_and_guesses():
    says(
        message(load_tokenizer, "gpt-2"), "'gpt-2'", "Did you mean 'gpt2'?", "'bytes'", "'o200k_base'", "PATH.tiktoken"
    )
    assert "Did you mean" not in message(load_tokenizer, "zzzzzzzzzzzz")


def test_a_ranks_file_without_a_known_pattern_lists_them(tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(bpe.tiktoken_form(toy_ranks()))
    for spec, what in ((str(path), "no pattern"), (f"{path}:gpt3", "the unknown pattern 'gpt3'")):
        says(message(load_tokenizer, spec), what, ":gpt2'", ":cl100k_base'", ":o200k_base'", "without a sign")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"IQ== 0\nnot base64 at all\n", "line 2"),
        (b"IQ== zero\n", "line 1"),
        (b"@@@@ 0\n", "line 1"),
        (b"", "256 of the 256 single bytes"),
        (bpe.tiktoken_form({bytes([i]): i for i in range(255)}), "1 of the 256 single bytes have no rank (0xff"),
        (bpe.tiktoken_form(toy_ranks()) + b"dGg= 7\n", "257 ids"),
        (bpe.tiktoken_form(toy_ranks()) + b"dGg= -7\n", "run from -7 to"),
        (bpe.tiktoken_form(toy_ranks()) + b"dGg= 99999999999\n", "to 100000000000"),
    ],
)
def test_a_damaged_ranks_file_is_an_error(data, part, tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(data)
    says(message(load_tokenizer, f"{path}:gpt2"), part, "download it again")


def test_a_missing_file_is_an_error_that_says_where_it_was_sought():
    for spec in ("nowhere/my.tiktoken:gpt2", "nowhere/tokenizer.json"):
        says(message(load_tokenizer, spec), "nowhere/", "No such file", os.getcwd())


def test_an_encoding_without_end_of_text_is_an_error():
    toy = encoding(specials={"<|end|>": 258})
    says(message(load_tokenizer, toy), "'<|endoftext|>'", "it has: <|end|>", "among its special_tokens")


def test_an_object_that_is_no_tokenizer_is_told_what_it_lacks():
    says(message(load_tokenizer, object()), "object is no tokenizer", "lacks encode, decode, vocab_size, eos_id")
    words = Words()
    words.eos_id = 5
    says(message(load_tokenizer, words), "eos_id 5 and vocab_size 5", "[0, 5)")


def test_half_a_surrogate_pair_is_an_error_with_its_place():
    for name in ("gpt2", "bytes"):
        known = load_tokenizer(name)
        says(message(known.encode_batch, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2", "U+FFFD")
        says(message(known.encode_flat, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2")
        says(message(known.encode, f"{EOT}\udfff", allowed_special="all"), "at character 13")


def test_half_a_surrogate_pair_is_an_error_to_the_slow_engine_and_to_a_tokenizer_json_too(monkeypatch, tmp_path):
    monkeypatch.setattr(bpe._Engine, "FAST_FROM", 1_000_000)
    for known in (load_tokenizer(encoding()), load_tokenizer(hf_file(tmp_path))):
        says(message(known.encode_flat, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2")


def test_what_is_not_text_is_an_error(gpt2):
    says(message(gpt2.encode_batch, [b"bytes"]), "text 0 is bytes", "Decode")
    says(message(gpt2.encode, None), "text 0 is NoneType")
    says(message(gpt2.encode_batch, "one text"), "list of texts", "[text]")


def test_an_unknown_special_token_is_an_error(gpt2):
    says(message(gpt2.encode, "a", allowed_special={"</s>"}), "'</s>'", "It has <|endoftext|>")


@pytest.mark.parametrize("wrong", [[-100], [50257], np.array([5, -100]), [1.5], [[1, 2]], np.zeros((2, 2), int)])
def test_what_is_no_id_cannot_be_decoded(gpt2, wrong):
    says(message(gpt2.decode, wrong), "cannot decode", "vocab_size 50257", "targets >= 0")


def test_lists_arrays_and_single_ids_of_arrays_decode(gpt2):
    ids = GOLDEN["Hello, world!"]
    for form in (ids, tuple(ids), np.array(ids, np.uint16), np.array(ids), list(np.array(ids))):
        assert gpt2.decode(form) == "Hello, world!"
    assert gpt2.decode([]) == gpt2.decode(np.array([])) == ""


# ------------------------------------------------------------------------------------------------- tokenizer.json


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
        "pattern": {"Regex": bpe.PATTERNS["cl100k_base"][2]},
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
    assert pattern(normalizer={"type": "NFC"}) is None
    assert pattern(more=["<think>"]) is None


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
    says(message(load_tokenizer, path), 'pip install "windrow[hf]"')


def test_a_package_that_cannot_leave_special_tokens_alone_is_refused(tmp_path, monkeypatch):
    path = hf_file(tmp_path)
    old = type(sys)("tokenizers")
    old.Tokenizer, old.__version__ = object, "0.15.0"
    monkeypatch.setitem(sys.modules, "tokenizers", old)
    says(message(load_tokenizer, path), "tokenizers 0.15.0", "--upgrade")


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_the_flat_form_of_a_batch_is_its_rows_joined(texts: list[str]) -> None:
    gpt2 = load_tokenizer("gpt2")
    gpt2.encode_batch(["long enough for the fast engine " * 150_000])
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    ids, ends = gpt2.encode_flat(texts)
    rows = [gpt2.encode_reference(text) for text in texts]
    assert ids.tolist() == [token for row in rows for token in row]
    assert ends.tolist() == np.cumsum([len(row) for row in rows]).tolist()
