"""What is no flat row of tokens goes through prepare, as rows of ids: each package reads its own files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from token_file_helpers import documents
from windrow import TokenStore, prepare

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
DTYPES = {"uint16": "gpt2", "uint32": "wide"}


class Wide:
    """A tokenizer of 200 000 ids."""

    vocab_size, eos_id, fingerprint, name = 200_000, 0, "wide", "wide"

    def encode(self, text: str) -> list[int]:
        return [*map(int, text.split())]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def prepared(rows: Any, dest: Path, dtype: str, key: str = "ids") -> TokenStore:
    tokenizer: Any = "gpt2" if dtype == "uint16" else Wide()
    return prepare(rows, dest, ids_key=key, tokenizer=tokenizer)["train"]


def assert_holds(store: TokenStore, docs: Any, dtype: str) -> None:
    assert store.dtype == dtype
    assert [store.document(number).tolist() for number in range(store.num_documents)] == docs


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dataset_saved_to_disk_is_read_as_arrow(tmp_path: Path, dtype: str) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed here")
    docs = documents(200, dtype)
    datasets.Dataset.from_dict({"input_ids": docs}).save_to_disk(str(tmp_path / "saved"), num_shards=2)
    files = sorted((tmp_path / "saved").glob("*.arrow"))
    assert len(files) == 2
    assert_holds(prepared(files, tmp_path / "corpus", dtype, "input_ids"), docs, dtype)


def documents_of(seed: int) -> Iterator[Any]:
    """What litdata's workers call."""
    import torch

    yield from map(torch.tensor, documents(200, "uint32" if seed else "uint16"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_litdata_reads_its_own_chunks(tmp_path: Path, dtype: str) -> None:
    litdata = pytest.importorskip("litdata", reason="litdata is not installed here")
    folder = str(tmp_path / "chunks")
    litdata.optimize(documents_of, [int(dtype == "uint32")], folder, chunk_bytes=1 << 12, num_workers=1)
    rows = ({"ids": np.asarray(each)} for each in litdata.StreamingDataset(folder))
    assert_holds(prepared(rows, tmp_path / "corpus", dtype), documents(200, dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mosaicml_streaming_reads_its_own_shards(tmp_path: Path, dtype: str) -> None:
    try:
        import streaming
    except Exception as error:  # also of what it imports, built for another torch
        pytest.skip(f"mosaicml-streaming cannot be imported here: {error}")
    docs = documents(200, dtype)
    with streaming.MDSWriter(out=str(tmp_path / "shards"), columns={"tokens": "ndarray:int32"}) as writer:
        for each in docs:
            writer.write({"tokens": np.array(each, np.int32)})
    rows = streaming.StreamingDataset(local=str(tmp_path / "shards"), batch_size=1, shuffle=False)
    assert_holds(prepared(iter(rows), tmp_path / "corpus", dtype, "tokens"), docs, dtype)
