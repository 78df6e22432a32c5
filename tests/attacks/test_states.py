"""States that somebody edited or damaged: each is refused with what is wrong, and the loader stays as it was."""

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest

from windrow import Loader, TokenStore, Windows
from windrow.errors import ResumeError

DEEP = "[" * 200_000


def loader_of(**kwargs: Any) -> Loader:
    """250 windows over ten documents; three steps have been taken."""
    store = TokenStore.from_ids(np.arange(1001), eos_id=0, document_ends=np.arange(91, 1002, 91))
    loader = Loader(Windows(store, 4), 4, seed=1, **kwargs)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    return loader


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: 2}, r"this is no loader state: it has \['version', .*1\]"),
        ({"version": 10**5000}, "of version a number of more than 4300 digits at position 12"),
        ({"position": 2**63}, r"at position 9223372036854775808.*positions from 0 to 2\*\*63 - 1"),
        ({"position": 10**5000}, "at position a number of more than 4300 digits"),
        ({"position": 10**5000, "version": "1"}, "version is '1', and it must be int"),
        ({"recipe": DEEP}, r"another recipe.*\n.*no JSON: '\[\[\["),
        ({"data": '{"a":' * 100_000}, r"another data.*\n.*no JSON"),
        ({"recipe": "9" * 6000}, "no JSON: '999"),
        ({"recipe": json.dumps({"seed": "x" * 10**6})}, r"seed: saved 'xxx.*\.\.\., here 1"),
        ({"segments": DEEP}, "damaged.*nested too deep"),
        ({"segments": "{}"}, r"it is \{\}, and it must be a list"),
        ({"segments": '[[0, 0, 4, 1, "drop"], 7]'}, r"it\[1\] is 7, and it must be a list"),
        ({"segments": '[[0, 0, 4, 1, ["drop"]]]'}, r"the tail \['drop'\] is none of"),
        ({"segments": f'[[0, 0, {10**25}, 1, "keep"]]'}, "batch_size is 10000000000000000000000000"),
        ({"segments": f'[[0, 0, 4, {10**25}, "keep"]]'}, "dp_world_size is 10000000000000000000000000"),
        ({"segments": '[[0, 0, 4000, 1, "drop"]]'}, "the data has 250 samples, and one step takes batch_size 4000"),
        ({"segments": '[[0, 0, 4, 1, "drop"], [8, 9, 4, 1, "drop"]]'}, "is no list of stretches"),
        ({"segments": '[[0, 0, 4, 1, "drop"], [16, 4, 4, 1, "drop"]]'}, "position 12 lies before the last stretch"),
        ({"excluded": DEEP}, "damaged.*nested too deep"),
        ({"excluded": "{}"}, r"it is \{\}, and it must be a list"),
        ({"excluded": '[[0, "", {}, []]]'}, r"excluded\[0\] is \{\}, and it must be a list"),
        ({"excluded": '[[0, "", "", []]]'}, r"excluded\[0\] is '', and it must be a list"),
        ({"excluded": '[{"position": 0}]'}, "damaged"),
        ({"excluded": "null"}, "it is None, and it must be a list"),
        ({"excluded": '[[0, [], [1], []]]'}, "damaged.*must be a string"),
        ({"excluded": '[[0, "web", [1], []]]'}, "the excluded member 'web' is not there"),
        ({"excluded": f'[[0, "", [{2**70}], []]]'}, f"document is {2**70}"),
        ({"excluded": '[[0, "", [5000], []]]'}, "there is no document 5000 to exclude: they are 0 to 10"),
        ({"excluded": '[[0, "", [], [250]]]'}, "there is no window 250 to exclude: they are 0 to 249"),
        ({"excluded": f'[[{2**70}, "", [1], []]]'}, f"position is {2**70}"),
    ],
)  # fmt: skip
def test_a_hostile_state_is_refused_in_a_few_lines_and_changes_nothing(change: dict[Any, Any], message: str) -> None:
    loader = loader_of()
    before = loader.state_dict()
    with pytest.raises(ResumeError) as caught:
        loader.load_state_dict({**before, **change})
    assert re.search(message, str(caught.value), re.DOTALL)
    assert len(str(caught.value)) < 1000
    assert loader.state_dict() == before


@pytest.mark.parametrize("epochs", [1, None])
@pytest.mark.parametrize("drop_last", [True, False])
def test_the_last_positions_of_the_order_load_and_what_lies_beyond_them_says_so(epochs: Any, drop_last: bool) -> None:
    loader = loader_of(epochs=epochs, drop_last=drop_last)
    last = 2**63 - 1 - 200
    loader.load_state_dict({**loader.state_dict(), "position": last})
    batch = next(iter(loader))
    assert [sample.window for sample in loader.samples_at(last, 4)] == [int(row[0]) // 4 for row in batch.inputs]
    with pytest.raises(ValueError, match=r"position is 9223372036854775\d+, and .* 0 to 2\*\*63 - 1: the order of"):
        list(itertools.chain.from_iterable(itertools.repeat(loader, 3)))


def test_a_state_of_skips_and_other_sizes_loads_whatever_they_were() -> None:
    random = np.random.default_rng(0)
    loader = loader_of()
    for _ in range(200):
        loader.skip(int(random.integers(0, 300)))
        tail = {"drop_last": bool(random.integers(2)), "epochs": [1, None][random.integers(2)]}
        world = int(random.integers(1, 5))
        other = Loader(loader.members[""], int(random.integers(1, 40)), seed=1, dp_rank=0, dp_world_size=world, **tail)
        other.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        for _ in zip(range(random.integers(4)), other, strict=False):
            pass
        loader = other
    assert len(json.loads(str(loader.state_dict()["segments"]))) > 50
