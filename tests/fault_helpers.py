"""Eighteen faults, one for each check of the certificate, planted into two stores on disk or into windrow itself."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from windrow import Batch, Loader, Windows, open_store, prepare
from windrow.audit.check import CHECKS
from windrow.batches.boundaries import Boundaries
from windrow.batches.delivery import NumpyDelivery
from windrow.loader.samples import Samples
from windrow.loader.stream import Stream
from windrow.order import permutation
from windrow.order.permutation import absorbed
from windrow.windows.epoch_documents import EpochDocuments
from windrow.windows.sliding import Sliding

Patch = pytest.MonkeyPatch
TEXTS = [f"Document {i} speaks of {'hay and rain and ' * (i % 9)}the row number {i}." for i in range(90)]


def prepare_two(folder: Path) -> None:
    """``web``, which has a valid part, and ``code``, of bytes."""
    prepare(iter(TEXTS), folder / "web", tokenizer="bytes", valid_fraction=0.2, split="documents")
    prepare((f"Listing {i}: {'x = y; ' * (i % 7)}end {i}." for i in range(80)), folder / "code", tokenizer="bytes")


def change_batches(monkeypatch: Patch, change: Callable[[NDArray[Any], NDArray[Any]], Any]) -> None:
    real = NumpyDelivery.batches

    def changed(self: Any, *args: Any) -> Iterator[Batch]:
        for batch in real(self, *args):
            inputs, targets = change(batch.inputs.copy(), batch.targets.copy())
            yield Batch(inputs, targets, int((targets != -100).sum()))

    monkeypatch.setattr(NumpyDelivery, "batches", changed)


def overwrite(path: Path, places: Any, token: int) -> None:
    ids = np.fromfile(path, dtype="<u2")
    ids[places] = token
    ids.tofile(path)


def read_the_same(monkeypatch: Patch) -> None:
    real = Samples.__init__
    monkeypatch.setattr(Samples, "__init__", lambda self, order, members, dp_rank: real(self, order, members, 0))


def halve_steps_of_copies(monkeypatch: Patch) -> None:
    real = Stream.at_step
    monkeypatch.setattr(Stream, "__setstate__", lambda self, s: self.__dict__.update(s, copied=True), raising=False)
    halved = lambda self, step, rank: real(self, step // 2 if hasattr(self, "copied") else step, rank)  # noqa: E731
    monkeypatch.setattr(Stream, "at_step", halved)


def resume_elsewhere(monkeypatch: Patch, by: int = -4) -> None:
    real = Loader.load_state_dict

    def wrong(self: Loader, state: Any) -> None:
        real(self, {**state, "position": max(0, state["position"] + by)})

    monkeypatch.setattr(Loader, "load_state_dict", wrong)


def drop_last_target(monkeypatch: Patch) -> None:
    change_batches(monkeypatch, lambda x, y: (x, np.where(np.arange(y.shape[1]) == y.shape[1] - 1, -100, y)))


def count_padding(monkeypatch: Patch) -> None:
    real = Windows.rows
    monkeypatch.setattr(Windows, "rows", lambda self, *args, **kwargs: (real(self, *args, **kwargs)[0], None))


def run_positions_on(monkeypatch: Patch) -> None:
    real = Boundaries._of

    def run_on(self: Any, documents: Any) -> dict[str, Any]:
        return {**real(self, documents), "position_ids": np.arange(documents.shape[1]) + 0 * documents}

    monkeypatch.setattr(Boundaries, "_of", run_on)


def count_context(monkeypatch: Patch) -> None:
    real = Sliding.spans

    def all_of_them(self: Any, ids: Any, epoch: Any, *, key: Any) -> Any:
        spans = real(self, ids, epoch, key=key)
        return spans._replace(context=np.ones_like(spans.context))

    monkeypatch.setattr(Sliding, "spans", all_of_them)


def keep_neighbours(monkeypatch: Patch) -> None:
    real = EpochDocuments._line
    monkeypatch.setattr(EpochDocuments, "_line", lambda self, epoch, key: real(self, 0, key))


def write_json(folder: Path) -> None:
    for path in (folder / "web/train", folder / "code/train"):
        store = open_store(path)
        starts = store.document_ends(np.arange(store.num_documents) - 1)
        overwrite(path / "tokens-00000.bin", starts, ord("{"))
        overwrite(path / "tokens-00000.bin", starts + 1, ord('"'))


def learn_the_valid_part(folder: Path) -> None:
    shutil.rmtree(folder / "web/valid")
    shutil.copytree(folder / "code/train", folder / "web/valid")


def change_a_token(token: int) -> Callable[[Path, Patch], None]:
    """Token 7, inside the first document, is ``token``."""
    return lambda folder, _: overwrite(folder / "code/train/tokens-00000.bin", 7, token)


def lose_an_eos(folder: Path, _: Patch) -> None:
    end = int(open_store(folder / "code/train").document_ends(np.array([3]))[0])
    overwrite(folder / "code/train/tokens-00000.bin", end - 1, ord("x"))


FAULTS: dict[str, Callable[[Path, Patch], None]] = dict(
    zip(
        CHECKS,
        [
            lambda _, patch: change_batches(patch, lambda x, y: (x, np.roll(y, -1, axis=1))),
            lambda folder, _: learn_the_valid_part(folder),
            lambda _, patch: read_the_same(patch),
            lambda _, patch: halve_steps_of_copies(patch),
            change_a_token(300),
            lose_an_eos,
            lambda _, patch: resume_elsewhere(patch),
            lambda _, patch: patch.setattr(permutation, "absorbed", lambda key, tweaks: absorbed(key, ())),
            lambda _, patch: drop_last_target(patch),
            lambda _, patch: count_padding(patch),
            change_a_token(0xFF),
            lambda _, patch: run_positions_on(patch),
            change_a_token(ord("x")),
            lambda folder, _: overwrite(folder / "code/train/tokens-00000.bin", slice(500, 1600), 0),
            change_a_token(256),
            lambda _, patch: count_context(patch),
            lambda _, patch: keep_neighbours(patch),
            lambda folder, _: write_json(folder),
        ],
        strict=True,
    )
)
