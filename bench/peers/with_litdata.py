"""litdata, as its page on LLM pre-training sets it up.

``optimize`` with ``TokensLoader`` writes the tokens into chunks of 64 MB (uint16, since the ids fit), then
``StreamingDataset(item_loader=TokensLoader(block_size=L + 1), shuffle=True, drop_last=True)`` and
``StreamingDataLoader``; the training loop shifts inputs and targets by one and widens them, as litgpt does. Its
blocks lie side by side and share no token, so there is no stride. It shuffles chunks, and items within a chunk.
"""

from collections.abc import Iterator
from functools import partial

import measure
import numpy as np
import torch

CHUNK = 32 * 1024 * 1025  # tokens, 64 MiB: the chunk that its page uses
PART = CHUNK


def part_of(first: int, path: str) -> Iterator[torch.Tensor]:
    tokens = np.memmap(path, dtype="<u2", mode="r")
    yield torch.from_numpy(tokens[first : first + PART].copy())


def prepare(source: measure.Source, setting: measure.Setting) -> None:
    from litdata import TokensLoader, optimize

    if (source.folder / "chunks" / "index.json").exists():
        return  # one copy serves all block sizes
    optimize(
        fn=partial(part_of, path=str(source.tokens)),
        inputs=list(range(0, len(source.memmap()), PART)),
        output_dir=str(source.folder / "chunks"),
        chunk_size=CHUNK,
        item_loader=TokensLoader(),
        num_workers=1,
    )


def loader(source: measure.Source, setting: measure.Setting, workers: int):
    from litdata import StreamingDataLoader, StreamingDataset, TokensLoader

    if setting.stride < setting.max_length:
        raise measure.NotOffered("no strides: blocks share no token")
    data = StreamingDataset(
        input_dir=str(source.folder / "chunks"),
        item_loader=TokensLoader(block_size=setting.max_length + 1),
        shuffle=True,
        drop_last=True,
    )
    return StreamingDataLoader(data, batch_size=setting.batch_size, num_workers=workers, drop_last=True)


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    for rows in measure.endless(loader(source, setting, workers)):
        yield rows[:, :-1].long(), rows[:, 1:].long()


def resumes(source: measure.Source, setting: measure.Setting, step: int) -> Iterator[measure.Pair]:
    made, num_samples = loader(source, setting, 0), step * setting.batch_size
    if step:
        state = {**made.state_dict(), "num_samples_yielded": num_samples, "current_epoch": 1}
        state["dataset"] = {
            **made.dataset.state_dict(num_samples, 1, setting.batch_size),
            "num_samples_yielded": num_samples,
            "current_epoch": 1,
        }
        made.load_state_dict(state)
    for rows in made:
        yield rows[:, :-1].long(), rows[:, 1:].long()


if __name__ == "__main__":
    measure.main({"": batches}, package="litdata", prepare=prepare, resumes=resumes)
