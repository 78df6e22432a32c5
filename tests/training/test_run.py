"""A run on disk: one of version 1 opens as it was written, and any run file can be trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from windrow import Mixture, Windows, open_store, prepare
from windrow.errors import NotEnoughTokensError, ResumeError
from windrow.training.run import Settings, open_run, run_of_file, start_run

ROWS = [{"text": f"row {n} speaks of hay and of rain. " * (n % 5 + 1)} for n in range(40)]
FINGERPRINTS = {
    "train": "b47d664a17ddc0635a869b6d133b8736ecaa47e1be394d7879b369f203bcb6c3",
    "valid": "da5aa5ee2cc615cb8d6a491ee641bb5348bfebc72594c57090085c5bc723f3ac",
}
RECIPE = {
    "members": {"": {"max_length": 16, "phase": 0, "policy": "concat", "stride": 8, "tail": "drop"}},
    "mixture": None,
    "order": 1,
    "seed": 0,
    "shuffle": True,
    "shuffle_block": None,
}
SETTINGS: dict[str, Any] = {
    "batch_size": 2,
    "checkpoint_every": 200,
    "documents": "store",
    "epochs": 1.0,
    "eval_batches": 16,
    "eval_every": 50,
    "lr": 0.001,
    "max_length": 16,
    "num_heads": 4,
    "num_layers": 2,
    "seed": 0,
    "steps": 9,
    "stride": 8,
    "width": 128,
}
STATE = {
    "data": json.dumps({"": {"fingerprint": FINGERPRINTS["train"], "num_tokens": 3067}}, separators=(",", ":")),
    "excluded": "[]",
    "position": 12,
    "recipe": json.dumps(RECIPE, separators=(",", ":")),
    "segments": '[[0, 0, 2, 1, "straddle"], [4, 2, 2, 2, "straddle"]]',
    "version": 1,
}
VERSION_1 = {
    "format": "windrow-run",
    "recipe": RECIPE,
    "settings": SETTINGS,
    "sizes": {"batch_size": 2, "dp_world_size": 2},
    "state": STATE,
    "stores": {
        side: {
            "fingerprint": fingerprint,
            "num_tokens": 3067 if side == "train" else 1023,
            "path": "../corpus/train",
            "side": side,
            "valid_fraction": 0.25,
        }
        for side, fingerprint in FINGERPRINTS.items()
    },
    "version": 1,
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    prepare(iter(ROWS), tmp_path / "corpus", tokenizer="bytes", workers=1)
    (tmp_path / "run").mkdir()
    return tmp_path / "corpus"


def test_a_run_of_version_1_is_what_it_was(corpus: Path) -> None:
    folder = corpus.parent / "run"
    (folder / "run.json").write_text(json.dumps(VERSION_1))
    run = open_run(folder)
    assert run.settings == Settings(**SETTINGS)
    loader = run.loader(dp_rank=0)
    assert json.loads(loader.recipe) == RECIPE
    assert (run.state, loader.dp_world_size, loader.sizes.tail) == (STATE, 2, "straddle")
    valid = run.valid_loader()
    assert valid is not None
    assert [loader.members[""].fingerprint, valid.members[""].fingerprint] == [*FINGERPRINTS.values()]
    loader.load_state_dict(STATE)
    assert loader.step == 4


def test_a_run_of_version_1_goes_on_as_version_2(corpus: Path) -> None:
    folder = corpus.parent / "run"
    (folder / "run.json").write_text(json.dumps(VERSION_1))
    run = open_run(folder)
    loader = run.loader(dp_rank=0)
    loader.load_state_dict(STATE)
    saved = run.save(loader)
    content = json.loads((folder / "run.json").read_text())
    assert (content["version"], content["store"]) == (2, {**content, "store": "../corpus/train"}["store"])
    assert (saved.settings, saved.state, saved.file.dp_world_size) == (run.settings, loader.state_dict(), 2)
    assert saved.loader(dp_rank=0).recipe == loader.recipe
    assert {name: store.fingerprint for name, store in saved.valid.items()} == {"": FINGERPRINTS["valid"]}


@pytest.mark.parametrize("key", ["stores", "settings", "state", "sizes"])
def test_a_run_of_version_1_without_a_part_is_none(corpus: Path, key: str) -> None:
    (corpus.parent / "run/run.json").write_text(json.dumps({k: v for k, v in VERSION_1.items() if k != key}))
    with pytest.raises(ResumeError, match=key):
        open_run(corpus.parent / "run")


MIXTURE = """
max_length = 16
batch_size = 2
mask_targets = "document_edges"
dtype = "int32"
outputs = ["document_ids"]

[members.rows]
store = {store = "corpus/train", split = 0.25, side = "train"}
policy = "pack"
[members.again]
store = "corpus/train"
weight = 3

[training]
steps = 5
width = 16

[training.valid]
rows = {store = "corpus/train", split = 0.25, side = "valid"}
again = "corpus/train"
"""


def test_a_run_file_is_trained_with_the_settings_in_it_and_those_given(corpus: Path) -> None:
    file = corpus.parent / "mixture.toml"
    file.write_text(MIXTURE)
    given = {"width": 8, "num_heads": 1}
    run = start_run(corpus.parent / "out", lambda folder: run_of_file(file, folder, given))
    expected = {"steps": 5, "width": 8, "num_heads": 1, "batch_size": 2, "policy": "pack", "max_length": 16}
    assert {name: getattr(run.settings, name) for name in expected} == expected
    loader, whole = run.loader(), open_store(corpus / "train")
    assert isinstance(loader.samples.order, type(Mixture({"": (Windows(whole, 16), 1)}).order(seed=0)))
    assert (loader.mask_targets, loader.sizes.tail, loader[0].outputs) == ("document_edges", "straddle", None)
    assert loader[0].inputs.dtype == "int64"
    assert {name: store.num_tokens for name, store in run.valid.items()} == {
        "rows": whole.split(0.25)[1].num_tokens,
        "again": whole.num_tokens,
    }
    valid = run.valid_loader()
    assert valid is not None
    assert {name: row["share"] for name, row in valid.shares(65_536).items()} == {"again": 0.5, "rows": 0.5}
    assert run.vocab_size == 257


def test_a_store_that_is_too_short_names_no_flags_where_a_file_says_the_sizes(corpus: Path) -> None:
    file = corpus.parent / "mixture.toml"
    file.write_text(MIXTURE.replace("max_length = 16", "max_length = 100_000"))
    with pytest.raises(NotEnoughTokensError, match=r"Use max_length <= \d+"):
        start_run(corpus.parent / "out", lambda folder: run_of_file(file, folder, {}))
    assert not (corpus.parent / "out").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lr = 2020-01-01", "lr is datetime.date(2020, 1, 1), and it must be a number"),
        ("epochs = 'two'", "epochs is 'two', and it must be a number"),
        ("vocabulary = 'texts'", "vocabulary is 'texts', and it must be 'tokenizer' or 'text'"),
    ],
)
def test_a_setting_of_a_file_that_is_wrong_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "run.toml").write_text(f"store = 'corpus'\nmax_length = 16\nbatch_size = 2\n[training]\n{line}\n")
    with pytest.raises(ResumeError) as error:
        open_run(tmp_path / "run.toml")
    assert said in str(error.value)
