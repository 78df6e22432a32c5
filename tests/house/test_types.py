"""What a type checker tells a user: the types of the few calls that everybody makes, and of mistakes in them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import windrow
from conftest import ROOT

RIGHT = """
from pathlib import Path
from typing import Any

import numpy as np
import windrow as wr

stores = wr.prepare("texts", Path("corpus"), tokenizer="gpt2", valid_fraction=0.1)
reveal_type(stores["train"].num_tokens)
windows = wr.Windows(stores["train"], max_length=256, policy="pack", documents="epoch")
reveal_type(windows.num_samples)
mixture = wr.Mixture({"web": (windows, 0.8), "code": (windows, 0.2)})
loader = wr.Loader(mixture, batch_size=8, seed=1337, device="cpu", dtype=np.int32, outputs=("cu_seqlens",))
reveal_type(loader.batch_size)
state: dict[str, int | str] = loader.state_dict()
loader.load_state_dict(state)
for batch in loader:
    reveal_type(batch.num_targets)
    inputs, targets = batch
tokenizer = wr.load_tokenizer("gpt2")
reveal_type(tokenizer.eos_id)
reveal_type(wr.from_text("hay", max_length=4, batch_size=1))
"""
REVEALED = ["int", "int", "int", "int", "int", "Loader"]
WRONG = {
    "a misspelt argument": "wr.Windows(store, max_lenght=256)",
    "a policy that there is not": 'wr.Windows(store, max_length=256, policy="best")',
    "a folder for a store": 'wr.Windows("corpus/train", max_length=256)',
    "windows without a size": "wr.Windows(store)",
    "a name that there is not": "wr.Sampler(store)",
}
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", f"--cache-dir={ROOT / '.mypy_cache'}"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(windrow.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_calls_have_their_types_and_each_wrong_one_is_an_error(checker: str, tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT, encoding="utf-8")
    head = "import windrow as wr\n\nstore = wr.open_store('corpus/train')\n"
    (tmp_path / "wrong.py").write_text(head + "\n".join(WRONG.values()) + "\n", encoding="utf-8")
    said = what_it_says(checker, tmp_path)
    revealed = re.findall(r'right\.py.*(?:Revealed type is|Type of ".*" is) "(.*)"', said)
    assert [name.removeprefix("builtins.").split(".")[-1] for name in revealed] == REVEALED, said
    errors = re.findall(r"(\w+)\.py:(\d+)(?::\d+)?(?: -|:) error", said)
    assert {(name, int(line)) for name, line in errors} == {("wrong", 4 + place) for place in range(len(WRONG))}, said


def what_it_says(checker: str, folder: Path) -> str:
    """The words of ``checker`` on a user's two files, in the user's own folder."""
    if not shutil.which(CHECKERS[checker][0]):
        pytest.skip(f"{checker} is not installed")
    command = [*CHECKERS[checker], "right.py", "wrong.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110).stdout
