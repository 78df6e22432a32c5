"""megatron-core, as its quick start sets it up: ``BlendedMegatronDatasetBuilder`` and a ``DataLoader``.

The file becomes an indexed dataset (``IndexedDatasetBuilder``, uint16); ``GPTDataset`` lays windows side by side, so
there is no stride, and shuffles them; it keeps its indices beside the data. The DataLoader shuffles once more, as in
the quick start. A batch holds a loss mask and position ids too; ``create_attention_mask`` is off, as for kernels that
make their own. The file is one document: documents are shuffled, and a window over two of them is none of the file, so
that its rows could not be looked up.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
import numpy as np
from torch.utils.data import DataLoader


class Tokenizer:
    """What the dataset asks of one: the vocabulary's size and special ids."""

    vocab_size, eod, pad, bos, eos = 50_257, 50_256, -1, -1, -1
    unique_identifiers = {"class": "none"}  # noqa: RUF012


def prepare(source: measure.Source, setting: measure.Setting) -> None:
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    if not (source.folder / "tokens.idx").exists():
        builder = IndexedDatasetBuilder(str(source.folder / "tokens.bin"), dtype=np.uint16)
        builder.add_item(torch.from_numpy(source.memmap()[:]))
        builder.end_document()
        builder.finalize(str(source.folder / "tokens.idx"))
    if setting.stride == setting.max_length:
        dataset(source, setting)  # its indices are made at first use, and kept


def dataset(source: measure.Source, setting: measure.Setting) -> Any:
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=setting.max_length,
        blend=([str(source.folder / "tokens")], None),
        split="1",
        tokenizer=Tokenizer(),
        path_to_cache=str(Path(source.folder / "indices").resolve()),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )
    return BlendedMegatronDatasetBuilder(GPTDataset, [None, 0, 0], lambda: True, config).build()[0]


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    if setting.stride < setting.max_length:
        raise measure.NotOffered("no strides: windows share no target")
    loader = DataLoader(
        dataset(source, setting), batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=workers
    )
    for batch in measure.endless(loader):
        yield batch["tokens"], batch["labels"]


if __name__ == "__main__":
    measure.main({"": batches}, package="megatron-core", prepare=prepare)
