"""The same flags mean the same recipe, the same stores and the same way out in every command that has them."""

import json
import re
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import windrow
from windrow.audit.plan import plan
from windrow.cli.main import app
from windrow.training.run import Settings, open_run, run_of_store, start_run

COMMANDS = ["plan", "check", "show", "when", "report", "bench", "train"]
TEXT = "".join(f"{n} hay makers turn {n * n} windrows before the rain of day {n % 7}.\n" for n in range(200))
CHOSEN = ["--max-length", 40, "--stride", 11, "--batch-size", 3, "--seed", 5, "--documents", "epoch"]
TINY_MODEL = ["--steps", 1, "--width", 8, "--num-heads", 1, "--num-layers", 1]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def prepared(text: str, *flags: object) -> Path:
    Path("story.txt").write_text(text, encoding="utf-8")
    assert invoke("prepare", "story.txt", "corpus", "--tokenizer", "bytes", *flags).exit_code == 0
    return Path("corpus")


@pytest.fixture
def corpus() -> Path:
    return prepared(TEXT, "--valid-fraction", 0.1, "--split", "tail")


def asked(command: str, *words: object) -> Result:
    """The command with what it needs to be quick: ``words`` are STORE or --run, and flags of the recipe."""
    own: dict[str, list[Any]] = {
        "when": ["--document", 0],
        "bench": ["--seconds", 0.1],
        "train": ["--out", "run", *TINY_MODEL],
    }
    return invoke(command, *words, *own.get(command, []))


def line(output: str, label: str) -> str:
    (found,) = re.findall(rf"^{label}: (.*)$", output, re.MULTILINE)
    return str(found)


# -- one recipe ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("flags", "recipe"),
    [
        ([], "concat, max_length 256, stride 128, batch_size 4, seed 0"),
        (["--max-length", 32], "concat, max_length 32, stride 16, batch_size 4, seed 0"),
        (["--max-length", 9, "--batch-size", 2, "--seed", 7], "concat, max_length 9, stride 4, batch_size 2, seed 7"),
        (["--stride", 64, "--seed", -1], "concat, max_length 256, stride 64, batch_size 4, seed -1"),
        (["--documents", "store"], "concat, max_length 256, stride 128, batch_size 4, seed 0"),
        (["--documents", "epoch"], "concat, max_length 256, stride 128, documents epoch, batch_size 4, seed 0"),
        (["--phase", "epoch"], "concat, max_length 256, stride 128, phase epoch, batch_size 4, seed 0"),
        (["--tail", "pad"], "concat, max_length 256, stride 128, tail pad, batch_size 4, seed 0"),
        (["--shuffle-block", 3], "concat, max_length 256, stride 128, batch_size 4, seed 0, shuffle_block 3"),
    ],
)
def test_the_same_flags_or_none_are_the_same_recipe(
    corpus: Path, command: str, flags: list[object], recipe: str
) -> None:
    done = asked(command, corpus, *flags)
    assert done.exit_code == 0, done.output
    assert line(done.stderr if command == "train" else done.stdout, "recipe") == recipe
    assert '{"members"' not in done.output


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_a_run_says_its_own_recipe_in_every_command(corpus: Path, command: str) -> None:
    flags = ["--max-length", 20, "--stride", 5, "--batch-size", 3, "--seed", 8, "--documents", "epoch"]
    assert asked("train", corpus, *flags).exit_code == 0
    done = asked(command, "--run", "run")
    assert done.exit_code == 0, done.output
    assert line(done.stdout, "recipe") == "concat, max_length 20, stride 5, documents epoch, batch_size 3, seed 8"


@pytest.mark.parametrize("flags", [[], CHOSEN])
def test_the_json_recipe_of_every_command_is_that_of_the_run(corpus: Path, flags: list[object]) -> None:
    assert asked("train", corpus, *flags).exit_code == 0
    expected = json.loads(Path("run", "run.json").read_text())["recipe"]
    for command in ("show", "when", "check"):
        assert json.loads(asked(command, corpus, *flags, "--json").stdout)["recipe"] == expected
        assert json.loads(asked(command, "--run", "run", "--json").stdout)["recipe"] == expected


def test_a_run_json_that_says_no_order_of_documents_is_a_run_in_that_of_the_store(corpus: Path) -> None:
    assert asked("train", corpus, "--max-length", 20).exit_code == 0
    file = Path("run", "run.json")
    content = json.loads(file.read_text())
    content.pop("documents", "store")
    file.write_text(json.dumps(content))
    assert open_run("run").settings.documents == "store"
    assert invoke("train", "--out", "run", "--resume", "--steps", 2).exit_code == 0


def test_what_looks_at_a_run_of_several_ranks_shows_its_steps_before_and_after_their_number_changed(
    corpus: Path,
) -> None:
    settings, ranks = Settings(max_length=16, batch_size=2, steps=9), {"dp_rank": 0, "dp_world_size": 3}
    build = lambda folder: run_of_store(corpus, folder, settings, valid_fraction=0.0)  # noqa: E731
    run = start_run(Path("run"), build, **ranks)
    before, after = run.loader(**ranks), run.loader(dp_rank=0, dp_world_size=2)
    assert len(list(islice(before, 4))) == 4
    after.load_state_dict(before.state_dict())
    run.save(after)
    stream = [sample.window for sample in run.loader().samples_at(0, 44)]
    for step, rank, num_ranks, first in ((0, 0, 3, 0), (3, 1, 3, 20), (4, 1, 2, 26), (8, 0, 2, 40)):
        done = [
            invoke("show", "--run", "run", "--step", step, "--dp-rank", rank, *as_json) for as_json in ([], ["--json"])
        ]
        assert f"dp_rank {rank} of {num_ranks}\n" in done[0].stdout
        assert [row["window"] for row in json.loads(done[1].stdout)["rows"]] == stream[first : first + 2]
    assert invoke("show", "--run", "run", "--step", 3, "--dp-rank", 2, "--dp-world-size", 3).exit_code == 0
    sightings = json.loads(invoke("when", "--run", "run", "--document", 0, "--json").stdout)["sightings"]
    assert [one["position"] for one in sightings[:44]] == list(range(44))
    expected = [(p // 6, p % 6 // 2) if p < 24 else (4 + (p - 24) // 4, p % 4 // 2) for p in range(44)]
    assert [(one["step"], one["dp_rank"]) for one in sightings[:44]] == expected
    assert invoke("check", "--run", "run").exit_code == 0
    assert "9 steps of 2 x 2 samples" in invoke("plan", "--run", "run").stdout


def made_by(python: str, store: Path) -> windrow.Loader:
    loader = eval(python, {"windrow": windrow, "store": windrow.open_store(store)})
    assert isinstance(loader, windrow.Loader)
    return loader


@pytest.mark.parametrize("flags", [[], CHOSEN])
def test_the_python_that_train_prints_makes_the_loader_of_the_run(corpus: Path, flags: list[object]) -> None:
    loader = made_by(line(asked("train", corpus, *flags).stderr, "in Python"), corpus / "train")
    saved = json.loads(Path("run", "run.json").read_text())
    assert json.loads(loader.recipe) == saved["recipe"]
    assert loader.batch_size == saved["batch_size"]
    assert line(asked("plan", "--run", "run").stdout, "in Python") == line(
        invoke("train", "--out", "run", "--resume").stderr, "in Python"
    )
    last = 2 * len(loader) + 1  # batches straddle epochs, as those of the run do
    rows = json.loads(invoke("show", "--run", "run", "--step", last, "--json").stdout)["rows"]
    assert [row["inputs"] for row in rows] == loader[last].inputs.tolist()


@pytest.mark.parametrize(
    "flags",
    [
        [],
        CHOSEN,
        ["--mask-targets", "document_edges", "--dp-world-size", 2],
        ["--policy", "pack", "--max-length", 64, "--batch-size", 1, "--documents", "epoch"],
        ["--tail", "pad", "--stride", 200, "--shuffle-block", 4],
        ["--phase", "epoch", "--documents", "epoch", "--max-length", 64],
        *(["--policy", policy, "--max-length", 64, "--batch-size", 1] for policy in ("concat", "pad", "pack", "bos")),
    ],
)
def test_the_python_that_plan_prints_makes_the_loader_of_the_plan(corpus: Path, flags: list[object]) -> None:
    done = asked("plan", corpus, *flags)
    assert done.exit_code == 0, done.output
    loader = made_by(line(done.stdout, "in Python"), corpus / "train")
    said = json.loads(asked("plan", corpus, *flags, "--json").stdout)["plan"]
    assert json.loads(json.dumps(plan(loader).to_json())) == said
    sizes = f"batch_size {loader.batch_size}, seed {loader.seed}"
    assert sizes in line(done.stdout, "recipe")


def test_plan_compares_policies_with_the_tail_and_phase_of_concat_alone(corpus: Path) -> None:
    for flags in (["--tail", "pad"], ["--phase", "epoch"]):
        plans = json.loads(asked("plan", corpus, "--max-length", 64, "--batch-size", 1, *flags, "--json").stdout)[
            "policies"
        ]
        assert all(isinstance(made, dict) for made in plans.values())
        done = asked("plan", corpus, "--policy", "pack", *flags)
        assert done.exit_code == 1
        assert "takes none of them" in done.output


def test_plan_suggests_other_sizes_and_plans_the_recipe_in_force(corpus: Path) -> None:
    shown = asked("plan", corpus).stdout
    assert shown.index("recipe: concat, max_length 256, stride 128, batch_size 4, seed 0") < shown.index("suggested: ")
    assert asked("plan", corpus, "--max-length", 8, "--stride", 8, "--batch-size", 1).stdout.count("suggested: ") == 0


def test_plan_of_a_run_takes_its_length_unless_told_otherwise(corpus: Path) -> None:
    assert asked("train", corpus).exit_code == 0
    for flags, num_steps in ([], 1), (["--steps", 5], 5), (["--epochs", 2], None):
        said = json.loads(invoke("plan", "--run", "run", "--json", *flags).stdout)["plan"]
        assert said["num_steps"] == (num_steps or 2 * said["steps_per_epoch"])


# -- the stores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [["--valid-fraction", 0.1], ["--valid-fraction", 0.1, "--split", "tail"], []])
def test_check_of_a_run_certifies_its_train_and_its_valid_part(split: list[object]) -> None:
    """Also where the run cut one store in two, in the middle of a document and of a character."""
    Path("texts").mkdir()
    for number in range(30):
        Path("texts", f"{number}.txt").write_text(f"Windrów {number} – {'heu ' * number}\n" * 5, encoding="utf-8")
    assert invoke("prepare", "texts", "corpus", "--tokenizer", "bytes", *split).exit_code == 0
    assert asked("train", "corpus").exit_code == 0
    done = asked("check", "--run", "run", "--verbose")
    assert done.exit_code == 0, done.output
    run = open_run("run")
    for name, part in (("train", run.train), ("valid", run.valid[""])):
        assert f"{name} of the run: {part.path}, {part.num_tokens:,} tokens" in done.stdout
    assert re.search(r"none of \d+ documents? of valid is among \d+ of train", done.stdout)
    said = json.loads(asked("check", "--run", "run", "--json").stdout)
    assert (said["num_tokens"], said["fingerprint"]) == (run.train.num_tokens, run.train.fingerprint)


def test_check_of_a_run_finds_a_fault_in_its_valid_part(corpus: Path) -> None:
    assert asked("train", corpus).exit_code == 0
    tokens = corpus / "valid" / "tokens-00000.bin"
    tokens.write_bytes(b"\1\0" + tokens.read_bytes()[2:])
    done = asked("check", "--run", "run")
    assert done.exit_code == 1
    assert "valid/tokens-00000.bin has sha256" in done.stdout


def test_what_looks_at_training_only_needs_no_valid_part(corpus: Path) -> None:
    assert asked("train", corpus).exit_code == 0
    shutil.rmtree(corpus / "valid")
    assert asked("show", "--run", "run").exit_code == 0
    assert asked("check", "--run", "run").exit_code == 1


@pytest.mark.parametrize("command", ["plan", "show", "when", "report", "bench"])
@pytest.mark.parametrize("store", ["story.txt", "nowhere"])
def test_what_is_no_store_is_answered_with_how_to_make_one(corpus: Path, command: str, store: str) -> None:
    done = asked(command, store)
    assert done.exit_code == 1
    assert f"there is no store at {store}" in done.stderr
    assert "windrow prepare" in done.stderr


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "train"])
def test_a_run_takes_no_recipe_beside_it(command: str) -> None:
    done = asked(command, "--run", "run", "--max-length", 4)
    assert done.exit_code == 2
    assert "--max-length: --run PATH says that already" in done.stderr


# -- too short a store ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("num_letters", "flags"),
    [(3, "--max-length 2 --batch-size 1"), (9, "--max-length 2"), (60, "--max-length 16"), (255, "--max-length 64")],
)
def test_too_short_a_store_names_the_flags_that_fit_and_they_work(command: str, num_letters: int, flags: str) -> None:
    store, whole = prepared(("hay and rain " * 20)[:num_letters]), ["--valid-fraction", 0] * (command == "train")
    done = asked(command, store, *whole)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the store has {num_letters + 1} tokens, and a step of --max-length 256, --stride 128, "
        f"--batch-size 4 takes 641. Use {flags}, or add text.\n"
    )
    again = asked(command, store, *whole, *flags.split())
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("command", ["plan", "show", "when", "report"])
def test_a_store_too_short_for_a_step_of_all_ranks_names_flags_too(command: str) -> None:
    store = prepared("hay " * 10)
    for flags in (["--max-length", 16, "--dp-world-size", 4], ["--dp-world-size", 50], ["--stride", 20]):
        done = asked(command, store, *flags)
        assert done.exit_code == 1
        (fitting,) = re.findall(
            r"^error: the store has 41 tokens, .* Use (.*), or add text\.$", done.stderr, re.MULTILINE
        )
        assert "warning" not in done.stderr
        again = asked(command, store, *flags, *fitting.split())
        assert again.exit_code == 0, again.output


def test_a_policy_whose_rows_are_too_few_names_the_flag_that_fits() -> None:
    store = prepared("hay " * 10)
    assert "On the command line: --batch-size 1." in asked("plan", store, "--policy", "bos").stderr
    assert asked("plan", store, "--policy", "bos", "--batch-size", 1).exit_code == 0
