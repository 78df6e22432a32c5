"""The reference's pages of names, found in the code: a new public name is on one of them without being put there.

Public is what ``windrow.__all__`` names, what the modules beside the rooms name in theirs unless they are of ``INNER``,
the errors, the doors of ``windrow.trainers``, and what any of these gives back. The code is read, not imported: no page
needs torch or a framework.
"""

from collections.abc import Iterator
from typing import Any

import griffe

__all__ = ["reference_pages"]

INNER = {"arrays", "distribution", "shown", "__main__"}  # modules beside the rooms that are no import paths of users
HEADS = {
    "functions": "Functions of `windrow`",
    "values": "What public names give back\n\nRead their attributes; windrow makes them.",
    "trainers": "windrow.trainers\n\nOne module for each framework; a framework is imported only when you import its "
    "module. [Where people train](../trainers.md) says how to use them.",
}


def reference_pages() -> dict[str, str]:
    """Markdown by the page's name; every public name is on exactly one of them."""
    package = griffe.load("windrow")
    by_page = names_by_page(package)
    pages = {page: page_of(package, page, names) for page, names in by_page.items()}
    return {"names": list_of_names(package, by_page), **pages}


def names_by_page(package: Any) -> dict[str, list[str]]:
    """Public names by page: one for each class of ``windrow``, one for its functions, one for each module."""
    face = [f"windrow.{name}" for name in package.exports]
    classes = [name for name in face if found(package, name).is_class]
    pages = {name.split(".")[1].lower(): [name] for name in classes}
    pages["functions"] = [name for name in face if name not in classes]
    for module in sorted(set(package.modules) - INNER):
        if not package[module].is_init_module:
            pages[module] = exported(package, module)
    doors = package["trainers"].modules
    pages["trainers"] = [name for door in sorted(doors) for name in exported(package, f"trainers.{door}")]
    pages["values"] = given_back(package, [name for names in pages.values() for name in names])
    return pages


def exported(package: Any, module: str) -> list[str]:
    """The names of a module's ``__all__``; of ``errors`` only the errors."""
    names = [f"windrow.{module}.{name}" for name in package[module].exports]
    return [name for name in names if module != "errors" or name.endswith("Error")]


def found(package: Any, name: str) -> Any:
    """What a public name is, where it was defined."""
    member = package[name.removeprefix("windrow.")]
    return member.final_target if member.is_alias else member


def given_back(package: Any, public: list[str]) -> list[str]:
    """Records and protocols that are no public names, and that what is documented of these names returns or holds."""
    known = {found(package, name).path for name in public}
    reached: dict[str, None] = {}
    todo = sorted(known)
    while todo:
        paths = {path for path in mentioned(found(package, todo.pop())) if path.startswith("windrow.")}
        new = [path for path in sorted(paths - known - set(reached)) if is_record(found(package, path))]
        reached |= dict.fromkeys(new)
        todo += new
    return sorted(reached, key=lambda path: path.split(".")[-1])


def is_record(member: Any) -> bool:
    bases = {str(base).split(".")[-1] for base in member.bases} if member.is_class else set()
    return "dataclass" in member.labels or bool(bases & {"NamedTuple", "Protocol"})


def mentioned(member: Any) -> Iterator[str]:
    """The paths of what a function returns, an attribute holds, or the documented members of a class do."""
    if member.is_class:
        for name, inner in member.members.items():
            shown = inner.docstring or (inner.is_attribute and "dataclass" in member.labels)
            if shown and not inner.is_alias and not name.startswith("_"):
                yield from mentioned(inner)
    else:
        kind = member.returns if member.is_function else getattr(member, "annotation", None)
        if isinstance(kind, griffe.Expr):
            yield from (part.canonical_path for part in kind.iterate() if isinstance(part, griffe.ExprName))


def list_of_names(package: Any, by_page: dict[str, list[str]]) -> str:
    """A page of every public name with the first line of its docstring."""
    public = [(name, page) for page, names in by_page.items() if page != "values" for name in names]
    lines = [
        f"[`{name}`]({page}.md#{name})\n:   {found(package, name).docstring.value.splitlines()[0]}"
        for name, page in sorted(public, key=lambda pair: (pair[0].count("."), pair[0]))
        if found(package, name).docstring
    ]
    return "# All names\n\n" + "\n\n".join(lines) + "\n"


def page_of(package: Any, page: str, names: list[str]) -> str:
    """A page that mkdocstrings fills: a heading, what the module says of itself, and the names."""
    if [name.lower() for name in names] == [f"windrow.{page}"]:
        return f"::: {names[0]}\n    options:\n      heading_level: 1\n"
    head = HEADS.get(page) or f"windrow.{page}\n\n{package[page].docstring.value}"
    if page == "values":
        return "\n\n".join([f"# {head}", *(record(found(package, name)) for name in names)]) + "\n"
    return "\n\n".join([f"# {head}", *(f"::: {name}" for name in names)]) + "\n"


def record(member: Any) -> str:
    """A record by its bare name; a NamedTuple's fields are shown one by one, a dataclass's in its signature."""
    fields = "dataclass" not in member.labels
    options = ["show_root_full_path: false", f"show_if_no_docstring: {str(fields).lower()}", 'filters: ["!^_"]']
    return "\n      ".join([f"::: {member.path}\n    options:", *options])
