"""Token files of other tools: every format opens where it lies, with the documents that were written."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_file_helpers import (
    EOS,
    documents,
    flat,
    write_datatrove,
    write_llmc,
    write_megatron,
    write_olmo,
)
from windrow import Loader, Mixture, TokenStore, Windows, open_store, prepare
from windrow.errors import StoreError

DTYPES = {"uint16": np.uint16, "int32": np.uint32, "uint32": np.uint32}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "windrow"


def assert_holds(store: TokenStore, docs: Any, dtype: str) -> None:
    """``store`` has these documents, token by token."""
    assert store.dtype == DTYPES[dtype]
    assert store.num_tokens == sum(map(len, docs))
    assert [store.document(number).tolist() for number in range(store.num_documents)] == [*map(list, docs)]
    assert store.document_lengths.tolist() == [*map(len, docs)]


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("name", ["corpus_text_document.bin", "corpus_text_document.idx", "corpus_text_document"])
def test_megatron_opens_by_its_prefix_and_by_either_file(tmp_path: Path, dtype: str, sequences: int, name: str) -> None:
    docs = documents(dtype=dtype)
    write_megatron(tmp_path / "corpus_text_document", docs, dtype, sequences)
    store = open_store(tmp_path / name, eos_id=EOS)
    assert_holds(store, docs, dtype)
    assert (store.boundary, store.eos_id, store.bos_id) == ("eos", EOS, None)


@pytest.mark.parametrize(("magic", "dtype"), [(20240520, "uint16"), (20240801, "uint32")])
def test_documents_of_llmc_begin_with_eos_and_straddle_shards(tmp_path: Path, magic: int, dtype: str) -> None:
    eos = {20240520: EOS, 20240801: 128_000}[magic]
    docs = [[eos, *each[:-1]] for each in documents(dtype=dtype)]
    tokens = flat(docs, dtype).tolist()
    for number, (start, stop) in enumerate([(0, 100), (100, 101), (101, len(tokens))]):
        write_llmc(tmp_path / f"fineweb_train_{number:06d}.bin", tokens[start:stop], magic)
    for path in (tmp_path, f"{tmp_path}/*_train_*.bin", sorted(tmp_path.glob("*.bin"))):
        store = open_store(path)
        assert_holds(store, docs, dtype)
        assert (store.boundary, store.eos_id, store.bos_id) == ("bos", eos, eos)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=9), st.data())
def test_documents_are_found_by_eos_however_shards_are_cut(docs: Any, data: st.DataObject) -> None:
    import tempfile

    tokens, begins = [token for each in docs for token in each], data.draw(st.booleans())
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(tokens)), max_size=3))), len(tokens)]
    edges = [n + (not begins) for n, token in enumerate(tokens) if token == 0]
    edges = sorted({0, *edges, len(tokens)})
    with tempfile.TemporaryDirectory() as folder:
        for number, (start, stop) in enumerate(pairwise(cuts)):
            path = Path(folder, f"{number}.bin")
            if begins:
                write_llmc(path, tokens[start:stop])
            else:
                flat([tokens[start:stop]]).tofile(path)
        store = open_store(folder, eos_id=0, **({} if begins else {"dtype": "uint16"}))
        found = [store.document(number).tolist() for number in range(store.num_documents)]
    assert found == [tokens[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("where", [0, 1, 2])
def test_files_without_tokens_are_no_part_of_the_store(tmp_path: Path, where: int) -> None:
    docs = documents(10, "uint32")
    parts = [docs[:4], docs[4:]]
    parts.insert(where, [])
    for number, part in enumerate(parts):
        write_datatrove(tmp_path / f"{number}.ds", part, "uint32")
        write_llmc(tmp_path / f"{number}.bin", [0, *flat(part, "uint32").tolist()][: 9 * len(part)], 20240801)
    assert_holds(open_store(f"{tmp_path}/*.ds"), docs, "uint32")
    store = open_store(f"{tmp_path}/*.bin", eos_id=0)
    assert store.num_tokens == 90
    assert store.document_lengths.min() > 0
    assert store.document_lengths.sum() == 90


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
def test_tokens_without_a_header_open_by_what_is_said_of_them(tmp_path: Path, dtype: str) -> None:
    docs = documents(dtype=dtype)
    flat(docs, dtype).tofile(tmp_path / "train.bin")
    for given_ in ({"eos_id": EOS}, {"tokenizer": "gpt2"}):
        store = open_store(tmp_path / "train.bin", dtype=dtype, **given_)
        assert_holds(store, docs, dtype)
        assert store.boundary == "eos"


def test_an_eos_that_is_nowhere_makes_one_document(tmp_path: Path) -> None:
    flat([[1, 2, 3]]).tofile(tmp_path / "train.bin")
    store = open_store(tmp_path / "train.bin", dtype="uint16", eos_id=65_535)
    assert (store.num_documents, store.boundary) == (1, "none")


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_datatrove_opens_with_its_loss_as_counts_and_its_tokenizer(tmp_path: Path, dtype: str) -> None:
    docs = documents(dtype=dtype)
    loss = [n % 2 for n in range(sum(map(len, docs)))]
    store = open_store(write_datatrove(tmp_path / "00000_unshuffled.ds", docs, dtype, loss))
    assert_holds(store, docs, dtype)
    assert store.has_counts
    assert store.counts_at(np.array([0]), np.array([store.num_tokens])).astype(int).tolist() == loss
    assert store.tokenizer.eos_id == store.eos_id == EOS
    assert store.boundary == "eos"


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_olmo_opens_with_where_each_document_came_from(tmp_path: Path, dtype: str) -> None:
    from windrow.store.origins import Origins

    docs = documents(dtype=dtype)
    write_olmo(tmp_path / "part-0-00000.npy", docs[:25], dtype)
    write_olmo(tmp_path / "part-0-00001.npy", docs[25:], dtype)
    store = open_store(tmp_path, eos_id=EOS)
    assert_holds(store, docs, dtype)
    found = Origins(store).of([4, 29])
    assert [str(found[4]), str(found[29])] == ["s3://a/part-1.gz:5", "s3://a/part-1.gz:5"]
    assert Origins(store.select([29, 4])).of([1])[1] == found[4]
    assert Origins(store).documents_at("part-1.gz", 5) == [4, 29]


def test_olmo_without_its_list_is_found_by_eos(tmp_path: Path) -> None:
    docs = documents(dtype="uint32")
    flat(docs, "uint32").tofile(tmp_path / "part-0.npy")
    assert_holds(open_store(tmp_path, dtype="uint32", eos_id=EOS), docs, "uint32")


# -- nothing is guessed --------------------------------------------------------------------------------------------


def both(path: Path) -> None:
    write_llmc(write_megatron(path / "a", documents()), [EOS, 1])


def array(path: Path) -> None:
    np.save(path / "a.npy", np.arange(9, dtype=np.uint16))


UNSAID: dict[str, tuple[Callable[[Path], object], str, dict[str, Any], str]] = {
    "two forms": (
        both,
        "a.bin",
        {},
        r"format is \['megatron', 'llmc'\], and it must be one of .*; nothing is guessed\. Give format=\.\.\.",
    ),
    "none": (
        lambda p: (p / "a.bin").write_bytes(b"12"),
        "a.bin",
        {},
        r"format is not known, and .*of tokens without a header dtype=\"uint16\" and eos_id=50256",
    ),
    "no eos": (
        lambda p: (p / "a.bin").write_bytes(b"12"),
        "a.bin",
        {"dtype": "uint16"},
        "has no header: dtype is uint16, eos_id is None",
    ),
    "a format of no name": (
        lambda p: (p / "a.bin").write_bytes(b"12"),
        "a.bin",
        {"format": "megatronn"},
        r"format is \['megatronn'\], and it must be one of megatron, llmc, datatrove, olmo, nanogpt",
    ),
    "an array": (
        array,
        "a.npy",
        {},
        r"an array with a header\. Give TokenStore\.from_ids\(np\.load\(path, mmap_mode=\"r\"\)\)",
    ),
    "both sides": (
        lambda p: [write_llmc(p / f"{side}_0.bin", [1]) for side in ("train", "val")],
        "",
        {},
        "holds files of train and of valid",
    ),
    "a dtype that is another": (
        lambda p: write_megatron(p / "a", documents()),
        "a.bin",
        {"dtype": "uint32"},
        "dtype is 'uint32', and .* says that it is uint16",
    ),
    "an eos of no dtype": (
        lambda p: write_megatron(p / "a", documents()),
        "a.bin",
        {"eos_id": 70_000},
        "eos_id is 70000, and ids of uint16 end at 65535",
    ),
    "two dtypes": (
        lambda p: [write_megatron(p / name, documents(), name) for name in ("uint16", "int32")],
        "",
        {},
        "are of two kinds: megatron, int32, without a loss; and megatron, uint16, without a loss",
    ),
    "two formats": (
        lambda p: [write_megatron(p / "a", documents()), write_llmc(p / "b.bin", [1])],
        "",
        {},
        "are of two kinds: megatron, .*; and llmc, ",
    ),
    "no tokens": (lambda p: write_llmc(p / "a.bin", []), "", {}, "holds no tokens"),
}


@pytest.mark.parametrize("case", UNSAID)
def test_what_does_not_say_what_it_is_is_asked_about(tmp_path: Path, case: str) -> None:
    write, name, given_, message = UNSAID[case]
    (tmp_path / "files").mkdir()
    write(tmp_path / "files")
    with pytest.raises(StoreError, match=message):
        open_store(tmp_path / "files" / name, **given_)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int64", "float64", "float32"])
def test_a_dtype_that_cannot_be_mapped_is_sent_to_prepare(tmp_path: Path, dtype: str) -> None:
    write_megatron(tmp_path / "a", [[1, 2], [3]], dtype)
    with pytest.raises(StoreError, match=rf"holds {dtype}, and uint16, uint32, int32 can be mapped\. Prepare it"):
        open_store(tmp_path / "a")
    rows = ({"ids": ids} for ids in ([1, 2], [3]))
    prepare(rows, tmp_path / "corpus", ids_key="ids", tokenizer="bytes")
    assert open_store(tmp_path / "corpus/train").tokens().tolist() == [1, 2, 3]


def test_a_prepared_store_says_it_all(tmp_path: Path) -> None:
    prepare(iter(["a text"]), tmp_path / "corpus", tokenizer="bytes")
    with pytest.raises(
        StoreError, match=r"is a prepared store, which says it all\. Leave format, dtype and eos_id out"
    ):
        open_store(tmp_path / "corpus/train", eos_id=3)


# -- and everything works ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["concat", "pad", "pack", "bos"])
def test_batches_are_those_of_a_store_of_the_same_tokens(tmp_path: Path, policy: Any) -> None:
    docs = documents(200)
    same = TokenStore.from_ids(flat(docs), document_ends=np.cumsum([*map(len, docs)]), eos_id=EOS)
    store = open_store(write_megatron(tmp_path / "a", docs), eos_id=EOS)
    for ours, theirs in zip(
        Loader(Windows(store, 16, policy=policy), 4), Loader(Windows(same, 16, policy=policy), 4), strict=True
    ):
        assert np.array_equal(ours.inputs, theirs.inputs)
        assert np.array_equal(ours.targets, theirs.targets)


def test_a_mixture_joins_formats_and_its_state_resumes(tmp_path: Path) -> None:
    prepare(iter(["a text of some words"] * 9), tmp_path / "corpus", tokenizer="gpt2")
    write_megatron(tmp_path / "a", documents())
    write_datatrove(tmp_path / "b.ds", documents(seed=1))

    def loader() -> Loader:
        stores = [open_store(tmp_path / each) for each in ("corpus/train", "a", "b.ds")]
        members = {name: (Windows(each, 8), 1.0) for name, each in zip("abc", stores, strict=True)}
        return Loader(Mixture(members), 4)

    first = loader()
    batches = [batch.inputs for batch in first]
    again = loader()
    again.load_state_dict({**loader().state_dict(), "position": 8})
    assert np.array_equal(next(iter(again)).inputs, batches[2])
