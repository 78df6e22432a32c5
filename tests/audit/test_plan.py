"""The ledger: every figure against a count over all batches, and always in balance.

A thousand ledgers when WINDROW_EXHAUSTIVE is set (as in .ci/run).
"""

import io
import json
import os
import re
import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from conftest import shared_text
from corpora import EOS, corpora, counting, store_of
from windrow import Loader, Mixture, TokenStore, Windows, load_tokenizer, open_store, prepare
from windrow.audit.coverage import Coverage
from windrow.audit.plan import MemberPlan, plan
from windrow.audit.plan_page import print_plan
from windrow.audit.sizes import RunSizes, step_memory, suggest
from windrow.cli.main import app
from windrow.errors import WindrowError
from windrow.gpt import GPT, GPTConfig
from windrow.windows.windows import POLICIES, Policy

OTHER_POLICIES: Any = [(policy, None, None) for policy in ("pad", "pack", "bos")]
LEDGERS = 1000 if os.environ.get("WINDROW_EXHAUSTIVE") else 100
LENGTHS = [1, 3, 11, 2, 30, 5, 5, 1, 17, 8, 9, 4, 26, 2, 2]


def counted(loaders: list[Loader], num_steps: int, first: int, num_tokens: int) -> dict[str, Any]:
    """The same figures from all batches of all ranks; ids ``first`` ... ``first + num_tokens`` tell their places."""
    targets, inputs, rows, places = Counter[int](), set[int](), 0, 0
    for loader in loaders:
        for step in range(num_steps):
            batch = loader[step]
            hidden = loader_hides(loader, step)
            for row, (x, y) in enumerate(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)):
                if first <= x[0] < first + num_tokens:
                    rows, places = rows + 1, places + len(x)
                    targets.update(target for target in y if target != -100)
                    if not hidden[row]:
                        inputs |= set(x) - {EOS}
    return {
        "num_rows": rows,
        "trained": targets.total(),
        "times_target": dict(sorted(Counter(targets.values()).items())),
        "context_only": len(inputs - set(targets)),
        "dropped": num_tokens - len(inputs | set(targets)),
        "not_trained": places - targets.total(),
    }


def loader_hides(loader: Loader, step: int) -> list[bool]:
    samples = loader.lookup(step)
    hidden = []
    for s in samples:
        held = loader.members[s.member].documents(np.array([s.window]), s.epoch, key=(loader.seed, s.member))
        known = [e for e in loader.exclusions if e.position <= s.position and e.member == s.member]
        hidden.append(any(s.window in e.windows or {*held.flat} & {*e.documents} for e in known))
    return hidden + [False] * loader.batch_size


def as_counted(member: MemberPlan) -> dict[str, Any]:
    member.check()
    return {
        "num_rows": member.num_rows,
        "trained": member.trained,
        "times_target": {times: tokens for times, tokens in member.times_target.items() if times},
        "context_only": member.context_only,
        "dropped": sum(member.dropped.values()),
        "not_trained": sum(member.masked.values()) + member.padded,
    }


@st.composite
def recipes(draw: Any) -> tuple[Windows, dict[str, Any]]:
    store, lengths, max_length = draw(corpora())
    if draw(st.booleans()):
        store = counting(store, draw(st.lists(st.booleans(), min_size=sum(lengths), max_size=sum(lengths))))
    policy: Policy = draw(st.sampled_from(POLICIES))
    choices: dict[str, Any] = {"policy": policy}
    if policy == "concat":
        choices["stride"] = draw(st.integers(1, max_length + 3))
        choices |= draw(st.sampled_from([{}, {"tail": "pad"}, {"phase": "epoch"}]))
        if sum(lengths) < max_length + choices["stride"] + 1:
            choices = {"tail": "pad"}
    if policy in ("concat", "pack"):
        choices["documents"] = draw(st.sampled_from(["store", "epoch"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        windows = Windows(store, max_length, **choices)
    options = {
        "seed": draw(st.integers(0, 9)),
        "shuffle": draw(st.booleans()),
        "mask_targets": draw(st.sampled_from([None, "document_edges"])),
        **draw(st.sampled_from([{"drop_last": True}, {"drop_last": False}, {"epochs": None}])),
    }
    return windows, options


@given(recipes(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.data())
@settings(max_examples=LEDGERS)
def test_ledger(recipe: Any, batch_size: int, world: int, epochs: int, data: Any) -> None:
    """It balances, and is what a count over all batches finds, for every policy, stride, tail, phase, size and mask."""
    windows, options = recipe
    if windows.num_samples < batch_size * world:
        options["drop_last"] = False
    loaders = [Loader(windows, batch_size, dp_rank=r, dp_world_size=world, **options) for r in range(world)]
    for _ in range(data.draw(st.integers(0, 2))):
        documents = data.draw(st.sets(st.integers(0, windows.store.num_documents - 1), max_size=2))
        ids = data.draw(st.sets(st.integers(0, windows.num_samples - 1), max_size=2))
        skipped = data.draw(st.integers(0, 5))
        for loader in loaders:
            loader._stream.position += skipped * batch_size * world  # exclude() takes effect from here
            loader.exclude(documents=documents, windows=ids)
    made = plan(loaders[0], epochs=epochs)
    (member,) = made.members.values()
    assert as_counted(member) == counted(loaders, made.num_steps, 0, windows.num_tokens)
    assert made.places == sum(loader[step].inputs.size for loader in loaders for step in range(made.num_steps))
    assert ("context by the data" in member.masked) == windows.store.has_counts


@given(recipes())
def test_the_targets_of_windows_are_those_that_the_plan_of_their_first_epoch_trains_on(recipe: Any) -> None:
    windows, options = recipe
    loader = Loader(windows, 1, **options)
    masks_edges = options["mask_targets"] is not None
    assert windows.num_targets(key=(loader.seed, ""), masks_edges=masks_edges) == plan(loader).trained


@given(recipes(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.data())
@settings(max_examples=60)
def test_a_plan_is_the_same_however_much_is_looked_at_at_a_time(
    recipe: Any, batch_size: int, epochs: int, at_a_time: int, data: Any
) -> None:
    windows, options = recipe
    if windows.num_samples < batch_size:
        options["drop_last"] = False
    loader = Loader(windows, batch_size, **options)
    loader.exclude(windows=data.draw(st.sets(st.integers(0, windows.num_samples - 1), max_size=2)))
    made = plan(loader, epochs=epochs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("windrow.audit.plan._WINDOWS_AT_A_TIME", at_a_time)
        patch.setattr("windrow.audit.plan._DOCUMENTS_AT_A_TIME", at_a_time)
        patch.setattr("windrow.audit.plan._SPANS_AT_A_TIME", data.draw(st.integers(1, 5)))
        assert plan(loader, epochs=epochs) == made


def test_a_plan_costs_no_more_for_more_windows_epochs_or_dropped_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, real = list[int](), Coverage.add
    monkeypatch.setattr(Coverage, "add", lambda one, at, *rest: looked_at.append(len(at)) or real(one, at, *rest))
    peaks, sums = [], []
    for num_windows in (1 << 17, 1 << 20):
        store = TokenStore.from_ids(np.zeros(num_windows * 8 + 1, np.uint16), eos_id=1)
        loader = Loader(Windows(store, 8), 4)
        looked_at.clear()
        tracemalloc.start()
        (member,) = plan(loader, epochs=10**9).members.values()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sums.append(sum(looked_at))
        assert member.times_target == {0: 1, 10**9: num_windows * 8}
    assert sums[0] == sums[1]
    assert peaks[1] < 1.1 * peaks[0] < 30e6


@pytest.mark.parametrize("policy", ["concat", "pad", "pack", "bos"])
def test_a_plan_of_more_documents_takes_two_bytes_for_each(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    monkeypatch.setattr("windrow.audit.plan._DOCUMENTS_AT_A_TIME", 1 << 12)
    monkeypatch.setattr("windrow.audit.plan._WINDOWS_AT_A_TIME", 1 << 12)
    peaks, sizes = [], (1 << 15, 1 << 17)
    for num in sizes:
        store = TokenStore.from_ids(np.zeros(num * 9, np.uint16), eos_id=1, document_ends=np.arange(1, num + 1) * 9)
        loader = Loader(Windows(store, 8, policy=policy), 4)
        tracemalloc.start()
        plan(loader)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    most = 16 if policy == "pack" else 4  # which pieces of a row come when is looked for among all
    assert peaks[1] - peaks[0] < most * (sizes[1] - sizes[0])


def test_the_command_line_makes_each_policys_plan_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[str]()

    def noted(loader: Loader, **until: Any) -> Any:
        made.extend(member.policy for member in loader.members.values())
        return plan(loader, **until)

    monkeypatch.setattr("windrow.audit.plan.plan", noted)
    monkeypatch.setattr("windrow.audit.sizes.plan", noted)
    prepare(iter(["a few words " * 40] * 9), tmp_path, tokenizer="bytes", workers=1)
    CliRunner().invoke(app, ["plan", str(tmp_path / "train"), "--policy", "pad"], catch_exceptions=False)
    assert sorted(made) == sorted(POLICIES)


def test_epochs_that_drop_others_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windrow.audit.plan._MOST_DROPPED", 30)
    loader = Loader(Windows(store_of(LENGTHS, 0), 4), 7)
    assert loader.num_dropped > 0
    made = plan(loader, epochs=1000)
    assert made.num_steps == (30 // loader.num_dropped + 1) * len(loader)
    assert made.num_steps + made.steps_not_counted == 1000 * len(loader)
    (member,) = made.members.values()
    assert as_counted(member) == counted([loader], made.num_steps, 0, sum(LENGTHS))


def test_ledger_holds_for_each_member_of_a_mixture() -> None:
    first = {policy: 1000 * i for i, policy in enumerate(POLICIES)}
    members = {p: (Windows(store_of(LENGTHS, first[p]), 6, policy=p), 1.0 + i) for i, p in enumerate(POLICIES)}
    loaders = [Loader(Mixture(members), 3, dp_rank=rank, dp_world_size=2) for rank in range(2)]
    for loader in loaders:
        loader.exclude(documents=[4], member="pack")
    made = plan(loaders[0], epochs=2)
    for policy, member in made.members.items():
        assert as_counted(member) == counted(loaders, made.num_steps, first[policy], sum(LENGTHS))  # type: ignore[index]


def test_the_plan_of_tinyshakespeare_is_what_its_batches_hold(tmp_path: Path) -> None:
    """Every figure of each policy again by brute force, over an epoch of real batches of four ranks."""
    tokenizer = load_tokenizer("gpt2")
    speeches = shared_text("tinyshakespeare.txt").split("\n\n")
    rows = [[*tokenizer.encode(speech), tokenizer.eos_id] for speech in speeches]
    ends = np.cumsum([len(row) for row in rows])
    n = int(ends[-1])
    places = TokenStore.from_ids(np.arange(n), eos_id=n, document_ends=ends)  # an id that tells its place
    for policy, stride, mask in [("concat", 128, None), ("concat", None, "document_edges"), *OTHER_POLICIES]:
        windows = Windows(places, 256, stride, policy=policy)
        ranks: list[dict[str, Any]] = [{"dp_rank": rank, "dp_world_size": 4} for rank in range(4)]
        loaders = [Loader(windows, 8, mask_targets=mask, **rank) for rank in ranks]
        (member,) = plan(loaders[0]).members.values()
        member.check()
        times, read, rows_seen = np.zeros(n, dtype=int), np.zeros(n, dtype=bool), 0
        for loader in loaders:
            for inputs, targets in loader:
                np.add.at(times, targets[targets != -100], 1)
                read[inputs[inputs < n]] = True
                rows_seen += len(inputs)
        assert member.num_rows == rows_seen
        assert member.trained == times.sum()
        assert member.times_target == {0: 0} | dict(
            zip(*map(np.ndarray.tolist, np.unique(times, return_counts=True)), strict=True)
        )
        assert member.context_only == np.count_nonzero(read & (times == 0))
        assert sum(member.dropped.values()) == np.count_nonzero(~read & (times == 0))
        assert member.padded + sum(member.masked.values()) == rows_seen * 256 - times.sum()


def test_documents_cut_are_those_that_no_row_holds_whole() -> None:
    for policy in POLICIES:
        windows = Windows(store_of(LENGTHS), 9, policy=policy)
        rows = [set(row.tolist()) for row in windows.gather(np.arange(windows.num_samples))]
        documents = [set(windows.store.document(i).tolist()) for i in range(len(LENGTHS))]
        touched = [d for d in documents if any(d & row for row in rows if policy != "pack" or len(d) > 1)]
        cut = [d for d in touched if not any(d <= row for row in rows)]
        (member,) = plan(Loader(windows, 1)).members.values()
        assert member.documents_cut == len(cut), policy


def test_the_ledger_says_what_is_context_by_the_data_and_what_at_document_edges() -> None:
    store = counting(store_of([4, 4, 4, 1]), [0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1])
    (member,) = plan(Loader(Windows(store, 4, 2), 1)).members.values()
    assert member.masked == {"document edges": 0, "between pieces": 0, "excluded": 0, "context by the data": 8}
    assert (member.trained, member.times_target) == (12, {0: 5, 1: 4, 2: 4})
    assert member.nbytes_read == 25 * 3
    (member,) = plan(Loader(Windows(store, 4, 2), 1, mask_targets="document_edges")).members.values()
    assert (member.masked["document edges"], member.masked["context by the data"]) == (5, 6)
    (member,) = plan(Loader(Windows(store, 4, policy="pack"), 1)).members.values()
    assert member.masked == {"document edges": 0, "between pieces": 0, "excluded": 0, "context by the data": 3}


def test_what_counts_is_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    store = counting(store_of(LENGTHS), random.integers(0, 2, sum(LENGTHS)))
    loader = Loader(Windows(store, 6, 4), 2, mask_targets="document_edges")
    whole = plan(loader)
    monkeypatch.setattr("windrow.audit.plan._AT_A_TIME", 7)
    assert plan(loader) == whole


def test_an_unbalanced_ledger_is_an_assertion_error() -> None:
    (member,) = plan(Loader(Windows(store_of(LENGTHS), 6), 2)).members.values()
    for wrong in ({"context_only": 5}, {"padded": 1}, {"trained": 1, "padded": member.trained - 1}):
        with pytest.raises(AssertionError):
            replace(member, **wrong).check()


@pytest.mark.parametrize("stride", [1, 4, 6])
def test_the_ledger_of_an_evaluation_counts_each_target_once(stride: int) -> None:
    made = plan(Loader.evaluation(Windows(store_of(LENGTHS), 6, stride), 2))
    (member,) = made.members.values()
    assert member.times_target == {0: 1, 1: member.num_tokens - 1}
    assert member.masked.get("counted in another row", 0) == (member.num_rows - 1) * (6 - stride)
    counts = np.arange(member.num_tokens) % 3 == 1
    (chosen,) = plan(Loader.evaluation(Windows(counting(store_of(LENGTHS), counts), 6, stride), 2)).members.values()
    assert chosen.times_target == {0: member.num_tokens - counts.sum(), 1: counts.sum()}
    assert chosen.masked == {**member.masked, "context by the data": member.num_tokens - 1 - counts.sum()}


TABLE = [  # of the courses: up to so many tokens, max_length, stride as a part of it, batch_size
    (1_000_000, (128, 256), 4, (2, 4)),
    (100_000_000, (256, 512), 2, (8, 16)),
    (10**13, (512, 1024), 1, (32, 64)),
]


@given(st.integers(2, 10**13 - 1), st.integers(1, 64))
def test_suggested_sizes_can_be_used(num_tokens: int, dp_world_size: int) -> None:
    sizes, lines = suggest(num_tokens, dp_world_size)
    assert sizes.stride is not None
    assert 1 <= sizes.stride <= sizes.max_length < num_tokens
    windows = (num_tokens - sizes.max_length - 1) // sizes.stride + 1
    assert windows >= 1
    assert f"= {windows:,} windows" in lines[-1]
    assert sizes.batch_size == 1 or windows // (sizes.batch_size * dp_world_size) >= 1


@given(st.integers(1024, 10**13 - 1))
def test_suggested_sizes_are_those_of_the_courses_table(num_tokens: int) -> None:
    sizes, _ = suggest(num_tokens)
    lengths, part, batches = next(row[1:] for row in TABLE if num_tokens < row[0])
    assert lengths[0] <= sizes.max_length <= lengths[1]
    assert sizes.stride == sizes.max_length // part
    assert batches[0] <= sizes.batch_size <= batches[1]


def test_each_suggestion_has_its_reason() -> None:
    says = {
        5_145: ["128 to 256", "a quarter", "overlap on a small text invites overfitting", "2 to 4"],
        2_000_000: ["256 to 512", "half", "about 2 times an epoch", "8 to 16"],
        2_000_000_000: ["512 to 1,024", "the whole", "once an epoch", "32 to 64"],
    }
    for num_tokens, words in says.items():
        sizes, lines = suggest(num_tokens)
        assert [line.split(":")[0] for line in lines] == ["suggested", "suggested", "suggested", "these make"]
        assert f"max_length {sizes.max_length:,}, " in lines[0]
        assert all(word in " ".join(lines) for word in words), lines


def test_suggestions_keep_what_is_given_and_do_not_call_it_suggested() -> None:
    sizes, lines = suggest(5145, max_length=64, batch_size=2)
    assert (sizes.max_length, sizes.stride, sizes.batch_size) == (64, 16, 2)
    assert [line.split(",")[0] for line in lines[:-1]] == ["suggested: stride 16"]
    assert lines[-1] == (
        "these make: (5,145 - 64 - 1) // 16 + 1 = 318 windows, 318 // (2 x 1 ranks) = 159 steps an epoch, with "
        "max_length 64 and batch_size 2 as given"
    )


def test_a_text_below_the_table_has_sizes_that_fit_and_says_so() -> None:
    sizes, lines = suggest(40)
    assert sizes.max_length == 16
    assert "too short" in lines[0]


# -- the memory of a step --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "num_layers", "vocab_size"), [(48, 2, 257), (96, 3, 257), (64, 1, 3000)])
def test_the_memory_of_a_step_is_that_of_a_real_one(width: int, num_layers: int, vocab_size: int) -> None:
    sizes = RunSizes(max_length=64, batch_size=4)
    said = step_memory(sizes, vocab_size, width, num_layers)
    model = GPT(GPTConfig(vocab_size, sizes.max_length, width, num_layers, num_heads=4))
    optimizer = torch.optim.AdamW(model.parameters())
    inputs = torch.arange(4 * 64).reshape(4, 64) % vocab_size
    own, kept = {parameter.data_ptr() for parameter in model.parameters()}, dict[int, int]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() and tensor.data_ptr() not in own:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss_sum(inputs, inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert said["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert said["weights"] == nbytes_of(model.parameters())
    assert said["gradients"] == nbytes_of(parameter.grad for parameter in model.parameters())
    assert said["optimizer"] == nbytes_of(moments)
    assert said["activations"] == pytest.approx(sum(kept.values()), rel=0.03)  # without a few numbers a row
    assert said["total"] == sum(said[name] for name in ("weights", "gradients", "optimizer", "activations"))


def nbytes_of(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def test_the_memory_of_gpt2_is_that_of_its_124_million_parameters() -> None:
    assert step_memory(RunSizes(1024, None, 8), 50257, 768, 12)["parameters"] == 124_439_808


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = [f"Text {i} of {'some words and ' * (i % 7)}more." for i in range(300)]
    prepare(iter(texts), tmp_path / "corpus", tokenizer="bytes")
    return tmp_path / "corpus"


def invoke(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("policy", POLICIES)
def test_the_command_says_the_same_as_the_library(corpus: Path, policy: Policy) -> None:
    flags = ["--max-length", 64, "--batch-size", 4, "--dp-world-size", 2, "--policy", policy, "--epochs", 3]
    said = json.loads(invoke("plan", corpus, *flags, "--json").stdout)
    stride = 32 if policy == "concat" else None
    windows = Windows(open_store(corpus / "train"), 64, stride, policy=policy)
    made = plan(Loader(windows, 4, dp_rank=0, dp_world_size=2), epochs=3)
    assert said["plan"] == json.loads(json.dumps(made.to_json()))
    assert set(said["policies"]) == set(POLICIES)
    shown = invoke("plan", corpus, *flags).stdout
    assert f"{made.trained:,}" in shown
    assert "target once or more" in shown


def test_the_command_suggests_sizes_and_plans_a_run(corpus: Path, tmp_path: Path) -> None:
    shown = invoke("plan", corpus).stdout
    assert "suggested: stride 64, a quarter of max_length" in shown
    assert "these make: (" in shown
    flags = ["--max-length", 32, "--batch-size", 2, "--steps", 3, "--width", 16, "--num-heads", 2]
    assert invoke("train", corpus, "--out", tmp_path / "run", *flags).exit_code == 0
    said = json.loads(invoke("plan", "--run", tmp_path / "run", "--json").stdout)
    assert said["plan"]["trained"] == 3 * 2 * 32
    certificate = json.loads(invoke("check", "--run", tmp_path / "run", "--json").stdout)
    assert certificate["ok"]
    assert certificate["recipe"]["members"][""]["max_length"] == 32
    assert said["suggested"] == []


def test_the_command_says_what_a_step_of_a_model_needs(corpus: Path, tmp_path: Path) -> None:
    assert "memory of a step" not in invoke("plan", corpus).stdout
    flags = ["--max-length", 32, "--batch-size", 2, "--width", 16]
    said = step_memory(RunSizes(32, None, 2), 257, 16, 2)
    shown = invoke("plan", corpus, *flags).stdout
    assert "memory of a step" in shown
    assert "width 16, 2 layers, vocabulary 257" in shown
    assert f"{said['parameters']:,}" in shown
    assert "not counted: " in shown
    assert json.loads(invoke("plan", corpus, *flags, "--json").stdout)["memory"] == said
    assert json.loads(invoke("plan", corpus, "--json").stdout)["memory"] is None
    assert invoke("train", corpus, "--out", tmp_path / "run", *flags, "--steps", 1, "--num-heads", 2).exit_code == 0
    assert json.loads(invoke("plan", "--run", tmp_path / "run", "--json").stdout)["memory"] == said
    for wrong in ("--width", "--num-layers"):
        done = invoke("plan", corpus, wrong, 0)
        assert done.exit_code == 1
        assert "is 0, and it must be a whole number, 1 or more" in done.stderr
    assert invoke("plan", "--run", tmp_path / "run", "--width", 8).exit_code == 2


@pytest.mark.parametrize("kind", [{"documents": "epoch"}, {"policy": "pack", "documents": "epoch"}, {"phase": "epoch"}])
def test_rows_that_move_are_counted_for_64_epochs_and_the_rest_is_said(kind: dict[str, Any]) -> None:
    loader = Loader(Windows(store_of(LENGTHS), 6, **kind), 2)
    made = plan(loader, epochs=70)
    assert (made.num_steps, made.steps_not_counted) == (64 * len(loader), 6 * len(loader))
    assert made.members == plan(loader, epochs=64).members
    assert plan(loader, num_steps=made.num_steps + 1).steps_not_counted == 1
    assert plan(loader, epochs=64).steps_not_counted == 0


def test_rows_that_stay_are_counted_for_all_epochs() -> None:
    loader = Loader(Windows(store_of(LENGTHS), 6), 2)
    made = plan(loader, epochs=1_000_000)
    assert (made.num_steps, made.steps_not_counted) == (1_000_000 * len(loader), 0)
    assert max(made.members[""].times_target) == 1_000_000


def test_the_memory_of_a_plan_is_that_of_an_epoch() -> None:
    windows = Windows(store_of([3 + n % 50 for n in range(4000)]), 64, documents="epoch")
    peaks = []
    for epochs in (2, 2, 16):
        tracemalloc.start()
        plan(Loader(windows, 4), epochs=epochs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


@pytest.mark.parametrize(
    ("flags", "is_recommended"),
    [
        (["--epochs", 2], True),
        (["--epochs", 2, "--policy", "pack"], True),
        (["--epochs", 1], False),
        (["--epochs", 2, "--policy", "pad"], False),
        (["--epochs", 2, "--policy", "bos"], False),
        (["--epochs", 2, "--documents", "epoch"], False),
    ],
)
def test_the_command_recommends_fresh_neighbours_from_the_second_epoch_on(
    corpus: Path, flags: list[object], is_recommended: bool
) -> None:
    line = "suggested: documents epoch: from the second epoch on"
    assert (line in invoke("plan", corpus, "--max-length", 64, *flags).stdout) is is_recommended
    said = json.loads(invoke("plan", corpus, "--max-length", 64, *flags, "--json").stdout)["suggested"]
    assert any(each.startswith(line) for each in said) is is_recommended


def test_one_document_has_no_neighbours_to_change(tmp_path: Path) -> None:
    prepare(iter(["one long document " * 90]), tmp_path / "one", tokenizer="bytes")
    assert "documents epoch" not in invoke("plan", tmp_path / "one", "--max-length", 64, "--epochs", 2).stdout


def test_the_command_says_where_it_stops_counting(corpus: Path) -> None:
    flags = ["--max-length", 64, "--documents", "epoch"]
    steps = json.loads(invoke("plan", corpus, *flags, "--json").stdout)["plan"]["num_steps"]
    shown = invoke("plan", corpus, *flags, "--epochs", 65).stdout
    assert f"{64 * steps:,} steps of 4 x 1 samples" in shown
    assert f"these are 64 epochs, and {steps:,} steps more are not counted: rows move, or others" in shown
    assert "not counted: rows move" not in invoke("plan", corpus, *flags, "--epochs", 64).stdout
    shown = invoke("when", corpus, *flags, "--document", 0, "--epochs", 70).stdout
    assert "In the first 64 epochs" in shown
    assert "6 epochs more are not counted: their rows move" in shown
    said = json.loads(invoke("when", corpus, *flags, "--document", 0, "--epochs", 70, "--json").stdout)
    assert (said["epochs"], max(row["epoch"] for row in said["sightings"])) == (64, 63)
    assert json.loads(invoke("when", corpus, "--document", 0, "--epochs", 70, "--json").stdout)["epochs"] == 70


@pytest.mark.parametrize("words", [["plan"], ["plan", "a", "--run", "b"], ["plan", "--run", "b", "--max-length", "4"]])
def test_a_plan_of_nothing_or_of_two_things_is_refused(words: list[str]) -> None:
    assert invoke(*words).exit_code == 2


def test_check_exits_with_1_when_a_check_fails_and_prints_its_evidence(corpus: Path) -> None:
    assert invoke("check", corpus, "--max-length", 32).exit_code == 0
    said = json.loads(invoke("check", corpus, "--json").stdout)
    assert [finding["status"] for finding in said["findings"]].count("ok") == 16
    tokens = corpus / "train" / "tokens-00000.bin"
    tokens.write_bytes(b"\1\1" + tokens.read_bytes()[2:])
    done = invoke("check", corpus)
    assert done.exit_code == 1
    assert re.search(
        r"^13 FAILED files are those that were written\n {10}train/tokens-00000.bin has sha256 \w{16}\.\.\., .*\n"
        r" {10}Prepare the text again into a new folder",
        done.stdout,
        re.MULTILINE,
    )


def test_a_plan_says_at_which_step_each_stage_begins_where_there_is_more_than_one() -> None:
    windows = Windows(TokenStore.from_ids(np.arange(400)), 4)
    members, stages = {"a": (windows, 1.0), "b": (windows, 1.0)}, {256: {"a": 1, "b": 0}, 512: {"a": 1, "b": 1}}
    loader = Loader(Mixture(members, stages=stages, block=256, epoch_samples=600), 10, drop_last=False)
    made = plan(loader)
    assert made.stages == {0: 0, 256: 26, 512: 52}
    for position, step in made.stages.items():
        samples = [loader.lookup(each)[-1].position for each in (step - 1, step) if each >= 0]
        assert samples[-1] > position >= samples[0] - 10
    assert plan(loader, num_steps=20).to_json()["stages"] == {0: 0}
    assert "stages" not in plan(Loader(windows, 10)).to_json()
    console = Console(file=io.StringIO(), width=200)
    print_plan(console, made)
    printed = " ".join(console.file.getvalue().split())
    assert "share of the samples 71.2% 28.8%" in printed
    assert "share of the targets 71.2% 28.8%" in printed
    assert "stages begin at steps 0 (position 0), 26 (position 256), 52 (position 512)" in console.file.getvalue()


def test_a_plan_over_what_a_member_drew_that_is_gone_is_an_error() -> None:
    windows = Windows(TokenStore.from_ids(np.arange(400)), 4)
    mixture = Mixture({"a": (windows, 1), "b": (None, 1)}, stages={256: {"a": 1, "b": 0}}, block=256)
    with pytest.raises(WindrowError, match="a member that is gone was drawn from: give its windows"):
        plan(Loader(mixture, 10))
