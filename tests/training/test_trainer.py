"""Training: stopping and going on changes nothing, and a run refuses what is not its own."""

import io
import json
import math
import signal
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from full_disk import files_no_larger_than
from windrow import Batch, Loader, Mixture, TokenStore, Windows, open_store
from windrow.errors import NotEnoughTokensError, PrepareError, ResumeError
from windrow.tokens.tokenizer import TextTokenizer
from windrow.training.checkpoint import CHECKPOINT
from windrow.training.run import Run, Settings, check_text, open_run, run_of_store, run_of_text, start_run
from windrow.training.train_page import write_train_page
from windrow.training.trainer import CURVE, LOG, Trainer, stop_asked, train

TEXT = "".join(f"{n} hay makers turn {n * n} windrows before the rain of day {n % 7}.\n" for n in range(120))
SMALL = Settings(max_length=16, batch_size=2, width=16, num_heads=2, num_layers=1, steps=12, eval_every=4)


def make_run(folder: Path, settings: Settings = SMALL, text: str = TEXT, valid_fraction: float = 0.1) -> Run:
    file = folder.with_suffix(".txt")
    file.write_text(text, encoding="utf-8")
    build: Callable[[Path], Run] = lambda temporary: run_of_text(  # noqa: E731
        file, temporary, settings, valid_fraction=valid_fraction, tokenizer="bytes"
    )
    return start_run(folder, build)


def go(trainer: Trainer, until: int = 10**9) -> bool:
    return train(trainer, on_step=lambda row: None, should_stop=lambda: trainer.step >= until)


def losses(trainer: Trainer) -> list[tuple[float, float, float | None]]:
    return [(row["step"], row["loss"], row.get("valid_loss")) for row in trainer.log]


def same_weights(one: Trainer, other: Trainer) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("stops", [(1,), (4,), (11,), (3, 5), (6, 6, 7)])
def test_a_run_stopped_and_resumed_equals_one_that_never_stopped_bit_for_bit(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    whole = Trainer(make_run(tmp_path / "whole"))
    assert go(whole)
    trainer = Trainer(make_run(tmp_path / "cut"))
    for stop in stops:
        assert not go(trainer, until=stop)
        torch.manual_seed(999)  # another process has another random state
        trainer = Trainer(open_run(tmp_path / "cut"))
        trainer.restore()
        assert trainer.step == stop
    assert go(trainer)
    assert losses(trainer) == losses(whole)
    assert same_weights(trainer, whole)
    assert trainer.loader.state_dict()["position"] == whole.loader.state_dict()["position"]


def test_after_a_crash_training_goes_on_from_the_last_checkpoint_and_the_log_has_each_step_once(tmp_path: Path) -> None:
    whole = Trainer(make_run(tmp_path / "whole"))
    go(whole)
    run = make_run(tmp_path / "cut")
    trainer = Trainer(run)
    go(trainer, until=5)
    with open(run.folder / LOG, "a", encoding="utf-8") as log:  # three steps whose checkpoint was never written
        log.writelines(json.dumps({"step": step, "loss": 0.0}) + "\n" for step in (5, 6, 7))
    (run.folder / (CHECKPOINT + ".tmp")).write_bytes(b"half of one")
    trainer = Trainer(open_run(run.folder))
    trainer.restore()
    go(trainer)
    rows = [json.loads(line) for line in (run.folder / LOG).read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(row["step"], row["loss"]) for row in whole.log]


def test_training_learns_and_leaves_checkpoint_log_curve_and_recipe(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run", Settings(**{**vars(SMALL), "steps": 60, "lr": 1e-2})))
    go(trainer)
    assert trainer.log[-1]["loss"] < trainer.log[0]["loss"] - 1
    assert trainer.log[-1]["valid_loss"] < trainer.log[0]["valid_loss"] - 1
    assert [row["step"] for row in trainer.log if "valid_loss" in row] == [0, *range(3, 60, 4)]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        [CHECKPOINT, CURVE, LOG, "data", "run.json", "train.html"]
    )
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["recipe"] == json.loads(trainer.loader.recipe)
    assert content["store"] == "data/train"
    assert content["training"]["valid"]["store"] == "data/valid"
    assert (content["batch_size"], content["dp_world_size"]) == (2, 1)


def test_step_n_of_the_log_is_the_batch_that_the_loader_gives_at_step_n(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    seen: dict[int, Batch] = {}
    trainer.on_batch = lambda step, batch: seen.update({step: batch})
    go(trainer)
    again = open_run(tmp_path / "run").loader("cpu")
    assert sorted(seen) == [row["step"] for row in trainer.log]
    assert all(torch.equal(seen[step].inputs, again[step].inputs) for step in seen)


def test_the_loss_is_the_sum_over_counting_targets_divided_by_their_number_or_by_one(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    inputs, targets = trainer.loader[0]
    expected = torch.nn.functional.cross_entropy(trainer.model(inputs).flatten(0, 1), targets.flatten()).item()
    assert trainer._update(Batch(inputs, targets, targets.numel()), targets.numel(), 0.0) == pytest.approx(
        expected, rel=1e-5
    )
    assert trainer._update(Batch(inputs, torch.full_like(targets, -100), 0), 0, 0.0) == 0.0


def test_the_valid_loss_is_the_mean_over_every_valid_target(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run", Settings(**{**vars(SMALL), "eval_batches": 10**6})))
    assert trainer.run.valid is not None
    tokens = torch.tensor(trainer.run.valid[""].tokens().astype("int64"))
    total = 0.0
    for start in range(0, len(tokens) - 1, 16):
        window = tokens[start : start + 17][None]
        total += trainer.model.loss_sum(window[:, :-1], window[:, 1:]).item()
    num_bytes = int((tokens[1:] != 256).sum())
    expected = {"valid_loss": total / (len(tokens) - 1), "valid_bits_per_byte": total / math.log(2) / num_bytes}
    assert trainer.evaluate() == pytest.approx(expected, rel=1e-5)


def test_an_evaluation_of_a_mixture_is_that_of_each_of_its_members(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run", Settings(**{**vars(SMALL), "eval_batches": 10**6})))
    texts = {"hay": TEXT[:500], "rye": "Rye 天" * 40}
    stores = {name: TokenStore.from_ids(list(text.encode()), tokenizer="bytes") for name, text in texts.items()}
    windows = {name: Windows(store, 16) for name, store in stores.items()}

    def measured(data: Mixture | Windows) -> dict[str, float]:
        trainer.valid = Loader.evaluation(data, 3, device="cpu", outputs=("member_ids", "num_bytes"))
        return trainer.evaluate()

    row = measured(Mixture({name: (one, 1.0) for name, one in windows.items()}))
    alone = {name: measured(one) for name, one in windows.items()}
    assert set(row) == {f"{kind}{name}" for kind in alone["hay"] for name in ("", "/hay", "/rye")}
    for kind in alone["hay"]:
        for name in windows:
            assert row[f"{kind}/{name}"] == pytest.approx(alone[name][kind], rel=1e-5)
    nats = [alone[name]["valid_loss"] * (store.num_tokens - 1) for name, store in stores.items()]
    assert row["valid_loss"] == pytest.approx(sum(nats) / sum(store.num_tokens - 1 for store in stores.values()))
    log = [{"step": 0, "loss": 5.0, "lr": 1.0, "tokens_per_second": 9.0, **row}]
    write_train_page(tmp_path, [*log, {**log[0], "valid_loss/<b>": 1.0}], 2, is_done=True)
    page = (tmp_path / "train.html").read_text(encoding="utf-8")
    assert f"Valid bits per byte of rye: {row['valid_bits_per_byte/rye']:.4f}" in page
    assert "Valid loss of &lt;b&gt;: 1.0000" in page
    assert "<b>" not in page


def test_a_tokenizer_that_is_gone_leaves_the_bits_per_byte_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(TextTokenizer, "token_bytes", None)
    assert list(Trainer(run).evaluate()) == ["valid_loss"]


def test_a_checkpoint_loads_with_weights_only_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    trainer = Trainer(run)
    go(trainer, until=2)
    path = run.folder / CHECKPOINT
    assert torch.load(path, weights_only=True)["step"] == 2
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ResumeError, match=r"checkpoint\.pt is no whole checkpoint"):
        Trainer(run).restore()


def test_a_run_without_a_checkpoint_begins_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    trainer = Trainer(run)
    trainer.restore()
    assert trainer.step == 0


@pytest.mark.parametrize("changed", [{"max_length": 8}, {"stride": 3}, {"seed": 1}])
def test_another_recipe_is_refused_with_both_values(tmp_path: Path, changed: dict[str, int]) -> None:
    run = make_run(tmp_path / "run")
    go(Trainer(run), until=2)
    other = run.changed(**changed)
    (name, value) = next(iter(changed.items()))
    with pytest.raises(ResumeError, match=rf"{name}: saved .*, here {value}"):
        Trainer(other).restore()


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_other_data_is_refused(tmp_path: Path, has_checkpoint: bool) -> None:
    run = make_run(tmp_path / "run")
    if has_checkpoint:
        go(Trainer(run), until=2)
    other = make_run(tmp_path / "other", text=TEXT.replace("rain", "hail"))
    with pytest.raises(ResumeError, match="fingerprint"):
        Trainer(replace(run, file=replace(other.file, training=run.file.training))).restore()
    with pytest.raises(ResumeError, match="sha256"):
        check_text(run, tmp_path / "other.txt")
    check_text(run, tmp_path / "run.txt")


def test_a_model_of_other_sizes_is_refused_with_both_values(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    go(Trainer(run), until=2)
    wider = run.changed(width=32)
    with pytest.raises(ResumeError, match="width: saved 16, here 32"):
        Trainer(wider).restore()


def test_another_batch_size_goes_on_with_the_next_unseen_window(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    go(Trainer(run), until=4)
    bigger = run.changed(batch_size=3)
    trainer = Trainer(bigger)
    trainer.restore()
    assert trainer.loader.position == 8
    assert trainer.step == trainer.loader.step == 4


@pytest.mark.parametrize(("batch_size", "num_ranks"), [(1, 1), (4, 1), (2, 3)])
def test_so_many_epochs_are_so_many_epochs_whatever_the_sizes_of_the_steps(
    tmp_path: Path, batch_size: int, num_ranks: int
) -> None:
    run = make_run(tmp_path / "run", Settings(**{**vars(SMALL), "steps": None, "epochs": 1.5}))
    loader, resized = run.loader(), run.changed(batch_size=batch_size)
    uninterrupted = run.num_steps(loader)
    deque(islice(loader, uninterrupted // 2), maxlen=0)
    assert run.num_steps(loader) == uninterrupted
    other = resized.loader(dp_rank=0, dp_world_size=num_ranks)
    other.load_state_dict(loader.state_dict())
    end = other.position + (resized.num_steps(other) - other.step) * batch_size * num_ranks
    assert abs(end - 2 * uninterrupted) <= 1.5 * (2 + batch_size * num_ranks)  # an epoch is whole steps
    other.skip(loader.epoch_samples * 2)
    assert resized.num_steps(other) == other.step


def test_a_run_over_one_store_is_cut_and_its_parts_share_no_token(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", valid_fraction=0.0)
    store = first.train.path
    run = start_run(tmp_path / "run", lambda folder: run_of_store(store, folder, SMALL, valid_fraction=0.25))
    whole, train_part, valid_part = open_store(store), run.train, run.valid[""]
    assert train_part.num_tokens + valid_part.num_tokens == whole.num_tokens
    assert valid_part.num_tokens == pytest.approx(whole.num_tokens / 4, abs=1)
    trainer = Trainer(run)
    go(trainer, until=3)
    Trainer(open_run(tmp_path / "run")).restore()


def test_a_folder_in_use_is_never_written_over(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(PrepareError, match="holds a run already"):
        make_run(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(PrepareError, match="not empty"):
        make_run(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["diary.txt"]


def test_a_text_too_short_leaves_nothing_behind_and_says_which_max_length_fits(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughTokensError, match="Use --max-length 4"):
        make_run(tmp_path / "run", text="ten bytes")
    assert [path.name for path in tmp_path.iterdir()] == ["run.txt"]


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    nan = lambda inputs, targets: torch.tensor(float("nan"), requires_grad=True)  # noqa: E731
    monkeypatch.setattr(trainer.model, "loss_sum", nan)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(ValueError, match="diverged"):
        trainer.take_step()
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_the_learning_rate_rises_then_falls_to_a_tenth(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run", Settings(**{**vars(SMALL), "steps": 100})))
    rates = [trainer.learning_rate(step) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == pytest.approx(SMALL.lr)
    assert rates[-1] == pytest.approx(SMALL.lr / 10, rel=0.02)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    trainer = Trainer(run)
    go(trainer, until=2)
    trainer.take_step()
    with files_no_larger_than(10_000), pytest.raises(OSError, match=r"and 1\d\d,\d\d\d bytes are needed") as caught:
        trainer.save()
    assert caught.value.filename == str(run.folder / CHECKPOINT)
    assert torch.load(run.folder / CHECKPOINT, weights_only=True)["step"] == 2
    assert not list(run.folder.glob("*.tmp"))


def test_a_log_without_room_stops_training_and_loses_no_line_before(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    log = trainer.run.folder / LOG
    with ExitStack() as full:

        def on_step(row: dict[str, float]) -> None:
            if row["step"] == 2:
                full.enter_context(files_no_larger_than(log.stat().st_size + 10))

        with pytest.raises(OSError, match=r"and 1\d\d bytes are needed") as caught:
            train(trainer, on_step=on_step, should_stop=lambda: False)
    assert caught.value.filename == str(log)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [0, 1, 2]


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------------------------


def stopped_by(trainer: Trainer, *signals: signal.Signals) -> tuple[bool, list[str]]:
    """Train with each of ``signals`` coming in the third step; whether it got to the end, and what was said."""
    said: list[str] = []

    def in_the_third_step(step: int, batch: Batch) -> None:
        for number in signals if step == 2 else ():
            signal.raise_signal(number)

    trainer.on_batch = in_the_third_step
    with stop_asked(trainer, said.append) as should_stop:
        return train(trainer, on_step=lambda row: None, should_stop=should_stop), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_at_once_and_ends_training_after_its_step(tmp_path: Path, number: signal.Signals) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    assert stopped_by(trainer, number) == (False, ["finishing step 3; again to stop now"])
    assert torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["step"] == 3
    page = (tmp_path / "run" / "train.html").read_text()
    assert "<p>stopped</p>" in page
    assert 'http-equiv="refresh"' not in page


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_within_the_step_and_the_page_says_so(tmp_path: Path, first: signal.Signals) -> None:
    run = make_run(tmp_path / "run")
    go(Trainer(run), until=1)
    trainer = Trainer(open_run(run.folder))
    trainer.restore()
    with pytest.raises(KeyboardInterrupt):
        stopped_by(trainer, first, signal.SIGINT)
    assert trainer.step == 2
    assert torch.load(run.folder / CHECKPOINT, weights_only=True)["step"] == 1
    assert "<p>stopped</p>" in (run.folder / "train.html").read_text()
    assert not list(run.folder.glob("*.tmp"))


def test_handlers_of_signals_are_given_back(tmp_path: Path) -> None:
    trainer, before = Trainer(make_run(tmp_path / "run")), signal.getsignal(signal.SIGTERM)
    with stop_asked(trainer, print):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_ctrl_c_that_meets_the_writing_of_a_checkpoint_is_a_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))
    go(trainer, until=1)
    save = torch.save

    class Interrupted(io.BytesIO):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        trainer.save()
    assert torch.load(trainer.run.folder / CHECKPOINT, weights_only=True)["step"] == 1


def test_the_page_of_a_run_that_fails_says_stopped(tmp_path: Path) -> None:
    trainer = Trainer(make_run(tmp_path / "run"))

    def fail(row: dict[str, float]) -> None:
        raise ValueError("the loss is no number")

    with pytest.raises(ValueError, match="no number"):
        train(trainer, on_step=fail, should_stop=lambda: False)
    assert "<p>stopped</p>" in (tmp_path / "run" / "train.html").read_text()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"epochs": 0}, {"lr": 0}, {"eval_every": 0}, {"checkpoint_every": 0}])
def test_settings_that_make_no_sense_are_named(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "windrow-run", "version": 2}'])
def test_a_damaged_run_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ResumeError, match=r"run\.json"):
        open_run(tmp_path)
    with pytest.raises(ResumeError, match="there is no run"):
        open_run(tmp_path / "nowhere")
