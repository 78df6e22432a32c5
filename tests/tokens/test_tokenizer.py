"""Tokenizers by every route: ids, fingerprints, other processes, errors. GPT-2's published ids are golden values."""

import hashlib
import importlib.resources
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
from hypothesis import given
from hypothesis import strategies as st

from conftest import shared_text
from token_helpers import ANY_TEXT, EOT, GOLDEN, TRICKY, encoding, hf_file, message, says, toy_ranks, without_gigatoken
from windrow.tokens import bpe, engine, patterns, tokenizer
from windrow.tokens.tokenizer import load_tokenizer


@pytest.fixture(autouse=True)
def fast_from_the_first_text(monkeypatch):
    monkeypatch.setattr(engine.Engine, "FAST_FROM", 0)


@pytest.fixture(scope="module")
def gpt2():
    return load_tokenizer("gpt2")


@pytest.fixture(scope="module")
def plain():
    """GPT-2 by tiktoken alone."""
    return without_gigatoken(tokenizer._from_name.__wrapped__("gpt2"))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))


# ------------------------------------------------------------------------------------------------------- ids


@pytest.mark.parametrize("text", GOLDEN)
def test_gpt2_ids_are_the_published_ones(gpt2, plain, text):
    assert gpt2.encode(text) == plain.encode(text) == GOLDEN[text]
    assert gpt2.decode(GOLDEN[text]) == text


def test_gpt2_ids_are_those_of_the_golden_file(gpt2, plain, golden):
    for case in golden["strings"]:
        assert gpt2.encode(case["text"]) == plain.encode(case["text"]) == case["ids"]
    for case in golden["strings_special_allowed"]:
        assert gpt2.encode(case["text"], allowed_special={EOT}) == case["ids"]
    for facts in golden["texts"].values():
        for ids in (facts["first_10"], facts["last_5"]):
            assert gpt2.encode(plain.decode(ids)) == plain.encode(gpt2.decode(ids)) == ids


def test_gpt2_ids_of_whole_texts_are_those_of_the_golden_file(gpt2, golden):
    for name, facts in golden["texts"].items():
        ids = gpt2.encode_batch([shared_text(name)])[0]
        assert [ids[:10].tolist(), ids[-5:].tolist()] == [facts["first_10"], facts["last_5"]]
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


def test_damaged_ranks_in_the_package_are_an_error(monkeypatch, tmp_path):
    good = importlib.resources.files("windrow.tokens").joinpath("gpt2.tiktoken.xz").read_bytes()
    changed = lzma.compress(lzma.decompress(good).replace(b"IQ== 0\n", b"IQ== 1\n", 1))
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    for data in (changed, good[:-100], b"", b"not xz"):
        (tmp_path / "gpt2.tiktoken.xz").write_bytes(data)
        says(message(tokenizer._gpt2_form), "damaged", tokenizer.GPT2_SHA256, "--force-reinstall")


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
    old, new = (encoding("cl100k_base", regex=patterns.PATTERNS["cl100k_base"][spelling]) for spelling in (2, 0))
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
    routes += [load_tokenizer(encoding("gpt2", ranks, regex=regex)) for regex in patterns.PATTERNS["gpt2"]]
    assert {known.fingerprint for known in routes} == {gpt2.fingerprint}
    assert gpt2.fingerprint == "c7a4ad63c1c0b3bd693c55c0d459b26de21a8f302a2ad61fb745384ff95c7167"
    assert load_tokenizer(f"{path}:gpt2").name == "some.tiktoken:gpt2"


def test_different_tokenizers_have_different_fingerprints():
    ranks = toy_ranks(b"th", b"the")
    others = [
        encoding(),
        encoding(ranks=toy_ranks(b"he", b"the")),
        encoding(regex=patterns.PATTERNS["cl100k_base"][0]),
        encoding(regex=patterns.PATTERNS["cl100k_base"][1]),
        encoding(specials={EOT: len(ranks) + 1}),
        encoding(specials={EOT: len(ranks), "<|x|>": len(ranks) + 1}),
        "bytes",
        "gpt2",
    ]
    assert len({load_tokenizer(other).fingerprint for other in others}) == len(others)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_a_file_of_ranks_is_read_with_the_pattern_named(pattern, tmp_path):
    path = tmp_path / "my.tiktoken"
    path.write_bytes(bpe.tiktoken_form(toy_ranks(b"th", b"the", b"12", b"123", b"1234")))
    known = load_tokenizer(f"{path}:{pattern}")
    oracle = encoding(ranks=toy_ranks(b"th", b"the", b"12", b"123", b"1234"), regex=patterns.PATTERNS[pattern][0])
    assert known.encode("the 12345 \n x") == oracle.encode("the 12345 \n x")
    assert (known.name, known.pattern, known.eos_id) == (f"my.tiktoken:{pattern}", pattern, 261)


def test_a_tiktoken_encoding_keeps_its_own_regex_and_name():
    known = load_tokenizer(encoding("folder/some\\toy", regex=r"\w+|\W"))
    assert (known.name, known.pattern) == ("toy", None)
    assert known.encode("the cat") == encoding(regex=r"\w+|\W").encode("the cat")


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


def test_a_missing_file_is_an_error_that_says_where_it_was_sought():
    for spec in ("nowhere/my.tiktoken:gpt2", "nowhere/tokenizer.json"):
        says(message(load_tokenizer, spec), "nowhere/", "No such file", os.getcwd())


def test_an_encoding_without_end_of_text_is_an_error():
    toy = encoding(specials={"<|end|>": 258})
    says(message(load_tokenizer, toy), "'<|endoftext|>'", "it has: <|end|>", "among its special_tokens")


def test_half_a_surrogate_pair_is_an_error_with_its_place():
    for name in ("gpt2", "bytes"):
        known = load_tokenizer(name)
        says(message(known.encode_batch, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2", "U+FFFD")
        says(message(known.encode_rows, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2")
        says(message(known.encode, f"{EOT}\udfff", allowed_special="all"), "at character 13")


def test_half_a_surrogate_pair_is_an_error_to_the_slow_engine_and_to_a_tokenizer_json_too(monkeypatch, tmp_path):
    monkeypatch.setattr(engine.Engine, "FAST_FROM", 1_000_000)
    for known in (load_tokenizer(encoding()), load_tokenizer(hf_file(tmp_path))):
        says(message(known.encode_rows, ["fine", "ab\ud800c"]), "text 1", r"'\ud800'", "at character 2")


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


# ------------------------------------------------------------------------------------- as a tiktoken.Encoding


def test_a_tokenizer_answers_to_the_names_of_a_tiktoken_encoding():
    theirs = encoding()
    ours = load_tokenizer(theirs)
    assert (ours.n_vocab, ours.eot_token) == (theirs.n_vocab, theirs.eot_token)
    assert ours.special_tokens_set == theirs.special_tokens_set == {EOT}
    for text in ("the hay", f"one{EOT}two", "naïve"):
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    for token in range(theirs.n_vocab):
        assert ours.decode_single_token_bytes(token) == theirs.decode_single_token_bytes(token)
    says(message(ours.decode_single_token_bytes, ours.n_vocab), f"cannot decode {ours.n_vocab}", "vocab_size")


def test_every_kind_of_tokenizer_has_those_names(tmp_path):
    for known in (load_tokenizer("bytes"), load_tokenizer(hf_file(tmp_path))):
        assert (known.n_vocab, known.eot_token) == (known.vocab_size, known.eos_id)
        assert known.special_tokens_set == {EOT}
        assert known.encode_ordinary("hay") == known.encode("hay")
        assert known.decode_single_token_bytes(known.eot_token) == EOT.encode()
