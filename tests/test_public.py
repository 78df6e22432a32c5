"""What ``import windrow`` gives, what it loads, and which module may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import windrow
import windrow.errors

PACKAGE = Path(windrow.__file__).parent

# Each room may import from the rooms before it; within a room, from the modules named before.
LAYERS: list[list[str]] = [
    ["errors", "terminal"],
    [
        "cuts",
        "unsettled",
        "bpe",
        "huggingface",
        "tokenizer",
        "member",
        "order",
        "mixture_order",
        "steps",
        "ranks",
        "batch",
        "device",
        "prefetch",
        "meter",
        "quality",
    ],
    ["attention", "cache", "packing"],
    ["manifest", "preparing.sources", "store", "origins"],
    [
        "preparing.streams",
        "preparing.blocks",
        "preparing.parse",
        "preparing.columns",
        "preparing.work",
        "preparing.items",
        "preparing.encoder",
        "preparing.encode",
    ],
    [
        "preparing.workers",
        "preparing.engine",
        "preparing.ray_engine",
        "preparing.sides",
        "preparing.finished",
        "preparing.ledger",
        "preparing.publish",
        "preparing.estimate",
    ],
    [
        "spans",
        "pieces",
        "document_rows",
        "documents",
        "windows",
        "evaluation",
        "exclusions",
        "mixture",
        "explain_html",
        "explain",
        "preparing.prepare",
    ],
    ["draw", "resident", "rows", "making", "state", "torch_loader", "loader"],
    ["model_check"],
    ["map_dataset", "quickstart", "textbook", "gpt", "testing", "curve", "options", "run", "show"],
    ["coverage", "drawn", "plan", "plan_page", "check_subject", "check_store", "check_stream", "check", "cli_audit"],
    ["find_text", "when", "when_page", "trace", "report_data", "report_figures", "report_parts", "report", "cli_see"],
    ["bench", "train_page", "train", "launch", "story", "demo", "prepare_command", "cli", "__main__"],
]
MODULES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__"
]
HEAVY = ["torch", "pyarrow", "tiktoken", "gigatoken", "tokenizers", "numpy"]


def imports_of(path: Path) -> set[str]:
    """Modules of this package that ``path`` imports at run time (not those for type checkers only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("windrow."):
            found.add(node.module.removeprefix("windrow."))
        if isinstance(node, ast.ImportFrom) and node.module == "windrow":
            found |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("windrow.") for a in node.names if a.name.startswith("windrow.")}
    return found


def test_every_module_stands_in_a_layer() -> None:
    listed = [module for layer in LAYERS for module in layer]
    assert sorted(listed) == sorted(MODULES)


def test_modules_import_only_what_stands_before_them() -> None:
    listed = [module for layer in LAYERS for module in layer]
    for place, module in enumerate(listed):
        allowed = set(listed[:place])
        beyond = imports_of(PACKAGE / f"{module.replace('.', '/')}.py") - allowed
        if module == "torch_loader":
            continue  # made by the loader, which it serves
        assert not beyond - ({"torch_loader"} if module == "loader" else set()), f"{module} imports {beyond}"


def test_the_import_guard_sees_an_import_that_goes_up(tmp_path: Path) -> None:
    for text in (
        "from windrow.loader import Loader",
        "def f():\n    from windrow import loader",
        "import windrow.loader",
    ):
        (tmp_path / "order.py").write_text(text, encoding="utf-8")
        assert imports_of(tmp_path / "order.py") == {"loader"}


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
        if isinstance(value, type):
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
