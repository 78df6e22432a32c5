"""Megatron: what its builder writes opens here, what is exported opens there, and its order of documents is ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from token_file_helpers import EOS, documents, flat
from windrow import TokenStore, Windows, export_store, open_store

pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed here")
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]  # its own, of what it does without
VOCABULARIES = {"uint16": 50_257, "int32": 128_256}


def built(prefix: Path, docs: Any, dtype: str, sequences: int = 1) -> Path:
    """The files of ``IndexedDatasetBuilder``."""
    import torch
    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

    chosen = DType.optimal_dtype(VOCABULARIES[dtype])
    assert np.dtype(chosen) == dtype
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=chosen)
    for each in docs:
        lengths = [len(part) for part in np.array_split(each, sequences) if len(part)]
        builder.add_document(torch.tensor(each), lengths)
    builder.finalize(f"{prefix}.idx")
    return prefix


@pytest.mark.parametrize("dtype", VOCABULARIES)
@pytest.mark.parametrize("sequences", [1, 3])
def test_what_its_builder_writes_has_the_same_documents_here(tmp_path: Path, dtype: str, sequences: int) -> None:
    docs = documents(200, dtype)
    store = open_store(built(tmp_path / "a_text_document", docs, dtype, sequences), eos_id=EOS)
    assert [store.document(number).tolist() for number in range(store.num_documents)] == docs
    assert store.boundary == "eos"


@pytest.mark.parametrize("dtype", VOCABULARIES)
def test_what_is_exported_is_byte_for_byte_what_its_builder_writes_and_its_reader_reads_it(
    tmp_path: Path, dtype: str
) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    docs = documents(200, dtype)
    built(tmp_path / "theirs", docs, dtype)
    ours = flat(docs, dtype.replace("int32", "uint32"))
    store = TokenStore.from_ids(ours, document_ends=np.cumsum([*map(len, docs)]))
    export_store(store, tmp_path / "ours", "megatron")
    for ending in (".bin", ".idx"):
        assert Path(f"{tmp_path}/ours{ending}").read_bytes() == Path(f"{tmp_path}/theirs{ending}").read_bytes()
    read = IndexedDataset(str(tmp_path / "ours"))
    assert [read[number].tolist() for number in range(len(read))] == docs


def test_its_own_order_of_documents_gives_its_own_windows_each_once(tmp_path: Path) -> None:
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    docs, length = documents(200), 16
    prefix = built(tmp_path / "a_text_document", docs, "uint16")
    flags = ("reset_position_ids", "reset_attention_mask", "eod_mask_loss", "create_attention_mask")
    config = GPTDatasetConfig(
        random_seed=1234,
        sequence_length=length,
        blend=([str(prefix)], None),
        split="1,0,0",
        path_to_cache=str(tmp_path / "cache"),
        tokenizer=Tokenizer(),
        **dict.fromkeys(flags, False),
    )
    theirs = GPTDataset(
        IndexedDataset(str(prefix)), str(prefix), np.arange(200, dtype=np.int32), None, Split.train, config
    )
    (cached,) = (tmp_path / "cache").rglob("*document_index.npy")
    store = open_store(prefix, eos_id=EOS).select(np.load(cached))
    windows = Windows(store, length)
    ours = windows.gather(np.arange(windows.num_samples))
    read = [np.append(each["tokens"], each["labels"][-1]).tolist() for each in (theirs[n] for n in range(len(theirs)))]
    assert len(read) == windows.num_samples
    assert sorted(read) == sorted(ours.tolist())


class Tokenizer:
    """What its dataset asks of a tokenizer."""

    eod, pad, vocab_size = EOS, 0, 50_257
    unique_identifiers = {"class": "none"}  # noqa: RUF012
