"""transformers' Trainer over a StreamDataset: stops and resumes, evaluation, what the model learns, each refusal."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from huggingface_ranks import SHOWN, arguments, digests, evaluate, stop_and_resume, tiny_model, train, whole_loader
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, Trainer

from trainer_helpers import LENGTH, VOCAB_SIZE, cases, run_ranks, stream_digests, toy_loader, toy_windows
from windrow import Loader, TokenStore, Windows, check_model
from windrow.errors import NotEnoughTokensError, ResumeError, WindrowError
from windrow.trainers.huggingface import StreamDataset

SCRIPT = Path(__file__).parent / "huggingface_ranks.py"
STOPS = {
    "stop": ["middle", "epoch's end", "second epoch"],
    "accumulation": [1, 4],
    "workers": [0, 2, "kept"],
    "ranks": [1, 2],
}


@pytest.mark.parametrize(list(STOPS), cases(**STOPS))
def test_a_stopped_and_resumed_run_is_the_uninterrupted_one_in_batches_and_weights(
    stop: str, accumulation: int, workers: Any, ranks: int, tmp_path: Path
) -> None:
    if ranks == 1:
        stop_and_resume(tmp_path, stop, accumulation, workers)
    else:
        rest = map(json.dumps, (stop, accumulation, workers))
        run_ranks(ranks, SCRIPT, "stop_and_resume", tmp_path, *rest)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_evaluation_scores_each_target_once_and_its_mean_is_over_targets(ranks: int, tmp_path: Path) -> None:
    if ranks == 1:
        evaluate(tmp_path)
    else:
        run_ranks(ranks, SCRIPT, "evaluate", tmp_path)


def test_a_model_learns_the_next_token_not_the_one_after_it_and_is_given_nothing_else(tmp_path: Path) -> None:
    ids = (np.arange(200 * LENGTH + 1) * 7 % VOCAB_SIZE).astype(np.uint16)
    loader = Loader(Windows(TokenStore.from_ids(ids, eos_id=0), LENGTH), 4, seed=1)
    data, model = StreamDataset(loader), tiny_model()
    SHOWN.clear()
    Trainer(model, arguments(tmp_path, max_steps=300), train_dataset=data, callbacks=[data]).train()
    assert {name for given in SHOWN for name in given} == {"input_ids", "labels", "num_items_in_batch"}
    row = torch.from_numpy(ids[None, : LENGTH + 1].astype(np.int64))
    predicted = model(input_ids=row).logits.argmax(-1)[:, :-1]
    assert (predicted == row[:, 1:]).float().mean() > 0.99


def test_the_loss_is_divided_by_the_targets_that_count_over_all_accumulated_batches(tmp_path: Path) -> None:
    ends = np.cumsum(np.random.default_rng(3).integers(2, 40, 60))
    store = TokenStore.from_ids(np.arange(ends[-1], dtype=np.uint16) % VOCAB_SIZE, document_ends=ends, eos_id=0)
    loader = Loader(Windows(store, LENGTH, policy="pad"), 4, seed=1)
    counts = [batch.num_targets for batch in Loader(Windows(store, LENGTH, policy="pad"), 4, seed=1)]
    shown, _ = train(tmp_path, loader=loader, num_train_epochs=1, gradient_accumulation_steps=3)
    sums = [sum(counts[first : first + 3]) for first in range(0, len(counts), 3)]
    assert len(set(counts)) > 3
    assert [int(one["num_items_in_batch"]) for one in shown] == [sums[step // 3] for step in range(len(counts))]


def test_a_short_last_batch_is_trained_on_where_the_loader_has_it(tmp_path: Path) -> None:
    kept = {"max_steps": 60, "dataloader_drop_last": False}
    shown, _ = train(tmp_path, loader=whole_loader(drop_last=False), **kept)
    assert digests(shown) == stream_digests(60, drop_last=False)
    train(tmp_path, stop=51, loader=whole_loader(drop_last=False), **kept)
    after, _ = train(tmp_path, resume=51, loader=whole_loader(drop_last=False), **kept)
    assert digests(after) == stream_digests(60, drop_last=False)[51:]


def test_what_was_excluded_stays_so_after_a_resume(tmp_path: Path) -> None:
    def loader(*windows: int) -> Loader:
        one = whole_loader()
        if windows:
            one.exclude(windows=windows)
        return one

    whole, _ = train(tmp_path, loader=loader(5, 7), max_steps=60)
    train(tmp_path, loader=loader(5, 7), max_steps=60, stop=10)
    after, _ = train(tmp_path, loader=loader(), max_steps=60, resume=10)
    assert digests(after) == digests(whole)[10:]
    assert digests(whole)[:50] != stream_digests(50)


def test_a_model_is_checked_as_its_trainer_would_use_it() -> None:
    sizes = {"vocab_size": VOCAB_SIZE, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    exact, short = (GPT2LMHeadModel(GPT2Config(n_positions=LENGTH + more, **sizes)) for more in (1, 0))
    check_model(exact, toy_loader())
    check_model(tiny_model(), toy_loader())
    with pytest.raises(WindrowError, match=r"holds 16 positions, and it would be given 17: .*max_length=15"):
        check_model(short, toy_loader())
    with pytest.raises(WindrowError, match=r"targets are shifted twice.*batch.as_hf\(\)"):
        check_model(exact, toy_loader(), lambda m, x, y: m(input_ids=x, labels=y).loss)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda: toy_loader(dp_rank=1, dp_world_size=2), "loader is rank 1 of 2, .*: give it dp_rank=0"),
        (lambda: [one := toy_loader(), one.skip(4)][0], r"has begun: .* resume by train\(resume_from_checkpoint=\)"),
        (lambda: toy_loader(device="meta"), "device is meta: give it device=None"),
        (lambda: toy_loader(outputs=("document_ids",)), "outputs do not go along"),
    ],
)
def test_a_loader_that_the_trainer_cannot_have_is_refused(loader: Any, message: str) -> None:
    with pytest.raises(WindrowError, match=message):
        StreamDataset(loader())


@pytest.mark.parametrize(
    ("loader", "given", "message"),
    [
        ({}, {"train_sampling_strategy": "random"}, r'give TrainingArguments\(train_sampling_strategy="sequential"\)'),
        ({}, {"per_device_train_batch_size": 8}, "takes 8 rows at a time, and the loader 4"),
        ({}, {"dataloader_drop_last": False}, r"last 3 samples fill no step of 4: .*dataloader_drop_last=True"),
        ({"drop_last": False}, {}, r"last 3 samples fill no step of 4: .*Loader\(..., epochs=1, drop_last=True"),
        ({"epochs": None}, {}, r"last 3 samples fill no step of 4: .*Loader\(..., epochs=1, drop_last=True"),
    ],
)
def test_arguments_that_would_give_other_batches_are_refused(
    loader: Any, given: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(WindrowError, match=message):
        train(tmp_path, loader=whole_loader(**loader), max_steps=3, **given)
    assert not SHOWN


def test_a_trainer_that_was_not_given_the_callback_is_refused(tmp_path: Path) -> None:
    data = StreamDataset(whole_loader())
    with pytest.raises(
        WindrowError, match=r"has not called it: give callbacks=\[data\]; to evaluate, Loader.evaluation"
    ):
        Trainer(tiny_model(), arguments(tmp_path, max_steps=3), train_dataset=data).train()


@pytest.mark.parametrize(
    ("loader", "given", "message"),
    [
        ({}, {"gradient_accumulation_steps": 4}, "'gradient_accumulation_steps': 1.*here is.*steps': 4"),
        ({"batch_size": 2}, {"per_device_train_batch_size": 2}, "'train_batch_size': 4.*here is.*size': 2"),
        ({"seed": 8}, {}, "another recipe(.|\n)*seed: saved 7, here 8"),
        ({}, {"ignore_data_skip": True}, "ignore_data_skip=True would begin the epoch again"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(loader: Any, given: Any, message: str, tmp_path: Path) -> None:
    train(tmp_path, stop=2, max_steps=9)
    with pytest.raises(WindrowError, match=message):
        train(tmp_path, resume=2, loader=whole_loader(**loader), max_steps=9, **given)
    assert not SHOWN


@pytest.mark.parametrize("damage", [None, 3, {}, {"sizes": 1}, {"loader": 1}, {"loader": {}}])
def test_a_checkpoint_without_our_state_or_with_a_damaged_one_is_refused(damage: Any, tmp_path: Path) -> None:
    train(tmp_path, stop=2, max_steps=9)
    path = tmp_path / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    ours = state["stateful_callbacks"]["windrow"]
    state["stateful_callbacks"]["windrow"] = {**ours, **damage} if damage and damage != 3 else damage
    path.write_text(json.dumps(state))
    with pytest.raises(ResumeError, match=r"callbacks=\[data\]|no loader state"):
        train(tmp_path, resume=2, max_steps=9)


def test_a_checkpoint_of_one_rank_is_refused_by_two(tmp_path: Path) -> None:
    train(tmp_path, stop=2, max_steps=9)
    with pytest.raises(AssertionError, match=r"'world_size': 1.*here is.*'world_size': 2"):
        run_ranks(2, SCRIPT, "resume", tmp_path)


def test_an_epoch_too_short_for_one_step_of_all_ranks_is_refused(tmp_path: Path) -> None:
    data = StreamDataset(Loader(toy_windows(0, 5), 4))
    args, state = arguments(tmp_path), type("State", (), {"global_step": 0, "stateful_callbacks": {}})()
    monkey = type("Two", (), {**{name: getattr(args, name) for name in dir(args) if name[:2] != "__"}, "world_size": 2})
    with pytest.raises(NotEnoughTokensError, match=r"batch_size 4 \* dp_world_size 2 = 8"):
        data.on_train_begin(monkey, state, None)


def test_batches_that_are_none_of_the_loaders_are_refused_one_by_one() -> None:
    data = StreamDataset(Loader.evaluation(toy_windows(0, 9), 4))
    assert len(data) == 12
    assert [len(data[row]["labels"]) for row in (0, -1)] == [LENGTH + 1] * 2
    assert not (data[11]["labels"] != -100).any()
    assert len([*data]) == 12
    for wrong in (DataLoader(data, batch_size=3), DataLoader(data, batch_size=4, sampler=[3, 2, 1, 0])):
        with pytest.raises(WindrowError, match=re.escape("are no batch of 4: give TrainingArguments(")):
            next(iter(wrong))
