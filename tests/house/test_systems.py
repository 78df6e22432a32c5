"""What only some systems have is named in one place, text has an encoding, and no process is forked."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import windrow

PACKAGE = Path(windrow.__file__).parent
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "system.py"]
MODULES = {"fcntl", "resource", "msvcrt", "winreg", "signal", "termios", "pwd", "grp", "multiprocessing"}
ATTRIBUTES = {
    *("posix_fadvise", "madvise", "sched_getaffinity", "sched_setaffinity", "process_cpu_count", "cpu_count"),
    *("fork", "forkpty", "register_at_fork", "killpg", "setsid", "getuid", "geteuid", "mkfifo"),
    *("sysconf", "statvfs", "uname", "O_DIRECTORY", "O_NOFOLLOW", "O_DIRECT", "O_CLOEXEC", "O_BINARY"),
    *("platform", "set_start_method", "get_context"),
}
KEYWORDS = {"dir_fd", "preexec_fn", "process_group", "start_new_session", "creationflags", "trackfd"}
WORDS = {"fork", "forkserver"}
OPENS_TEXT = {"open", "read_text", "write_text", "fdopen", "TextIOWrapper"}


def of_some_systems(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from [str(node.module)] if str(node.module).split(".")[0] in MODULES else []
            yield from (name.name for name in node.names if name.name in ATTRIBUTES)
        elif isinstance(node, ast.Attribute):
            yield from [node.attr] if node.attr in ATTRIBUTES or ast.unparse(node) == "os.name" else []
        elif isinstance(node, ast.keyword):
            yield from [node.arg] if node.arg in KEYWORDS else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from [node.value] if node.value in WORDS or node.value.startswith(("/proc", "/sys/", "/dev/")) else []


def text_without_encoding(tree: ast.Module) -> Iterator[str]:
    """Calls that read text in the encoding of the place, or write it with the line ends of the place."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(node.func).split(".")[-1]
        words = {word.arg for word in node.keywords}
        modes = "".join(str(arg.value) for arg in node.args[1:2] if isinstance(arg, ast.Constant))
        of_ours = isinstance(node.func, ast.Attribute) == (name == "open")  # a store, an item; a function of that name
        if name not in OPENS_TEXT or of_ours or "b" in modes:
            continue
        wanted = {"encoding", "newline"} if name == "write_text" or {*modes} & {*"wax"} else {"encoding"}
        if not wanted <= words:
            yield ast.unparse(node)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_the_module_for_it_names_what_some_systems_lack(path: Path) -> None:
    assert [*of_some_systems(ast.parse(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_text_is_read_and_written_the_same_on_every_system(path: Path) -> None:
    assert [*text_without_encoding(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_the_module_for_it_names_all_that_it_must() -> None:
    assert len({*of_some_systems(ast.parse((PACKAGE / "system.py").read_text(encoding="utf-8")))}) > 5


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "def f():\n    from resource import getrusage",
        "import torch.multiprocessing as mp\nmp.get_context(method)",
        "mp.Process(context='fork')",
        "from os import fork",
        "os.posix_fadvise(file, 0, 0, 4)",
        "if os.name == 'nt':\n    pass",
        "os.open(name, flags, dir_fd=folder)",
        "open(f'/proc/{pid}/statm', 'rb')",
    ],
)
def test_the_guard_sees_what_some_systems_lack(line: str) -> None:
    assert [*of_some_systems(ast.parse(line))]


@pytest.mark.parametrize(
    "call", ["open(path)", "open(path, 'w', encoding='utf-8')", "path.write_text(text)", "io.TextIOWrapper(file)"]
)
def test_the_guard_sees_text_of_the_place(call: str) -> None:
    assert [*text_without_encoding(ast.parse(call))] == [call]
    assert not [*text_without_encoding(ast.parse("open(path, 'rb')\npath.read_text(encoding='utf-8')"))]
