"""The engines of a BPE vocabulary, with tiktoken as the oracle: gigatoken has its ids, and what differs is caught."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from token_helpers import (
    ADVERSARIAL,
    ANY_TEXT,
    EOT,
    GOLDEN,
    TRICKY,
    encoding,
    message,
    says,
    toy_ranks,
    without_gigatoken,
)
from windrow.errors import TokenizerError
from windrow.tokens import bpe, disputed, engine, patterns, tokenizer
from windrow.tokens.tokenizer import TextTokenizer, load_tokenizer


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


def test_gigatoken_gives_the_ids_of_tiktoken_on_tricky_texts(gpt2, plain):
    pytest.importorskip("gigatoken")
    for left, right in zip(gpt2.encode_batch(TRICKY), plain.encode_batch(TRICKY), strict=True):
        assert left.tolist() == right.tolist()
    assert gpt2._model.fast is not None


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY_TEXT | ADVERSARIAL.map("".join), max_size=5))
@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_gigatoken_gives_the_ids_of_tiktoken_on_any_text(pattern, texts):
    pytest.importorskip("gigatoken")
    fast, slow = both_engines(pattern)
    for left, right in zip(fast.encode_batch(texts), slow.encode_batch(texts), strict=True):
        assert left.tolist() == right.tolist()


def both_engines(pattern, made={}):  # noqa: B006
    if pattern not in made:
        ranks, regex = load_tokenizer("gpt2")._model.ranks, patterns.PATTERNS[pattern][0]
        fast, slow = (TextTokenizer(bpe.BPE("x", ranks, regex, {EOT: 50256})) for _ in range(2))
        made[pattern] = fast, without_gigatoken(slow)
    return made[pattern]


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_every_undisputed_character_is_the_same_to_both_engines(pattern):
    """All of Unicode, where letter or not decides the ids. What differs must be in DISPUTED, and so skip gigatoken."""
    pytest.importorskip("gigatoken")
    fast, slow = both_engines(pattern)
    fast.encode("")
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    texts = ["".join(f"{char}'s " for char in characters[i : i + 512]) for i in range(0, len(characters), 512)]
    texts = [text for text in texts if not disputed.is_disputed(text)]
    assert len(texts) > 200
    for text, ids in zip(texts, fast._model._encode_fast(texts), strict=True):
        assert ids.tolist() == slow.encode(text), text


def test_characters_newer_than_an_engines_tables_get_the_ids_of_tiktoken(gpt2, plain):
    for text in ("x\U000323b0's", "\u088f's", "\U0001e6c0't and more"):
        assert gpt2.encode(text) == plain.encode(text)


def test_only_the_part_around_a_disputed_character_goes_to_tiktoken(gpt2, plain, monkeypatch):
    pytest.importorskip("gigatoken")
    gpt2.encode("the engine is there")
    text, seen = "It's 1 of the lines.\n " * 1000 + "x\U000323b0's" + " and that's the rest" * 1000, []
    expected = plain.encode(text)
    real = bpe.BPE.encode_slowly
    monkeypatch.setattr(bpe.BPE, "encode_slowly", lambda self, parts: seen.extend(parts) or real(self, parts))
    monkeypatch.setattr(engine.Engine, "_compare", lambda self, text, ids: None)
    assert gpt2.encode(text) == expected
    assert len(seen) == 1
    assert len(seen[0]) < 5000


def test_many_threads_may_share_a_tokenizer(gpt2):
    from concurrent.futures import ThreadPoolExecutor

    texts = ["the quick brown fox " * 500] * 2
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: [row.tolist() for row in gpt2.encode_batch(texts)], range(40)))
    assert all(result == results[0] for result in results)


def test_a_gigatoken_that_differs_is_an_error(monkeypatch):
    pytest.importorskip("gigatoken")
    real = engine.Engine._encode_fast
    monkeypatch.setattr(engine.Engine, "_encode_fast", lambda self, texts: [ids[:-1] for ids in real(self, texts)])
    text = message(load_tokenizer(encoding()).encode, "the cat")
    says(text, "gigatoken and tiktoken differ", "pip uninstall gigatoken", "reference")


def test_a_gigatoken_that_goes_wrong_later_is_caught_by_the_spot_check(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    toy.encode("the")
    real = engine.Engine._encode_fast
    monkeypatch.setattr(engine.Engine, "_encode_fast", lambda self, texts: [ids + 1 for ids in real(self, texts)])
    says(message(toy.encode_batch, ["the"] * 1024), "the text 'the'")


def test_the_spot_check_takes_every_1024th_text_however_batches_are_cut(monkeypatch):
    pytest.importorskip("gigatoken")
    toy, seen = load_tokenizer(encoding()), []
    toy.encode_batch([])
    monkeypatch.setattr(engine.Engine, "_compare", lambda self, text, ids: seen.append(text))
    for start in range(0, 3000, 250):
        toy.encode_batch([str(number) for number in range(start, start + 250)])
    assert seen == ["0", "1024", "2048"]


def test_gigatoken_is_rebuilt_before_its_cache_grows_without_bound(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    toy.encode("a")
    monkeypatch.setattr(engine.Engine, "REBUILD_AFTER", 100)
    before = toy._model.fast
    assert toy.encode("the " * 50) == load_tokenizer(encoding()).encode("the " * 50)
    assert toy._model.fast is not before


def test_text_that_is_only_expected_does_not_rebuild_gigatoken(monkeypatch):
    pytest.importorskip("gigatoken")
    monkeypatch.setattr(engine.Engine, "REBUILD_AFTER", 100)
    toy = load_tokenizer(encoding())
    toy.expect(1)
    before = toy._model.fast
    for _ in range(10):
        toy.expect(50)
        toy.encode("the")
    assert toy._model.fast is before is not None


def test_many_texts_in_one_batch_have_the_ids_of_each(monkeypatch):
    pytest.importorskip("gigatoken")
    toy = load_tokenizer(encoding())
    texts = ["the cat ", "", "sat"] * 50
    one_by_one = [ids.tolist() for ids in toy.encode_batch(texts)]
    monkeypatch.setattr(engine.Engine, "BATCH_FROM", 0)
    assert [ids.tolist() for ids in toy.encode_batch(texts)] == one_by_one


def test_gigatoken_is_not_made_for_a_text_too_short_to_gain_from_it(monkeypatch):
    pytest.importorskip("gigatoken")
    monkeypatch.setattr(engine.Engine, "FAST_FROM", 1000)
    toy = load_tokenizer(encoding())
    toy.encode("the " * 200)
    assert toy._model.fast is None
    assert toy.encode("the " * 200) == encoding().encode("the " * 200)
    assert toy._model.fast is not None


def test_without_gigatoken_the_ids_are_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    toy = load_tokenizer(encoding())
    assert toy.encode("the cat") == encoding().encode("the cat")
    assert toy._model.fast is None


def test_ranks_with_gaps_go_to_tiktoken():
    ranks = {**toy_ranks(), b"th": 300, b"the": 400}
    toy = encoding(ranks=ranks, specials={EOT: 256})
    known = load_tokenizer(toy)
    assert known.encode("the cat") == toy.encode("the cat")
    assert (known.eos_id, known.vocab_size) == (256, 401)


def test_a_million_spaces_before_a_letter_are_an_error_of_ours_not_a_panic(plain, capfd):
    try:
        ids = plain.encode(" " * 1_000_000 + "a")
    except TokenizerError as error:
        says(str(error), "tiktoken gave up", "1000001 characters", "million blanks", 'pip install "windrow-data[fast]"')
    else:
        assert len(ids) == 1_000_000  # a tiktoken that has learnt it


def test_gigatoken_takes_a_million_spaces_before_a_letter(gpt2):
    pytest.importorskip("gigatoken")
    ids = gpt2.encode(" " * 1_000_000 + "a")
    assert ids == [220] * 999_999 + [257]


def test_a_panic_in_a_batch_names_the_longest_text_and_an_interrupt_passes(gpt2):
    panic = type("PanicException", (BaseException,), {})

    def fail(error):
        with gpt2._model.panic_as_error("gigatoken", ["a", "bbb" * 50]):
            raise error

    says(message(fail, panic("boom")), "one of 2 texts", "'bbbb", "150 characters: boom. tiktoken does so", "Shorten")
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt())


def test_known_patterns_are_those_of_tiktoken():
    from tiktoken_ext import openai_public

    if not hasattr(openai_public, "r50k_pat_str"):
        pytest.skip("an older tiktoken spells it in place")
    assert patterns.pattern_of(openai_public.r50k_pat_str) == "gpt2"


@settings(max_examples=200, deadline=None)
@given(ADVERSARIAL.map("".join))
def test_the_spellings_of_the_gpt2_pattern_cut_alike(text):
    ranks = toy_ranks(b"  ", b"\n ", b" \n", b"\n\n", b"'s", b" a")
    encodings = [encoding(ranks=ranks, regex=regex) for regex in patterns.PATTERNS["gpt2"]]
    assert len({tuple(known.encode(text, disallowed_special=())) for known in encodings}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_engine_is_rebuilt_after_a_fork(gpt2):
    gpt2.encode("warm")
    before, lock = gpt2._model.fast, gpt2._model.lock
    with lock:  # another thread was at work when the process forked
        child = os.fork()
        if child == 0:
            ok = gpt2.encode("Hello, world!") == GOLDEN["Hello, world!"] and gpt2._model.lock is not lock
            os._exit(0 if ok and (before is None or gpt2._model.fast is not before) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gpt2._model.fast is before


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


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_the_rows_of_a_batch_are_those_of_tiktoken(texts: list[str]) -> None:
    gpt2 = load_tokenizer("gpt2")
    gpt2.encode_batch(["long enough for the fast engine " * 150_000])
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert [row.tolist() for row in gpt2.encode_rows(texts)] == [gpt2.encode_reference(text) for text in texts]
