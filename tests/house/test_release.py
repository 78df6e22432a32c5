"""What a release is made of: its version and metadata, what is locked, and the files that a project has."""

import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT
from windrow.distribution import DISTRIBUTION, __version__


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(text_of("pyproject.toml"))["project"]
    return table


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    assert re.findall(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE)[0] == __version__


def test_the_metadata_says_whose_it_is_and_for_whom() -> None:
    assert project()["authors"] == [{"name": "the windrow developers"}]
    said = " ".join(project()["classifiers"])
    assert all(words in said for words in ("Intended Audience", "Operating System", "Topic", "Typing :: Typed"))


def test_every_python_of_the_metadata_is_tested_on_three_systems() -> None:
    matrix = yaml.safe_load(text_of(".github/workflows/tests.yml"))["jobs"]["tests"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    said = [name.split()[-1] for name in project()["classifiers"] if re.search(r"Python :: \d\.\d+$", name)]
    assert set(said) <= set(matrix["python"])
    assert project()["requires-python"] == f">={matrix['python'][0]}"


def test_every_action_is_pinned_by_a_hash_with_its_version_beside_it() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github").rglob("*.yml"))
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert len(used) > 10
    own = {name for name, _ in used if name.startswith("./")}
    assert all((ROOT / name).exists() for name in own)
    pins = {name.split("@")[0]: (name, note) for name, note in used if name not in own}
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) for name, _ in pins.values())
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", note) for _, note in pins.values())
    assert {pair for pair in used if pair[0] not in own} == set(pins.values()), "one action, two versions"


def test_a_tag_is_refused_until_version_changelog_and_address_are_those_of_a_release(tmp_path: Path) -> None:
    check_tag = script("check_tag")
    for name in (*check_tag.ADDRESSED, "src/windrow/distribution.py", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(
            text_of(name).replace(check_tag.PLACEHOLDER, "://hay.example/me/"), encoding="utf-8"
        )
    log = tmp_path / "CHANGELOG.md"
    log.write_text(f"# Changelog\n\n## {__version__} (2026-12-01)\n", encoding="utf-8")
    assert check_tag.reasons(f"v{__version__}", tmp_path) == []
    assert "The tag is 9.9" in "".join(check_tag.reasons("9.9", tmp_path))
    log.write_text(f"## {__version__} (unreleased)\n", encoding="utf-8")
    assert "(unreleased)" in "".join(check_tag.reasons(f"v{__version__}", tmp_path))
    (tmp_path / "CITATION.cff").write_text(f"https{check_tag.PLACEHOLDER}windrow", encoding="utf-8")
    assert "CITATION.cff names HOST/OWNER" in "".join(check_tag.reasons(f"v{__version__}", tmp_path))


def test_only_the_code_and_the_changelog_say_the_version() -> None:
    for name in ("CITATION.cff", "README.md", "SECURITY.md", "pyproject.toml"):
        assert not re.findall(rf"\b{re.escape(__version__)}\b", text_of(name)), name


def test_what_a_newcomer_looks_for_is_there_and_linked_from_the_page_on_contributing() -> None:
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md"):
        assert f"({name})" in text_of("CONTRIBUTING.md")
    for name in ("CITATION.cff", "LICENSE", ".github/PULL_REQUEST_TEMPLATE.md", ".github/ISSUE_TEMPLATE/bug.yml"):
        assert text_of(name)


# -- what is locked ------------------------------------------------------------------------------------------------


def wanted(extra: str) -> Iterator[Requirement]:
    """What ``extra`` asks for, with what it asks for through other extras."""
    for line in project()["optional-dependencies"][extra]:
        asked = Requirement(line)
        if asked.name == DISTRIBUTION:
            yield from chain.from_iterable(wanted(other) for other in asked.extras)
        else:
            yield asked


def locked() -> dict[str, list[Requirement]]:
    """The pins of requirements-dev.txt, by name; a package may have several, for several Pythons."""
    pins = defaultdict(list)
    for line in re.findall(r"^(\w.*?) \\$", text_of("requirements-dev.txt"), re.MULTILINE):
        pins[canonicalize_name(Requirement(line).name)].append(Requirement(line))
    return pins


def test_what_the_tests_need_is_locked_but_for_torch() -> None:
    pins = locked()
    asked = [*map(Requirement, project()["dependencies"]), *wanted("dev")]
    assert [one.name for one in asked if canonicalize_name(one.name) not in pins] == ["torch"], "make lock"
    for one in asked:
        for pin in pins[canonicalize_name(one.name)]:
            (version,) = (part.version for part in pin.specifier)
            assert one.specifier.contains(version), f"make lock: {one} and {pin}"


def test_what_is_locked_has_hashes_and_names_no_place_to_get_it_from() -> None:
    text = text_of("requirements-dev.txt")
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == sum(map(len, locked().values()))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert set(re.findall(r"--[a-z-]+", text)) == {"--hash"}


# -- the wheel, as users get it ------------------------------------------------------------------------------------


def pack(folder: Path, wheel_bytes: int, names: Iterable[str]) -> None:
    """A folder ``dist`` with a wheel of that size, and an sdist that holds empty files of these names."""
    (folder / "dist").mkdir()
    (folder / "dist" / "hay-1.0.0-py3-none-any.whl").write_bytes(bytes(wheel_bytes))
    with tarfile.open(folder / "dist" / "hay-1.0.0.tar.gz", "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"hay-1.0.0/{name}"))


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("check_release")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "WORK", tmp_path / "work")
    return module


def test_a_wheel_of_a_megabyte_and_an_sdist_without_tests_are_refused(release: ModuleType, tmp_path: Path) -> None:
    for size, names, said in (
        (1_000_000, release.GOLDEN, "1,000,000 are the most"),
        (999_999, release.GOLDEN[:1], "has not the tests"),
    ):
        folder = tmp_path / str(size)
        folder.mkdir()
        release.ROOT = folder
        pack(folder, size, names)
        with pytest.raises(SystemExit, match=said):
            release.checked_files()


def test_a_wheel_below_a_megabyte_and_an_sdist_with_tests_pass(release: ModuleType, tmp_path: Path) -> None:
    pack(tmp_path, 999_999, release.GOLDEN)
    wheel, sources = release.checked_files()
    assert wheel.exists()
    assert (sources / release.GOLDEN[0]).exists()


def test_a_command_that_ends_otherwise_than_expected_is_shown_with_what_it_said(release: ModuleType) -> None:
    ends = {code: (sys.executable, "-c", f"print('hay'); raise SystemExit({code})") for code in (0, 3)}
    assert release.run(ROOT, *ends[0]) == release.run(ROOT, *ends[3], fails=True) == "hay\n"
    for code, fails in ((0, True), (3, False)):
        with pytest.raises(SystemExit, match=f"ended with {code}:\nhay"):
            release.run(ROOT, *ends[code], fails=fails)


def test_every_extra_has_a_first_use_and_all_give_the_same_tokens_and_batches(tmp_path: Path) -> None:
    first_use = script("first_use")
    extras = script("check_release").extras_of(ROOT / "pyproject.toml")
    assert not [name for name in extras if not hasattr(first_use, f"of_{name}")], "scripts/first_use.py tries each"
    packages = {"torch": "torch", "fast": "gigatoken", "hf": "tokenizers", "io": "pyarrow", "cloud": "obstore"}
    here = [name for name, package in packages.items() if importlib.util.find_spec(package)]
    command = [sys.executable, ROOT / "scripts" / "first_use.py", *here]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1
