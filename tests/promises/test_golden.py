"""What must never change: order, mixture and state of version 1, ids and windows of a text, on every Python and NumPy.

The files ``tests/golden/*.json`` were made once, by ``PYTHONPATH=tests python tests/promises/test_golden.py NAME``,
which refuses to write over them. Needs pytest and what windrow itself needs only.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from conftest import STORY
from prepare_helpers import reference
from windrow import Loader, Mixture, TokenStore, Windows, load_tokenizer, prepare
from windrow.order.order import MemberOrder
from windrow.order.permutation import MAX_SAMPLES, Permutation, keyed_integers
from windrow.windows.document_rows import Pieces
from windrow.windows.windows import Policy

FOLDER = Path(__file__).parents[1] / "golden"
NUMS = [1, 2, 3, 5, 8, 100, 255, 257, 65_535, 65_536, 65_537, 10**6, 2**32 + 1, 10**12, 2**62, MAX_SAMPLES]


def windows_of(num_samples: int, first: int = 0, **kwargs: Any) -> Windows:
    return Windows(TokenStore.from_ids(np.arange(first, first + num_samples * 4 + 1), eos_id=0), 4, **kwargs)


def order_v1() -> dict[str, Any]:
    places = {num: np.array(sorted({(num - 1) * i // 11 for i in range(12)}), dtype=np.int64) for num in NUMS}
    return {
        "keyed_integers": [str(value) for value in keyed_integers(3, "a", 1, "b")],
        "permutation": {n: [p.tolist(), Permutation(n, "golden", 7).forward(p, 3).tolist()] for n, p in places.items()},
        "members": {
            f"{num} {seed} {name!r} {block}": [
                array.tolist()
                for array in MemberOrder(num, seed=seed, name=name, shuffle_block=block).at(np.arange(11) * 7)
            ]
            for num in (1, 10, 100, 70_000)
            for seed in (0, -1, 2**70)
            for name in ("", "web")
            for block in (None, 3)
        },
        "phase": windows_of(100, phase="epoch").layout.offsets(np.arange(20), key=(5, "web")).tolist(),
    }


def mixture() -> Mixture:
    members = {"web": (windows_of(100), 0.7), "code": (windows_of(30, first=1000), 0.2), "books": (windows_of(7), 0.1)}
    return Mixture(members, stages={2 * 65_536: {"web": 1, "code": 1, "books": 0}})


def mixture_v1() -> dict[str, Any]:
    loader = Loader(mixture(), 8, seed=3, epochs=None)
    steps = [0, 1, 8191, 8192, 16_383, 16_384, 100_000, 10**9]
    return {"recipe": json.loads(loader.recipe), "steps": {step: loader.lookup(step) for step in steps}}


def state_v1() -> dict[str, Any]:
    first = Loader(windows_of(50), 4, seed=9)
    for _ in zip(range(5), first, strict=False):
        pass
    second = Loader(windows_of(50), 3, seed=9, drop_last=False, dp_rank=1, dp_world_size=2)
    second.load_state_dict(first.state_dict())
    second.skip(5)
    second.exclude(windows=[3, 1])
    return {"state": second.state_dict(), "next": second[second.step].inputs.tolist(), "step": second.step}


def pack_v1() -> dict[str, Any]:
    lengths = [1 + keyed % 700 % (keyed % 97 + 1) for keyed in map(int, keyed_integers(400, "lengths"))]
    store = TokenStore.from_ids(np.arange(sum(lengths)), eos_id=0, document_ends=np.cumsum(lengths))
    chosen: list[tuple[int, Policy]] = [(64, "pack"), (7, "pack"), (64, "pad"), (64, "bos")]
    layouts = {f"{policy} {length}": Windows(store, length, policy=policy).layout for length, policy in chosen}
    pieces = {name: layout for name, layout in layouts.items() if isinstance(layout, Pieces)}
    return {name: {field: array.tolist() for field, array in one._asdict().items()} for name, one in pieces.items()}


def documents_v1() -> dict[str, Any]:
    """Documents with other neighbours in every epoch: rows at the edge of a group of documents, and packed ones."""
    lengths = [1 + keyed % 5 for keyed in map(int, keyed_integers(2**20 + 50, "many documents"))]
    many = TokenStore.from_ids(np.arange(sum(lengths)), eos_id=0, document_ends=np.cumsum(lengths))
    few = TokenStore.from_ids(np.arange(900), eos_id=0, document_ends=[*range(1, 40), *range(45, 900, 9), 900])
    layouts = {
        "concat": Windows(few, 16, 9, documents="epoch"),
        "many": Windows(many, 256, documents="epoch"),
        "pack": Windows(few, 32, policy="pack", documents="epoch"),
    }
    ids = {name: np.linspace(0, len(windows) - 1, 4).astype(np.int64) for name, windows in layouts.items()}
    return {
        name: [windows.gather(ids[name], epoch, key=(5, "web")).astype(int).tolist() for epoch in (0, 3)]
        for name, windows in layouts.items()
    }


def store_v2() -> dict[str, Any]:
    """A store of format 2, with counts and columns: its manifest and the bytes of its files."""
    rows = [
        {"parts": [["What is hay?", 0], [" Dry grass.", 1]], "score": 0.5, "lang": "en", "good": True},
        {"parts": [["Was ist Heu?", 0]], "score": 2, "good": False},
        {"parts": [["", 0], ["foin \u00e9t\u00e9", 1]], "lang": "fr", "good": False},
    ]
    with TemporaryDirectory() as folder:
        keep = ["score", "lang", "good"]
        prepare(iter(rows), folder, tokenizer="bytes", parts_key="parts", keep=keep, workers=1)
        made = {path.name: path.read_bytes() for path in (Path(folder) / "train").iterdir()}
    return {
        "manifest": json.loads(made["manifest.json"]),  # it has the sums of the others
        "tokens": made["tokens-00000.bin"].hex(),
        "counts": made["counts-00000.bin"].hex(),
    }


def sha256_u16(ids: Any) -> str:
    return sha256(np.array(ids, dtype="<u2").tobytes()).hexdigest()


def story_v1() -> dict[str, Any]:
    """Our own text by tiktoken and the plain textbook loop, and nothing of this library but GPT-2's ranks."""
    ids = reference().encode_ordinary(STORY)
    cut = int(len(ids) * 0.9)
    windows = []
    for max_length, stride in [(4, 1), (4, 4), (256, 128), (256, 256), (1024, 1024), (256, 64), (7, 3), (3, 7)]:
        starts = range(0, len(ids) - max_length, stride)
        windows.append(
            {
                "max_length": max_length,
                "stride": stride,
                "num_windows": len(starts),
                "inputs_sha256_u16": sha256_u16([ids[start : start + max_length] for start in starts]),
                "targets_sha256_u16": sha256_u16([ids[start + 1 : start + max_length + 1] for start in starts]),
            }
        )
    return {
        "text_sha256": sha256(STORY.encode()).hexdigest(),
        "num_tokens": len(ids),
        "ids_sha256_u16": sha256_u16(ids),
        "windows": windows,
        "split_0.9": {"train_tokens": cut, "valid_tokens": len(ids) - cut},
    }


CASES = {
    "order_v1": order_v1,
    "mixture_v1": mixture_v1,
    "state_v1": state_v1,
    "pack_v1": pack_v1,
    "documents_v1": documents_v1,
    "store_v2": store_v2,
    "story_v1": story_v1,
}


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_version_1_has_changed(name: str) -> None:
    assert as_json(CASES[name]()) == json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_a_state_saved_once_still_loads() -> None:
    saved = json.loads((FOLDER / "state_v1.json").read_text(encoding="utf-8"))
    loader = Loader(windows_of(50), 3, seed=9, drop_last=False, dp_rank=1, dp_world_size=2)
    loader.load_state_dict(saved["state"])
    assert loader.step == saved["step"]
    assert next(iter(loader)).inputs.tolist() == saved["next"]


@pytest.mark.filterwarnings("ignore:stride:UserWarning")  # one of the cases has gaps
def test_ids_and_windows_of_the_story_are_those_of_the_plain_loop() -> None:
    golden = json.loads((FOLDER / "story_v1.json").read_text(encoding="utf-8"))
    ids = load_tokenizer("gpt2").encode(STORY)
    assert sha256_u16(ids) == golden["ids_sha256_u16"]
    store = TokenStore.from_ids(ids)
    for case in golden["windows"]:
        windows = Windows(store, case["max_length"], case["stride"])
        rows = windows.gather(np.arange(windows.num_samples))
        assert windows.num_samples == case["num_windows"]
        assert sha256_u16(rows[:, :-1]) == case["inputs_sha256_u16"]
        assert sha256_u16(rows[:, 1:]) == case["targets_sha256_u16"]
    assert [part.num_tokens for part in store.split(0.1)] == list(golden["split_0.9"].values())


if __name__ == "__main__":
    for case in sys.argv[1:]:
        with open(FOLDER / f"{case}.json", "x", encoding="utf-8") as file:
            file.write(json.dumps(CASES[case](), indent=None) + "\n")
