"""datatrove's ``DatatroveFolderDataset``, which reads the token files (.ds) that its tokenizer pipeline writes.

Those files are raw uint16 like ours, so it reads the same file under another name. An item is ``seq_len + 1`` tokens
as ``input_ids``, side by side and sharing no token, so there is no stride; the training loop shifts. Its files are
meant to be shuffled beforehand and read in sequence (its ``shuffle`` permutes files); here, as everywhere in this
table, the ``DataLoader`` shuffles.
"""

from collections.abc import Iterator

import measure
from torch.utils.data import DataLoader


def prepare(source: measure.Source, setting: measure.Setting) -> None:
    link = source.folder / "tokens.ds"
    if not link.exists():
        link.symlink_to(source.tokens.resolve())


def batches(source: measure.Source, setting: measure.Setting, workers: int) -> Iterator[measure.Pair]:
    from datatrove.utils.dataset import DatatroveFolderDataset

    if setting.stride < setting.max_length:
        raise measure.NotOffered("no strides: rows share no token")
    data = DatatroveFolderDataset(str(source.folder), seq_len=setting.max_length, filename_pattern="*.ds", token_size=2)
    loader = DataLoader(data, batch_size=setting.batch_size, shuffle=True, drop_last=True, num_workers=workers)
    for batch in measure.endless(loader):
        yield batch["input_ids"][:, :-1], batch["input_ids"][:, 1:]


if __name__ == "__main__":
    measure.main({"": batches}, package="datatrove", prepare=prepare)
