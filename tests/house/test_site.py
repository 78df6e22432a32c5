"""The site: every public name and command is on it, every link leads somewhere, nothing is fetched from elsewhere.

It is built where Zensical is installed: in this environment, or in the one that ``make site`` makes.
"""

import ast
import functools
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest
import typer.main

from conftest import ROOT

PACKAGE = ROOT / "src" / "windrow"
INNER = {"arrays", "distribution", "shown"}  # beside the rooms, and no import paths of users
DOCS = ROOT / ".venv-docs" / "bin" / "python"
PYTHON = Path(sys.executable) if importlib.util.find_spec("zensical") else DOCS
LOADING = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}


class Page(HTMLParser):
    """The anchors of a page, the addresses that it links to, and those that a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links, self.loads = set[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        self.anchors |= {of[name] for name in ("id", "name") if name in of}
        self.links += [of["href"]] if tag == "a" and "href" in of else []
        loads = [of[name] for name in ("src", "data", "poster", "srcset") if name in of]
        loads += [of["href"]] if tag == "link" and LOADING & set(of.get("rel", "").split()) else []
        self.loads += [*loads, *in_styles(of.get("style", ""))]

    def handle_data(self, data: str) -> None:
        self.loads += in_styles(data) if self.lasttag == "style" else []


def in_styles(text: str) -> list[str]:
    """The addresses that a style sheet loads."""
    return re.findall(r"""url\(\s*["']?([^"')]+)""", text) + re.findall(r"""@import\s+["']([^"']+)""", text)


def outside(addresses: list[str]) -> list[str]:
    return [
        address for address in addresses if re.match(r"\s*(?!data:)([a-z][a-z0-9+.-]*:|//)", address, re.IGNORECASE)
    ]


def target(page: str, link: str) -> tuple[str, str]:
    """The file of the site that a link of ``page`` leads to, and the anchor in it."""
    path, anchor = urldefrag(urljoin(f"/{page}", unquote(link)))
    return path[1:] + ("index.html" if path.endswith("/") else ""), anchor


def broken(pages: dict[str, Page], files: set[str]) -> list[str]:
    """The links of ``pages`` to files or anchors of the site that are not there."""
    wrong = []
    for name, page in pages.items():
        for link in page.links:
            path, anchor = target(name, link)
            there = path in files and (not anchor or path not in pages or anchor in pages[path].anchors)
            wrong += [] if there or outside([link]) else [f"{name}: {link}"]
    return wrong


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, without a warning."""
    if not PYTHON.exists():
        pytest.skip("Zensical is not installed; `make site` installs it in .venv-docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([PYTHON, ROOT / "scripts" / "make_site.py", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "griffe" not in done.stderr, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    paths = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {str(path.relative_to(site)): Page(path.read_text(encoding="utf-8")) for path in paths}


def names_in(path: Path) -> list[str]:
    """The ``__all__`` of a module, which need not be importable here."""
    found = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)]
    lists = [ast.literal_eval(node.value) for node in found if ast.unparse(node.targets[0]) == "__all__"]
    return [name for names in lists for name in names]


def public_names() -> Iterator[str]:
    yield from (f"windrow.{name}" for name in names_in(PACKAGE / "__init__.py"))
    modules = [path for path in PACKAGE.glob("*.py") if path.stem not in INNER and not path.stem.startswith("__")]
    for path in [*modules, *(PACKAGE / "trainers").glob("[a-z]*.py")]:
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        errors_only = [name for name in names_in(path) if path.stem != "errors" or name.endswith("Error")]
        yield from (f"{module}.{name}" for name in errors_only)


def test_every_public_name_has_its_place_in_the_reference(pages: dict[str, Page]) -> None:
    there = {anchor for name, page in pages.items() if name.startswith("docs/reference/") for anchor in page.anchors}
    assert len(set(public_names())) > 40
    assert not set(public_names()) - there


def test_every_command_and_every_flag_has_its_place_in_the_reference(site: Path) -> None:
    from windrow.cli.main import app

    text = (site / "docs" / "reference" / "commands.html").read_text(encoding="utf-8")
    program: Any = typer.main.get_command(app)
    sections = dict(zip(program.commands, re.split(r'<h2 id="windrow-\w+"', text)[1:], strict=True))
    for name, command in program.commands.items():
        flags = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
        codes = " ".join(re.findall("<code>(.*?)</code>", sections[name]))
        assert not flags - set(re.split("[ ,]+", codes)), name


def test_every_link_and_every_anchor_of_the_site_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    files = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert sum(len(page.links) for page in pages.values()) > 1_000
    assert not broken(pages, files)


def test_every_page_is_reached_from_the_first(pages: dict[str, Page]) -> None:
    reached, todo = {"index.html"}, ["index.html"]
    while todo:
        name = todo.pop()
        linked = {target(name, link)[0] for link in pages[name].links} & (set(pages) - reached)
        reached |= linked
        todo += linked
    assert reached == set(pages)


def test_no_page_and_no_style_loads_anything_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    styles = [address for path in site.rglob("*.css") for address in in_styles(path.read_text(encoding="utf-8"))]
    assert not outside(styles)
    assert not {name: outside(page.loads) for name, page in pages.items() if outside(page.loads)}


@pytest.mark.parametrize(
    "wrong",
    [
        '<script src="https://a.example/b.js"></script>',
        '<img src="//a.example/b.png">',
        '<img srcset="HTTPS://a.example/b.png 2x">',
        '<link rel="stylesheet" href="https://a.example/b.css">',
        '<link rel="preconnect" href="https://a.example">',
        '<style>@import "https://a.example/b.css"</style>',
        '<p style="background: url(https://a.example/b.png)">',
    ],
)
def test_the_guard_sees_what_is_loaded_from_elsewhere(wrong: str) -> None:
    assert outside(Page(wrong).loads)


@pytest.mark.parametrize("right", ['<a href="https://a.example">', '<img src="data:,">', '<script src="../a.js">'])
def test_the_guard_lets_links_and_files_of_the_site_pass(right: str) -> None:
    assert not outside(Page(right).loads)


def test_the_guard_sees_a_link_to_a_page_or_an_anchor_that_is_not_there() -> None:
    pages = {"a.html": Page('<a href="b/c.html#there"><a href="b/c.html#not"><a href="d.html"><a href="#not">')}
    pages["b/c.html"] = Page('<p id="there"><a href="../a.html">')
    assert broken(pages, set(pages)) == ["a.html: b/c.html#not", "a.html: d.html", "a.html: #not"]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_every_page_loads_in_silence_and_fits_a_phone(browser: Any, address: str, pages: dict[str, Page]) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.extend([] if request.url.startswith(address) else [request.url]))
    for name in sorted(pages):
        page.goto(address + name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    assert not problems
    context.close()


@pytest.mark.parametrize(("wanted", "scheme"), [("light", "default"), ("dark", "slate")])
def test_a_page_is_light_or_dark_as_the_reader_wants_it(browser: Any, address: str, wanted: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=wanted)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.body.dataset.mdColorScheme") == scheme
    context.close()


def test_search_finds_a_name_by_its_letters(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.locator("dialog input").wait_for(state="attached")  # the page has made its search
    page.locator(".md-search__button").click()
    page.locator("dialog input").fill("load_state_dict")
    page.locator("dialog a[role=option][href*='reference/loader.html']").first.wait_for()
    context.close()
