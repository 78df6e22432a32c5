"""datatrove: what its tokenizer writes opens here, and what is exported its reader reads."""

from pathlib import Path

import numpy as np
import pytest

from token_file_helpers import documents, flat
from windrow import TokenStore, Windows, export_store, open_store

pytest.importorskip("datatrove.pipeline.tokens", reason="datatrove is not installed here")
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]
VOCABULARIES = {"uint16": 900, "uint32": 70_000}


def words(path: Path, num: int) -> str:
    """A tokenizer of ``num`` words, ``w0`` has id 0, and an eos behind them."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({**{f"w{n}": n for n in range(num)}, "<eos>": num}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(path))
    return str(path)


@pytest.mark.parametrize("dtype", VOCABULARIES)
@pytest.mark.parametrize("has_loss", [False, True])
def test_what_its_tokenizer_writes_has_the_same_documents_here(tmp_path: Path, dtype: str, has_loss: bool) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.tokens import DocumentTokenizer

    eos, random = VOCABULARIES[dtype], np.random.default_rng(0)
    docs = [random.integers(0, eos, random.integers(1, 30)).tolist() for _ in range(200)]
    texts = [" ".join(f"w{token}" for token in each) for each in docs]
    step = DocumentTokenizer(
        str(tmp_path / "out"),
        words(tmp_path / "tokenizer.json", eos),
        eos_token="<eos>",
        shuffle_documents=False,
        save_loss_metadata=has_loss,
    )
    hidden = [[(0, text.index(" ") + 1)] if " " in text else [] for text in texts]
    read = (Document(text, str(n), metadata={"no_loss_ranges": hidden[n]}) for n, text in enumerate(texts))
    step.run(read)
    store = open_store(tmp_path / "out", eos_id=eos)
    assert store.dtype == dtype
    assert [store.document(number).tolist() for number in range(store.num_documents)] == [[*each, eos] for each in docs]
    assert store.boundary == "eos"
    assert store.has_counts == has_loss
    if has_loss:
        counts = store.counts_at(np.array([0]), np.array([store.num_tokens]))
        assert np.count_nonzero(~counts) == sum(map(bool, hidden))


@pytest.mark.parametrize("dtype", VOCABULARIES)
def test_what_is_exported_is_read_by_its_dataset_and_is_the_file_that_it_writes(tmp_path: Path, dtype: str) -> None:
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile
    from datatrove.utils.dataset import DatatroveFileDataset

    docs, length, size = documents(200, dtype), 16, np.dtype(dtype).itemsize
    store = TokenStore.from_ids(flat(docs, dtype), document_ends=np.cumsum([*map(len, docs)]))
    export_store(store, tmp_path / "ours", "datatrove")
    theirs = TokenizedFile(str(tmp_path), "theirs.ds", token_size=size)
    for each in docs:
        theirs.write(each, None)
    theirs.close()
    for ending in (".ds", ".ds.index"):
        assert Path(f"{tmp_path}/ours{ending}").read_bytes() == Path(f"{tmp_path}/theirs{ending}").read_bytes()
    read = DatatroveFileDataset(str(tmp_path / "ours.ds"), length, token_size=size)
    windows = Windows(store, length, length + 1)
    ours = windows.gather(np.arange(windows.num_samples)).tolist()
    assert [read[number]["input_ids"].tolist() for number in range(len(read))] == ours
