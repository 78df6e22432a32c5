"""The house: rooms in one line, no circles, no reaching over a wall, one meaning a name."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import windrow

PACKAGE = Path(windrow.__file__).parent

# A room imports only what is named before it; rooms between two "<" know nothing of each other.
LINE = (
    "arrays, distribution, errors, shown, system, gpt, quality, testing < order < tokens < far < text, store "
    "< windows, preparing < batches < loader < runs, textbook, trainers < audit < look < training < cli"
)
FLOORS = {room: floor for floor, rooms in enumerate(LINE.split(" < ")) for room in rooms.split(", ")}
# The rooms and files that import torch when they run; the others run without it.
TORCH = {"batches", "gpt", "textbook", "training", "trainers", "runs", "audit.check_model", "cli.demo"}
TUPLE_METHODS = {"_asdict", "_fields", "_make", "_replace"}  # public, of every NamedTuple
OTHERS = {"_mergeable_ranks", "_pat_str", "_special_tokens", "_exit"}  # what tiktoken and os have no other name for
MOST_LINES = 350

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
}
INITS = sorted(path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, *, of_types: bool = True) -> Iterator[str]:
    """Every module that ``path`` imports, wherever the import stands; not those for type checkers only, if asked so."""
    tree = tree_of(path)
    for node in ast.walk(tree):
        if not of_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides where it leads"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name.removeprefix("windrow.") in MODULES else str(node.module) for name in inner)


def inner_imports(path: Path, *, of_types: bool = True) -> set[str]:
    found = imports_of(path, of_types=of_types)
    return {name.removeprefix("windrow.") for name in found if name.startswith("windrow.")}


def room_of(module: str) -> str:
    return module.split(".")[0]


def circles(arrows: dict[str, set[str]]) -> set[str]:
    """The modules that lead back to themselves."""
    reached = {module: set(to) for module, to in arrows.items()}
    for _ in arrows:
        reached = {m: to.union(*(reached.get(other, set()) for other in to)) for m, to in reached.items()}
    return {module for module, to in reached.items() if module in to}


def defined_in(tree: ast.Module) -> set[str]:
    """Names of functions and methods, and of attributes of ``self`` and of classes, that a module defines."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name))
    targets = (node for node in stored if isinstance(node.ctx, ast.Store))
    names |= {node.id if isinstance(node, ast.Name) else node.attr for node in targets}
    return names


def reaches_of(path: Path) -> set[str]:
    """``x._name`` that this module does not define itself, and ``from module import _name``."""
    tree = tree_of(path)
    known = defined_in(tree) | TUPLE_METHODS | OTHERS
    attributes = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    imported = (a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names)
    private = {name for name in chain(attributes, imported) if name.startswith("_") and not name.startswith("__")}
    return private - known


def test_every_module_is_in_a_room_of_the_line() -> None:
    assert {room_of(module) for module in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_rooms_before_it(module: str) -> None:
    here = room_of(module)
    allowed = {room for room, floor in FLOORS.items() if floor < FLOORS[here]} | {here}
    if FLOORS[here] == 0:
        allowed = set(FLOORS) & {room for room, floor in FLOORS.items() if floor == 0}
    assert {room_of(other) for other in inner_imports(MODULES[module])} <= allowed


def test_no_module_leads_back_to_itself_not_even_by_types() -> None:
    assert not circles({module: inner_imports(path) for module, path in MODULES.items()})


@pytest.mark.parametrize("module", MODULES)
def test_nobody_inside_imports_the_public_face(module: str) -> None:
    assert "windrow" not in set(imports_of(MODULES[module]))


@pytest.mark.parametrize("module", MODULES)
def test_nobody_reaches_for_the_private_names_of_another_module(module: str) -> None:
    assert not reaches_of(MODULES[module])


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_imported_only_where_it_is_the_matter(module: str) -> None:
    of_torch = {name for name in imports_of(MODULES[module], of_types=False) if name.split(".")[0] == "torch"}
    assert not of_torch or {module, room_of(module)} & TORCH


def test_no_public_class_name_occurs_twice() -> None:
    homes = defaultdict(list)
    for module, path in MODULES.items():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_short_enough_to_be_read_at_once(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", INITS, ids=lambda path: path.parent.name)
def test_a_room_says_what_enters_leaves_and_is_unknown_to_it_and_imports_nothing(path: Path) -> None:
    (only,) = tree_of(path).body
    assert isinstance(only, ast.Expr)
    text = " ".join(str(ast.literal_eval(only.value)).split())
    assert "What enters" in text
    assert "What leaves" in text
    assert any(words in text for words in ("may not know", "moves no position", "computes nothing"))


# -- the guards themselves -----------------------------------------------------------------------------------------


def test_the_guard_sees_imports_wherever_they_stand(tmp_path: Path) -> None:
    for text in (
        "from windrow.loader.loader import Loader",
        "def f():\n    from windrow.loader import loader",
        "import windrow.loader.loader",
        "if TYPE_CHECKING:\n    from windrow.loader.loader import Loader",
    ):
        (tmp_path / "order.py").write_text(text, encoding="utf-8")
        assert inner_imports(tmp_path / "order.py") == {"loader.loader"}, text
    assert not inner_imports(tmp_path / "order.py", of_types=False)


def test_the_guard_sees_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a", "b", "c"}


def test_the_guard_sees_a_private_reach(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from b import _c\nclass A:\n    def f(self, x):\n        self._own = x._d\n")
    assert reaches_of(tmp_path / "a.py") == {"_c", "_d"}
