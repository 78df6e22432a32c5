"""What ``import windrow`` gives, and what it loads."""

import subprocess
import sys
from pathlib import Path

import pytest

import windrow
import windrow.errors

PACKAGE = Path(windrow.__file__).parent

HEAVY = ["torch", "pyarrow", "tiktoken", "gigatoken", "tokenizers", "numpy"]


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert sorted(windrow.__all__) == windrow.__all__
    assert dir(windrow) == windrow.__all__
    assert all(getattr(windrow, name).__doc__ for name in windrow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Sampler'"):
        windrow.Sampler  # noqa: B018 - the access is the test


def test_no_public_name_is_a_modules_name_too() -> None:
    """Or importing the module would put it where the name was: ``windrow.prepare`` would be no function any more."""
    assert set(windrow.__all__).isdisjoint(path.stem for path in PACKAGE.iterdir())


def test_every_error_is_a_value_error_with_a_docstring() -> None:
    for name in windrow.errors.__all__:
        value = getattr(windrow.errors, name)
        if isinstance(value, type) and issubclass(value, BaseException):
            assert issubclass(value, ValueError)
            assert name.endswith("Error")
        assert value.__doc__


def test_importing_windrow_loads_nothing_heavy() -> None:
    code = f"import sys, windrow; print([m for m in {HEAVY} if m in sys.modules])"
    assert _printed(code) == "[]"


def test_the_path_to_numpy_batches_loads_no_torch() -> None:
    code = (
        "import sys, windrow as wr; loader = wr.from_text('a b c d e f g h', tokenizer='bytes', max_length=4, "
        "batch_size=1); next(iter(loader)); print([m for m in ('torch', 'pyarrow', 'tokenizers') if m in sys.modules])"
    )
    assert _printed(code) == "[]"


def _printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
