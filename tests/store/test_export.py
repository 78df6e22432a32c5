"""Stores as files of other tools: the bytes that the plainest writers make, all or none."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from token_file_helpers import EOS, documents, flat, write_datatrove, write_megatron
from windrow import TokenStore, export_store, open_store, prepare
from windrow.errors import StoreError
from windrow.store import export as export_module


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_AT_A_TIME", 7)  # so that a small store takes many


def store_of(docs: Any, dtype: str = "uint16", **more: Any) -> TokenStore:
    ends = np.cumsum([*map(len, docs)])
    return TokenStore.from_ids(flat(docs, dtype), document_ends=ends, eos_id=EOS, **more)


@pytest.mark.parametrize(("dtype", "written"), [("uint16", "uint16"), ("uint32", "int32")])
def test_an_export_for_megatron_is_the_files_that_it_writes(tmp_path: Path, dtype: str, written: str) -> None:
    docs = documents(dtype=dtype)
    write_megatron(tmp_path / "theirs", docs, written)
    paths = export_store(store_of(docs, dtype), tmp_path / "ours", "megatron")
    assert [path.name for path in paths] == ["ours.json", "ours.bin", "ours.idx"]
    for ending in (".bin", ".idx"):
        assert Path(f"{tmp_path}/ours{ending}").read_bytes() == Path(f"{tmp_path}/theirs{ending}").read_bytes()


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("has_counts", [False, True])
def test_an_export_for_datatrove_is_the_files_that_it_writes(tmp_path: Path, dtype: str, has_counts: bool) -> None:
    docs = documents(dtype=dtype)
    counts = [n % 3 == 0 for n in range(sum(map(len, docs)))] if has_counts else None
    write_datatrove(tmp_path / "theirs.ds", docs, dtype, counts and [*map(int, counts)])
    export_store(store_of(docs, dtype, counts=counts), tmp_path / "ours", "datatrove")
    for ending in (".ds", ".ds.index", *[".ds.loss"] * has_counts):
        assert Path(f"{tmp_path}/ours{ending}").read_bytes() == Path(f"{tmp_path}/theirs{ending}").read_bytes()


@pytest.mark.parametrize("format", ["megatron", "datatrove"])
def test_a_view_is_exported_as_it_is_and_opens_again(tmp_path: Path, format: str) -> None:
    view = store_of(documents()).select([9, 3, 4, 30])
    export_store(view, tmp_path / "some", format)
    store = open_store(tmp_path, eos_id=EOS)
    assert [store.document(n).tolist() for n in range(4)] == [view.document(n).tolist() for n in range(4)]
    about = json.loads((tmp_path / "some.json").read_text())
    assert (about["fingerprint"], about["num_documents"], about["lost"]) == (view.fingerprint, 4, [])


def test_what_the_format_has_no_place_for_is_said(tmp_path: Path) -> None:
    rows = [{"ids": [1, 2, 3], "mask": [0, 1, 1], "score": 2}]
    prepare(iter(rows), tmp_path / "corpus", ids_key="ids", mask_key="mask", keep=["score"], tokenizer="bytes")
    store = open_store(tmp_path / "corpus/train")
    lost = {}
    for format in ("megatron", "datatrove"):
        lost[format] = json.loads(export_store(store, tmp_path / format, format)[0].read_text())["lost"]
    assert lost == {"megatron": ["counts", "columns"], "datatrove": ["columns"]}
    assert (tmp_path / "datatrove.ds.metadata").read_text().startswith("bytes|2\n3\n")


def test_an_export_that_fails_leaves_nothing_and_writes_over_nothing(tmp_path: Path) -> None:
    wide = TokenStore.from_ids(np.array([2**31], np.uint32))
    with pytest.raises(StoreError, match=r"2147483648 does not fit int32, which the format has\. Give another format"):
        export_store(wide, tmp_path / "a", "megatron")
    assert list(tmp_path.iterdir()) == []
    export_store(wide, tmp_path / "a", "datatrove")
    held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=r"a\.json is there already, and nothing is written over"):
        export_store(store_of(documents()), tmp_path / "a", "datatrove")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == held
    with pytest.raises(StoreError, match="format is 'arrow', and it is one of megatron, datatrove"):
        export_store(wide, tmp_path / "b", "arrow")


def test_an_export_makes_its_folder(tmp_path: Path) -> None:
    files = export_store(store_of(documents()), tmp_path / "new" / "folder" / "a", "megatron")
    assert sorted(files) == sorted((tmp_path / "new" / "folder").iterdir())


def test_an_export_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_AT_A_TIME", 1 << 14)
    store = TokenStore.from_ids(np.zeros(1 << 22, np.uint16), document_ends=np.arange(8, (1 << 22) + 1, 8))
    for format in ("megatron", "datatrove"):
        tracemalloc.start()
        try:
            export_store(store, tmp_path / format, format)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
