"""What beginners write first: each mistake is told what to write instead."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from windrow import Loader, Mixture, TokenStore, Windows, open_store, prepare

STORE = TokenStore.from_ids(np.arange(1001), eos_id=0)
WINDOWS = Windows(STORE, 4)
PAIRED = r"Give Mixture\(\{\"web\": \(Windows\(store, max_length=256\), 1.0\), ...\}\)"
NONE: Any = None  # what is handed over here is wrong on purpose
wrong: Any = lambda value: value  # noqa: E731

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "a path for windows": (lambda: Windows(wrong("c/train"), 16), r'this is a str. Give open_store\("corpus/train"\)'),
    "an array for windows": (lambda: Windows(wrong(np.arange(9)), 4), r"a ndarray.*TokenStore.from_ids\(ids\) for ids"),
    "a list for windows": (lambda: Windows(wrong([1, 2, 3]), 2), r"a list.*TokenStore.from_ids\(ids\) for ids"),
    "the stores for windows": (
        lambda: Windows(wrong({"train": STORE}), 4),
        r'a dict.*stores\["train"\] of what',
    ),
    "a member without a weight": (lambda: Mixture(wrong({"a": WINDOWS})), rf"by the name of 'a'.*{PAIRED}"),
    "a store as a member": (lambda: Mixture(wrong({"a": (STORE, 1)})), PAIRED),
    "a list of members": (lambda: Mixture(wrong([(WINDOWS, 0.5)])), r"is written \{name: \(windows, weight\)\}"),
    "members by number": (lambda: Mixture(wrong({1: (WINDOWS, 1), "b": (WINDOWS, 1)})), f"name of 1, .*{PAIRED}"),
    "a weight as text": (lambda: Mixture(wrong({"a": (WINDOWS, "0.5")})), r"weights are \{'a': '0.5'\}, and they are"),
    "weights without a sum": (lambda: Mixture(dict.fromkeys("ab", (WINDOWS, 1e308))), "and they are shares: finite"),
    "a list of stages": (
        lambda: Mixture({"a": (WINDOWS, 1)}, stages=wrong([(65536, 1)])),
        r"\{65536: \{name: ",
    ),
    "a stage by text": (lambda: Mixture({"a": (WINDOWS, 1)}, stages=wrong({"65536": 1})), "of a stage is '65536', and"),
    "a stage nowhere": (lambda: Mixture({"a": (WINDOWS, 1)}, stages=wrong({float("nan"): 1})), "stage is nan, and"),
    "a stage of a number": (lambda: Mixture({"a": (WINDOWS, 1)}, stages=wrong({65536: 1})), "stage 65536 is given 1"),
    "no outputs": (lambda: Loader(WINDOWS, 4, outputs=NONE), r"outputs is None, and it is names, .* or \(\) for none"),
    "a number of outputs": (lambda: Loader(WINDOWS, 4, outputs=wrong(5)), "outputs is 5, and it is names"),
    "an output of another kind": (lambda: Loader(WINDOWS, 4, outputs=wrong([[]])), r"outputs has '\[\]', and"),
    "torch's dtype": (lambda: Loader(WINDOWS, 4, dtype=wrong(torch.int64)), "dtype is torch.int64, .* dtype='int64'"),
    "a dtype that is none": (lambda: Loader(WINDOWS, 4, dtype="long64"), "dtype is 'long64', and it is a name"),
    "a document to exclude": (lambda: Loader(WINDOWS, 4).exclude(documents=wrong(3)), r"documents=\[3\]"),
    "a slice of a loader": (lambda: Loader(WINDOWS, 4)[wrong(slice(0, 2))], r"Give \[loader\[step\] for step in"),
    "a store of no path": (lambda: open_store(NONE), r'is None. Give its folder: open_store\("corpus/train"\)'),
    "a folder of no path": (lambda: prepare(iter(["a"]), NONE), 'dest is None, and it is the folder .* "corpus"'),
    "a share as text": (
        lambda: prepare(iter(["a"]), "never", valid_fraction=wrong("0.1")),
        "'0.1', and it is a num",
    ),
    "a cut as text": (
        lambda: STORE.split(wrong("0.1")),
        "valid_fraction is '0.1', and it is a number that lies",
    ),
    "a loader over ids": (lambda: Loader(wrong([1, 2]), 4), r"this is a list. Give Loader\(Windows\(store"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_what_to_write_instead(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mistake, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        mistake()


def test_the_textbook_without_torch_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; import windrow.textbook"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "windrow.textbook gives torch tensors, and torch is not installed. Install it with" in ran.stderr
