"""How documents are found in sources, and what is written around them: the part of the recipe for each document.

Guarantee: keys, choices and names that do not go together raise ``ValueError`` before anything is read.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

__all__ = ["FORM_REMEDY", "Boundary", "Form", "Reading"]

Form = Literal["text", "jsonl", "json", "parquet", "arrow"]
Boundary = Literal["eos", "bos", "both", "none"]
FORM_REMEDY = f"Or say what it is with form= (--form): {', '.join(get_args(Form)[:-1])} or {get_args(Form)[-1]}."
_CHOICES = {
    "literal_eos": ("text", "split", "special", "error"),
    "on_error": ("raise", "skip"),
    "form": (None, *get_args(Form)),
    "boundary": get_args(Boundary),
}
_KEYS = ("text_key", "parts_key", "ids_key", "mask_key")
_UNSAID: dict[str, Any] = {"keep": [], "parts_key": None, "ids_key": None, "mask_key": None, "boundary": "eos"}


@dataclass(frozen=True)
class Reading:
    """What a recipe says of documents.

    ``literal_eos`` is what a literal ``<|endoftext|>`` in text means: text | split | special | error. ``form`` is that
    of all sources, whatever their names; it and the keys are None unless given. ``keep`` names the fields of rows whose
    values are kept beside the tokens. A document is a text, or with a ``parts_key`` texts of which some count, or with
    an ``ids_key`` tokens, of which the ``mask_key`` says which count. ``boundary`` is "eos" unless given, with an
    ``ids_key`` "none".
    """

    text_key: str | None = None
    separator: str | None = None
    literal_eos: str = "text"
    on_error: str = "raise"
    form: Form | None = None
    keep: Sequence[str] = ()
    parts_key: str | None = None
    ids_key: str | None = None
    mask_key: str | None = None
    boundary: Boundary | None = None

    def __post_init__(self) -> None:
        if self.boundary is None:
            object.__setattr__(self, "boundary", "eos" if self.ids_key is None else "none")
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {value!r}, and it is one of {', '.join(map(repr, allowed))}")
        if self.separator is not None and (not self.separator or "\n" in self.separator):
            raise ValueError(f"separator is {self.separator!r}, and it is one line of text, without its line break")
        self._require_keys()
        self._require_names()
        object.__setattr__(self, "keep", tuple(map(str, self.keep)))  # readings are keys of caches

    def _require_keys(self) -> None:
        first, *others = self.keys
        if others and (first, *others) != ("ids_key", "mask_key"):
            raise ValueError(
                f"{others[-1]} is given with {first}, and a document is a text, parts, or ids and their mask. Give "
                "text_key, or parts_key, or ids_key with or without a mask_key"
            )
        if first == "mask_key":
            raise ValueError("mask_key is given and says which ids count, but no ids_key says where the ids are")
        if first != "text_key" and self.literal_eos != "text":
            raise ValueError(
                f"literal_eos is {self.literal_eos!r}, and with {first} a literal eos is text. Leave it out"
            )

    def _require_names(self) -> None:
        """``keep`` is a list of names, none of them twice or a key; and what is looked for in UTF-8 is UTF-8."""
        keys = [*self.keys.values()]
        if not isinstance(self.keep, (list, tuple)) or len({*self.keep, *keys, ""}) <= len(self.keep) + len(keys):
            raise ValueError(
                f"keep is {self.keep!r}, and it is a list of names of fields, each once, and no key of a document"
            )
        keep = [("keep", name) for name in self.keep]
        for name, text in (("separator", self.separator or ""), *self.keys.items(), *keep):
            if text.encode("utf-8", "replace") != text.encode("utf-8", "surrogateescape"):
                raise ValueError(f"{name} is {text!r}, which is not UTF-8, and texts are. Give it as UTF-8")

    @property
    def keys(self) -> dict[str, str]:
        """Where a document is in an object or a table: its text, its parts, or its ids and their mask."""
        return {name: key for name in _KEYS if (key := getattr(self, name)) is not None} or {"text_key": "text"}

    @property
    def has_rows(self) -> bool:
        """Whether documents are parts or ids."""
        return "text_key" not in self.keys

    @property
    def has_counts(self) -> bool:
        """Whether documents tell which of their tokens count."""
        return self.parts_key is not None or self.mask_key is not None

    @property
    def recipe(self) -> dict[str, Any]:
        """What stores and unfinished work keep of it. The form is kept with each source, and see ``told_form``."""
        fields = asdict(self) | {"keep": [*self.keep], "text_key": self.keys.get("text_key", "text")}
        del fields["form"]
        return {name: value for name, value in fields.items() if name not in _UNSAID or value != _UNSAID[name]}
