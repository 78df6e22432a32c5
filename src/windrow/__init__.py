"""Raw text to the batches that train GPT-like models: every batch is a pure function of (data, recipe, position).

The path: ``prepare`` (text -> tokens -> store) or ``TokenStore.from_ids``, then ``Windows``, then ``Loader``;
``from_text`` is all of it in one call. Names are loaded when they are first used, so that ``import windrow`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from windrow.distribution import __version__ as __version__

if TYPE_CHECKING:
    from windrow.audit.check_model import check_model
    from windrow.audit.plan import plan
    from windrow.batches.batch import Batch
    from windrow.loader.from_text import from_text
    from windrow.loader.loader import Loader
    from windrow.look.explain import explain
    from windrow.look.report import write_report
    from windrow.look.when import sightings
    from windrow.preparing.prepare import prepare
    from windrow.runs.run_file import open_run
    from windrow.store.copying import copy_store
    from windrow.store.export import export_store
    from windrow.store.opening import open_store
    from windrow.store.store import TokenStore
    from windrow.tokens.tokenizer import load_tokenizer
    from windrow.windows.mixture import Mixture
    from windrow.windows.windows import Windows

__all__ = [
    "Batch",
    "Loader",
    "Mixture",
    "TokenStore",
    "Windows",
    "check_model",
    "copy_store",
    "explain",
    "export_store",
    "from_text",
    "load_tokenizer",
    "open_run",
    "open_store",
    "plan",
    "prepare",
    "sightings",
    "write_report",
]

_HOMES = {
    "Batch": "batches.batch",
    "Loader": "loader.loader",
    "Mixture": "windows.mixture",
    "TokenStore": "store.store",
    "Windows": "windows.windows",
    "check_model": "audit.check_model",
    "copy_store": "store.copying",
    "explain": "look.explain",
    "export_store": "store.export",
    "from_text": "loader.from_text",
    "load_tokenizer": "tokens.tokenizer",
    "open_run": "runs.run_file",
    "open_store": "store.opening",
    "plan": "audit.plan",
    "prepare": "preparing.prepare",
    "sightings": "look.when",
    "write_report": "look.report",
}


if not TYPE_CHECKING:  # a checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'windrow' has no attribute {name!r}")
        value = getattr(import_module(f"windrow.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
