"""prepare as a whole: tiktoken's ids for any text, the same bytes for any number of workers, and what it refuses."""

import gzip
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prepare_helpers import EOS, EOT, TEXTS, as_jsonl, origins, real_texts, reference, same_ids, snapshot, zst
from windrow import prepare
from windrow.errors import NotEnoughTokensError, PrepareError, TokenizerError


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_text_file_is_one_document(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zst}[suffix]
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt{suffix}").write_bytes(pack(text.encode()))
    same_ids(prepare(tmp_path, tmp_path / "out")["train"], TEXTS)


# -- real text, in parallel ------------------------------------------------------------------------------------------

MB = 1_000_000
ALL = bool(os.environ.get("WINDROW_EXHAUSTIVE"))  # fifty megabytes, and a file of two hundred


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return real_texts(50 * MB if ALL else 20 * MB)


def test_megabytes_of_real_files_have_tiktokens_ids_and_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, corpus: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number, text in enumerate(corpus):
        (tmp_path / f"in/{number:06d}.txt").write_bytes(text.encode())
    store = prepare(tmp_path / "in", tmp_path / "out2", workers=2)["train"]
    same_ids(store, corpus)
    prepare(tmp_path / "in", tmp_path / "out3", workers=3)
    assert snapshot(tmp_path / "out2") == snapshot(tmp_path / "out3")
    (tmp_path / "one").mkdir()
    (tmp_path / "one/x.jsonl.zst").write_bytes(zst(as_jsonl(corpus)))
    assert np.array_equal(prepare(tmp_path / "one", tmp_path / "jsonl")["train"].tokens(), store.tokens())


def test_one_file_of_many_items_is_cut_in_parallel_and_has_the_ids_of_the_whole(
    tmp_path: Path, corpus: list[str]
) -> None:
    text = "\n" + "".join(corpus) + " end"  # copies join where text may be cut: ids of copies are copies of the ids
    ids, num = np.array(reference().encode_ordinary(text[: 10 * MB] + " end"), np.int64), 20 if ALL else 5
    with open(tmp_path / "x.txt", "wb") as file:
        for _ in range(num):
            file.write((text[: 10 * MB] + " end").encode())
    store = prepare(tmp_path / "x.txt", tmp_path / "out")["train"]
    assert store.num_documents == 1
    assert np.array_equal(store.tokens(), np.append(np.tile(ids, num), EOS))
    assert origins(tmp_path / "out/train") == [[0, 1, 0, (tmp_path / "x.txt").stat().st_size]]


@pytest.mark.parametrize("literal_eos", ["text", "split"])
def test_a_compressed_stream_and_a_plain_file_give_the_same_tokens(
    tmp_path: Path, corpus: list[str], literal_eos: Any
) -> None:
    data = EOT.join([*corpus[:300], "".join(corpus)[: 20 * MB], *corpus[300:600]]).encode()
    (tmp_path / "x.txt").write_bytes(data)
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(data, 1))
    plain = prepare(tmp_path / "x.txt", tmp_path / "plain", literal_eos=literal_eos)["train"]
    packed = prepare(tmp_path / "x.txt.gz", tmp_path / "packed", literal_eos=literal_eos)["train"]
    assert np.array_equal(plain.tokens(), packed.tokens())
    assert origins(tmp_path / "plain/train") == origins(tmp_path / "packed/train")
    assert plain.num_documents == (1 if literal_eos == "text" else 601)


LONG = 5 * MB
ADVERSARIAL = {
    "letter": "a" * LONG,
    "spaces": " " * LONG,
    "newlines": "\n" * LONG,
    "digits": "7" * LONG,
    "crlf": "\r\n" * (LONG // 2),
    "emoji": "👩\u200d👩\u200d👧\u200d👦" * (LONG // 25),
    "nul": "\0" * LONG,
    "controls": EOT * (LONG // 13),
    "chinese": "今天天气很好，我们去公园。" * (LONG // 39),
    "numbers": "3.14159,2.71828\n" * (LONG // 16),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_text_of_five_megabytes_has_tiktokens_ids(tmp_path: Path, kind: str) -> None:
    text = ADVERSARIAL[kind]
    (tmp_path / "x.txt").write_bytes(text.encode())
    try:
        ids = reference().encode_ordinary(text)
    except BaseException:  # a PanicException; what tiktoken cannot do is compared at the length it can
        text = text[: LONG // 50]
        ids = reference().encode_ordinary(text)
        (tmp_path / "x.txt").write_bytes(text.encode())
    store = prepare(tmp_path / "x.txt", tmp_path / "out")["train"]
    assert np.array_equal(store.tokens(), [*ids, EOS])


def test_random_unicode_from_every_plane_has_tiktokens_ids(tmp_path: Path) -> None:
    choose = random.Random(1)
    planes = [[chr(choose.randrange(low, low + 0x10000)) for _ in range(3000)] for low in range(0, 0x110000, 0x10000)]
    pool = [char for plane in planes for char in plane if not "\ud800" <= char <= "\udfff"]
    text = "".join(choose.choices([*pool, *"abc 123\n.,'"], k=1_500_000))
    (tmp_path / "x.txt").write_bytes(text.encode())
    assert (tmp_path / "x.txt").stat().st_size > 1 << 22  # long enough to be cut
    same_ids(prepare(tmp_path / "x.txt", tmp_path / "out")["train"], [text])


# -- what is wrong with inputs -----------------------------------------------------------------------------------------


def test_a_separator_or_a_key_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text")
    for name in ("separator", "text_key"):
        with pytest.raises(ValueError, match=rf"{name} is '\\udcff', which is not UTF-8"):
            prepare(tmp_path, tmp_path / "out", **{name: os.fsdecode(b"\xff")})  # type: ignore[arg-type]


def test_no_documents_at_all_is_an_error_and_empty_files_are_documents(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match="hold no document"):
        prepare(iter([]), tmp_path / "none")
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "y.txt").write_text("")
    with pytest.raises(NotEnoughTokensError, match="hold 2 documents and no text"):
        prepare([tmp_path / "x.txt", tmp_path / "y.txt"], tmp_path / "empty")
    (tmp_path / "y.txt").write_text("!")
    store = prepare([tmp_path / "x.txt", tmp_path / "y.txt"], tmp_path / "out")["train"]
    assert store.tokens().tolist() == [EOS, 0, EOS]


class Doubling:
    """A tokenizer that ends each text itself."""

    vocab_size, eos_id, fingerprint = 300, 256, "doubling"

    def encode(self, text: str) -> list[int]:
        return [*text.encode(), 256]

    def decode(self, ids: Any) -> str:
        return bytes(ids).decode()


class Wrapping(Doubling):
    """A tokenizer with ids that its vocab_size denies."""

    def encode(self, text: str) -> list[int]:
        return [70_000]


def test_a_tokenizer_that_writes_eos_itself_or_ids_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepareError, match="made 1 eos tokens"):
        prepare(iter(["x"]), tmp_path, tokenizer=Doubling())
    with pytest.raises(TokenizerError, match="70000"):
        prepare(iter(["x"]), tmp_path, tokenizer=Wrapping())
    assert not (tmp_path / "train").exists()
