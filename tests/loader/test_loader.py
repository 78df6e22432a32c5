"""The loader: iterating, sizes, ranks, looking up, skipping, excluding, and what it refuses."""

import gc
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windrow import Batch, Loader, Mixture, TokenStore, Windows, prepare
from windrow.errors import NotEnoughTokensError, ResumeError, WindrowError


def windows_of(num_samples: int, max_length: int = 4, first: int = 0) -> Windows:
    """Windows whose first input tells them apart: window i starts with first + i * max_length."""
    ids = np.arange(first, first + num_samples * max_length + 1)
    return Windows(TokenStore.from_ids(ids, eos_id=7), max_length)


def ids_of(batch: Batch) -> list[int]:
    return [int(row[0]) // len(row) for row in batch.inputs]


def test_a_batch_unpacks_to_inputs_and_targets_moved_on_by_one() -> None:
    batch = next(iter(Loader(windows_of(10), 3)))
    inputs, targets = batch
    assert inputs.shape == targets.shape == (3, 4)
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.flags.c_contiguous
    assert targets.flags.c_contiguous
    assert np.array_equal(targets, inputs + 1)
    assert batch.num_targets == 12
    assert len(batch) == 2
    assert batch[0] is inputs
    assert batch[1] is targets


def test_one_for_is_an_epoch_and_the_next_is_reshuffled() -> None:
    loader = Loader(windows_of(10), 2, seed=1)
    first, second = [[i for batch in loader for i in ids_of(batch)] for _ in range(2)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))


def test_without_shuffle_every_epoch_is_in_order() -> None:
    loader = Loader(windows_of(5), 2, shuffle=False, drop_last=False)
    assert [[ids_of(batch) for batch in loader] for _ in range(2)] == [[[0, 1], [2, 3], [4]]] * 2


def test_dropping_the_last_batch_counts_it_and_goes_to_the_next_epoch() -> None:
    loader = Loader(windows_of(11), 4)
    assert [len(list(loader)), loader.position, loader.epoch, loader.num_dropped, loader.step] == [2, 11, 1, 3, 2]


def test_len_is_the_steps_of_a_whole_epoch_also_in_the_middle_of_one() -> None:
    loader = Loader(windows_of(11), 2, drop_last=False)
    next(iter(loader))
    assert len(loader) == 6
    assert len(list(loader)) == 5


def test_an_endless_stream_straddles_epochs_and_drops_nothing() -> None:
    loader = Loader(windows_of(5), 3, epochs=None)
    batches = [ids_of(batch) for _, batch in zip(range(5), loader, strict=False)]
    rows = [i for batch in batches for i in batch]
    assert [sorted(rows[k : k + 5]) for k in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert loader.num_dropped == 0


def test_a_second_iterator_continues_and_ends_the_first() -> None:
    loader = Loader(windows_of(10), 2)
    first = iter(loader)
    seen = ids_of(next(first))
    second = iter(loader)
    assert list(first) == []
    seen += [i for batch in second for i in ids_of(batch)]
    assert sorted(seen) == list(range(10))


def test_the_position_has_moved_on_before_an_epochs_last_batch_is_yielded() -> None:
    loader = Loader(windows_of(4), 2)
    batches = iter(loader)
    next(batches)
    next(batches)  # a trainer that counts to len() never asks for more
    assert (loader.epoch, loader.position) == (1, 4)
    assert len(list(loader)) == 2


def test_any_step_can_be_asked_for_and_moves_nothing() -> None:
    loader = Loader(windows_of(11), 2, seed=5)
    walked = [ids_of(batch) for _ in range(3) for batch in loader]
    assert [ids_of(loader[step]) for step in range(15)] == walked
    assert loader.step == 15
    assert [[sample.window for sample in loader.lookup(step)] for step in range(15)] == walked


def test_lookup_and_positions_of_are_inverses() -> None:
    mixture = Mixture({"a": (windows_of(50), 1), "b": (windows_of(30, first=1000), 3)})
    for loader in (Loader(windows_of(50), 8, epochs=None), Loader(mixture, 8, epochs=None, shuffle_block=4)):
        for step in (0, 1, 7, 20_000):
            for sample in loader.lookup(step):
                assert loader.positions_of(sample.window, sample.epoch, member=sample.member) == sample.position


def test_a_batch_that_is_held_is_never_written_over() -> None:
    loader = Loader(windows_of(64), 4)
    held = list(loader)
    copies = [batch.inputs.copy() for batch in held]
    gc.collect()
    list(loader)
    assert all(np.array_equal(batch.inputs, copy) for batch, copy in zip(held, copies, strict=True))
    assert sorted(i for batch in held for i in ids_of(batch)) == list(range(64))


def test_ranks_cut_the_global_batch_and_stay_in_step_at_the_end() -> None:
    ranks = [Loader(windows_of(13), 2, dp_rank=r, dp_world_size=3, drop_last=False, shuffle=False) for r in range(3)]
    passes = [list(rank) for rank in ranks]
    assert [ids_of(batch) for batch in passes[0][:2]] == [[0, 1], [6, 7]]
    assert [ids_of(one[1]) for one in passes] == [[6, 7], [8, 9], [10, 11]]
    last = [one[2] for one in passes]
    assert [batch.num_targets for batch in last] == [4, 0, 0]
    assert all(batch.inputs.shape == (2, 4) for batch in last)
    assert (last[0].targets[1] == -100).all()
    assert (last[1].inputs == 7).all()  # eos


def test_a_loader_says_what_it_is_and_where_it_stands() -> None:
    loader = Loader(windows_of(10), 3, dp_rank=1, dp_world_size=2)
    next(iter(loader))
    assert repr(loader).startswith(
        "Loader(1 steps an epoch of 10 samples, next: step 1 in epoch 1, batch_size=3, dp_rank"
    )
    assert "Windows(num_samples=10, " in repr(loader)


def test_masked_targets_are_not_counted() -> None:
    windows = Windows(TokenStore.from_ids(np.arange(7)), 4, tail="pad")
    batch = next(iter(Loader(windows, 2, shuffle=False)))
    assert batch.num_targets == 6
    assert batch.targets.tolist() == [[1, 2, 3, 4], [5, 6, -100, -100]]


def test_torch_tensors_share_the_numbers_of_the_arrays() -> None:
    arrays, tensors = (list(Loader(windows_of(9), 2, device=device)) for device in (None, "cpu"))
    assert all(isinstance(batch.inputs, torch.Tensor) and batch.inputs.dtype == torch.int64 for batch in tensors)
    assert all(np.array_equal(a.inputs, t.inputs.numpy()) for a, t in zip(arrays, tensors, strict=True))
    assert next(iter(tensors)).to("cpu", torch.int32).targets.dtype == torch.int32


def test_skipping_passes_over_samples_while_steps_count_on() -> None:
    whole = [i for batch in Loader(windows_of(40), 2) for i in ids_of(batch)]
    loader = Loader(windows_of(40), 2)
    batches = iter(loader)
    seen = [ids_of(next(batches)) for _ in range(3)]
    loader.skip(7)
    seen += [ids_of(batch) for batch in loader]
    rows = [i for batch in seen for i in batch]
    assert rows == whole[:6] + whole[13:39]
    assert [ids_of(loader[step]) for step in range(len(seen))] == seen
    again = Loader(windows_of(40), 2)
    again.load_state_dict(loader.state_dict())
    assert [ids_of(again[step]) for step in range(len(seen))] == seen
    assert again.step == loader.step == len(seen)


def with_documents() -> Windows:
    """Ten documents of eight tokens; windows of four."""
    store = TokenStore.from_ids(np.arange(80), document_ends=np.arange(8, 81, 8), eos_id=7)
    return Windows(store, 4)


def test_an_exclusion_masks_what_touches_it_moves_nothing_and_is_kept_in_the_state() -> None:
    plain = list(Loader(with_documents(), 3, drop_last=False))
    loader = Loader(with_documents(), 3, drop_last=False)
    loader.exclude(documents=[2], windows=[0])
    resumed = Loader(with_documents(), 3, drop_last=False)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    # A window spans 5 tokens: document 2 is tokens 16..23, so windows 3 (12..16), 4 and 5 touch it.
    for before, after, again in zip(plain, loader, resumed, strict=True):
        hidden = np.isin(before.inputs[:, 0] // 4, [0, 3, 4, 5])
        assert np.array_equal(before.inputs, after.inputs)
        assert np.array_equal(after.targets, np.where(hidden[:, None], -100, before.targets))
        assert after.num_targets == 4 * (~hidden).sum()
        assert np.array_equal(after.targets, again.targets)


def test_steps_before_an_exclusion_stay_what_they_were() -> None:
    loader = Loader(with_documents(), 3, epochs=None)
    trained = [next(iter(loader)) for _ in range(4)]
    loader.exclude(documents=range(10))
    assert all(np.array_equal(loader[i].targets, batch.targets) for i, batch in enumerate(trained))
    assert loader[4].num_targets == 0


def test_an_exclusion_before_loading_a_state_raises_instead_of_being_lost() -> None:
    loader = Loader(with_documents(), 3)
    loader.exclude(windows=[1])
    with pytest.raises(ResumeError, match="Load into a new loader, then exclude"):
        loader.load_state_dict(Loader(with_documents(), 3).state_dict())


def test_a_state_with_exclusions_loads_again_and_rolls_back() -> None:
    loader = Loader(with_documents(), 3)
    before = loader.state_dict()
    loader.exclude(windows=np.array([1, 2]), documents=np.flatnonzero([0, 1]))
    after = json.loads(json.dumps(loader.state_dict()))
    again = Loader(with_documents(), 3)
    for state in (after, after, before, after):
        again.load_state_dict(state)
    assert again.state_dict() == after
    loader.load_state_dict(after)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"windows": [16]}, "no window 16 to exclude: they are 0 to 15|no window 16"),
        ({"windows": [-1]}, "window is -1"),
        ({"windows": ["3"]}, "window is '3'"),
        ({"windows": [3.7]}, "window is 3.7"),
        ({"documents": [10]}, "no document 10 to exclude: they are 0 to 9"),
    ],
)
def test_what_cannot_be_excluded_raises_instead_of_excluding_nothing(bad: dict[str, Any], message: str) -> None:
    windows = Windows(TokenStore.from_ids(np.arange(65), document_ends=[*range(6, 60, 6), 65]), 4)
    with pytest.raises(ValueError, match=message):
        Loader(windows, 3).exclude(**bad)


def test_windows_epochs_and_members_that_are_not_there_have_no_position() -> None:
    loader = Loader(windows_of(16), 2)
    for number in (-1, 16):
        with pytest.raises(IndexError, match="of 16, which are 0 to 15"):
            loader.positions_of(number)
    with pytest.raises(ValueError, match="epoch is -1"):
        loader.positions_of(0, -1)
    with pytest.raises(WindrowError, match="no member 'web'"):
        loader.positions_of(0, member="web")
    with pytest.raises(ValueError, match="first is -5"):
        loader.samples_at(-5, 2)


def test_a_store_in_place_of_windows_raises_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"this is a TokenStore. Give Loader\(Windows\(store"):
        Loader(TokenStore.from_ids(np.arange(9)), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("to", [2, 10, 13])
def test_a_skip_to_another_epoch_ends_the_loop_over_this_one(to: int) -> None:
    loader, taken = Loader(windows_of(10), 2), 0
    for _ in loader:
        taken += 1
        if taken == 2:
            loader.skip(to)
    assert (taken, loader.epoch) == ((4, 1) if to == 2 else (2, 1))


def test_a_mixture_and_a_store_that_has_been_read_pickle_small() -> None:
    store = TokenStore.from_ids(np.arange(20_000))
    loader = Loader(Mixture({"a": (Windows(store, 256), 1), "b": (windows_of(3, 256), 1)}), 2)
    first = next(iter(loader))
    pickled = pickle.dumps(loader)
    assert len(pickled) < 300_000  # the order of the next steps is in it; overlapping views would be 10 MB
    assert np.array_equal(pickle.loads(pickled)[0].inputs, first.inputs)


def test_excluding_from_an_unknown_member_raises() -> None:
    with pytest.raises(WindrowError, match="no member 'web'"):
        Loader(with_documents(), 3).exclude(windows=[1], member="web")


@pytest.mark.parametrize(
    ("environment", "given", "ok"),
    [("2", {}, False), ("2", {"dp_rank": 1}, False), ("2", {"dp_rank": 1, "dp_world_size": 2}, True), ("1", {}, True)],
)
def test_a_distributed_run_in_sight_must_name_the_rank(
    monkeypatch: pytest.MonkeyPatch, environment: str, given: dict[str, int], ok: bool
) -> None:
    monkeypatch.setenv("WORLD_SIZE", environment)
    if ok:
        assert Loader(windows_of(10), 2, **given).dp_world_size == int(environment)
        return
    with pytest.raises(ValueError, match=r"WORLD_SIZE=2.*every rank would read the same data"):
        Loader(windows_of(10), 2, **given)


def test_a_process_group_must_name_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    with pytest.raises(ValueError, match="process group says that 4 ranks run"):
        Loader(windows_of(10), 2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"seed": "1"}, "seed is '1'"),
        ({"dp_rank": 3, "dp_world_size": 3}, "ranks 0 to 2"),
        ({"dp_rank": -1, "dp_world_size": 3}, "dp_rank is -1"),
        ({"dp_world_size": 0}, "dp_world_size is 0"),
        ({"epochs": 3}, "epochs is 3"),
        ({"shuffle_block": 0}, "shuffle_block is 0"),
        ({"device": "gpu"}, "device='gpu' cannot be used"),
    ],
)
def test_bad_arguments_raise_with_their_name_and_value(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(windows_of(10), **{"batch_size": 2, **bad})


def test_a_device_that_is_not_there_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
        Loader(windows_of(10), 2, device="cuda")


def test_no_loader_of_length_0_is_returned_and_its_remedies_work() -> None:
    with pytest.raises(NotEnoughTokensError, match=r"has 10 samples.*4 \* dp_world_size 3 = 12.*batch_size <= 3, or"):
        Loader(windows_of(10), 4, dp_rank=0, dp_world_size=3)
    assert len(Loader(windows_of(10), 3, dp_rank=0, dp_world_size=3)) == 1
    assert len(Loader(windows_of(10), 4, dp_rank=0, dp_world_size=3, drop_last=False)) == 1


def test_a_step_below_0_raises() -> None:
    with pytest.raises(IndexError, match="count from 0"):
        Loader(windows_of(10), 2)[-1]


def test_a_loader_over_a_store_on_disk_pickles_without_its_tokens(tmp_path: Path) -> None:
    store = prepare(iter(["some text " * 4000]), tmp_path, tokenizer="bytes")["train"]
    loader = Loader(Windows(store.split(0.5)[1], 16), 4)
    pickled = pickle.dumps(loader)
    assert len(pickled) < 5000
    again = pickle.loads(pickled)
    assert np.array_equal(next(iter(again)).inputs, next(iter(loader)).inputs)
    assert again.state_dict() == loader.state_dict()


def test_the_recipe_is_canonical_and_free_of_sizes() -> None:
    a, b = Loader(windows_of(20), 2), Loader(windows_of(20), 5, dp_rank=1, dp_world_size=2)
    assert a.recipe == b.recipe
    assert a.recipe == json.dumps(json.loads(a.recipe), sort_keys=True, separators=(",", ":"))


@pytest.fixture(autouse=True)
def _no_distributed_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    return


def test_numbers_of_numpy_are_numbers_and_its_booleans_are_none() -> None:
    loader = Loader(windows_of(10), np.int64(2), seed=np.uint8(1))  # type: ignore[arg-type]
    json.dumps(loader.state_dict())
    assert loader.lookup(0) == Loader(windows_of(10), 2, seed=1).lookup(0)
    with pytest.raises(ValueError, match=r"batch_size is .*True.*, and it must be a whole number"):
        Loader(windows_of(10), np.True_)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["batch_size", "dp_rank", "dp_world_size", "seed", "sizes", "device", "position"])
def test_what_a_loader_is_made_with_is_read_only(name: str) -> None:
    loader = Loader(windows_of(10), 2)
    was = getattr(loader, name)
    with pytest.raises(AttributeError, match=rf"^{name} is .*, and it cannot be set to 8: .* Make another Loader"):
        setattr(loader, name, 8)
    assert getattr(loader, name) == was
    again = pickle.loads(pickle.dumps(loader))
    again.of_a_framework = 1  # what is not ours may be hung on it
    assert as_numbers(again) == as_numbers(loader)


def as_numbers(loader: Loader) -> list[list[int]]:
    return [ids_of(batch) for batch in loader]


def test_so_is_what_windows_and_mixtures_are_made_with() -> None:
    windows = windows_of(10)
    with pytest.raises(AttributeError, match=r"^stride is 4, and it cannot be set to 2: .* Make another Windows"):
        windows.stride = 2
    with pytest.raises(AttributeError, match=r"^epoch_samples is 10, and .* Make another Mixture"):
        Mixture({"a": (windows, 1)}).epoch_samples = 5


def test_skips_without_a_step_between_them_are_one_stretch_and_a_skip_of_nothing_is_none() -> None:
    loader = Loader(windows_of(100), 2)
    for _ in range(50):
        loader.skip(3)
    assert json.loads(str(loader.state_dict()["segments"])) == [[151, 0, 2, 1, "drop"]]
    before = loader.state_dict()
    next(iter(loader))
    loader.skip(0)
    assert loader.state_dict() == before | {"position": 153}


def test_a_skip_reads_no_further_ahead_than_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    loader, asked = Loader(windows_of(40_000), 2, epochs=None), []
    positions = loader.samples.positions

    def counted(position: int, sizes: Any, num_steps: int) -> Any:
        asked.append(num_steps)
        return positions(position, sizes, num_steps)

    monkeypatch.setattr(type(loader.samples), "positions", staticmethod(counted))
    batches = iter(loader)
    for _ in range(10):
        next(batches)
        loader.skip(3)
    assert asked == [1] * 10
    for _ in range(9):
        next(batches)
    assert max(asked[10:]) == 8192 // 2


@pytest.mark.parametrize("kwargs", [{}, {"dp_rank": 2, "dp_world_size": 3}, {"drop_last": False}, {"epochs": None}])
def test_a_stretch_of_the_stream_is_one_batch_over_all_ranks_also_past_an_epochs_end(kwargs: dict[str, Any]) -> None:
    one_by_one = Loader(windows_of(10), 1, seed=3)
    rows = [ids_of(batch)[0] for _ in range(2) for batch in one_by_one]
    loader = Loader(windows_of(10), **{"batch_size": 2, "seed": 3, **kwargs})
    for first, count in [(0, 1), (3, 5), (8, 7), (19, 1)]:
        assert ids_of(loader.batch_at(first, count)) == rows[first : first + count]
        assert [sample.window for sample in loader.samples_at(first, count)] == rows[first : first + count]
    assert loader.position == 0


def test_a_stretch_of_the_stream_has_the_outputs_and_exclusions_of_its_positions() -> None:
    loader = Loader(with_documents(), 3, seed=3, outputs=("document_ids",))
    loader.skip(3)
    loader.exclude(windows=[sample.window for sample in loader.samples_at(2, 3)])
    batch = loader.batch_at(0, 9)
    assert [bool((row == -100).all()) for row in batch.targets] == [False] * 3 + [True] * 2 + [False] * 4
    assert batch.num_targets == 7 * 4
    assert np.array_equal(batch.document_ids, batch.inputs // 8)


@pytest.mark.parametrize(
    ("position", "count", "message"),
    [(-1, 2, "position is -1"), (0, 0, "count is 0"), (0, 2.5, "count is 2.5"), (2**63 - 2, 3, "position is 9223")],
)
def test_a_stretch_that_is_none_raises(position: Any, count: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(windows_of(10), 2).batch_at(position, count)
