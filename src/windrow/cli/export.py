"""``windrow export``: a store as token files of other tools. One call of the library."""

import json
from pathlib import Path
from typing import Annotated, Literal, Unpack

import typer
from typer import Argument

from windrow.cli import options as o
from windrow.cli.terminal import command
from windrow.shown import visible

__all__ = ["export"]

Out = Annotated[Path, Argument(metavar="OUT", help="What the names of the files begin with.")]
To = Annotated[Literal["megatron", "datatrove"], o.output("Format: megatron or datatrove.", None, flag="--format")]


@command(interrupted="nothing was written.")
def export(store: o.Store, out: Out, to: To, **given: Unpack[o.TokenFiles]) -> None:
    """Write a store as token files for other tools.

    \b
    windrow export corpus/train corpus_text_document --format megatron
    windrow export 'fineweb_train_*.bin' 00000_unshuffled --format datatrove
    """
    from windrow.store.export import export_store
    from windrow.store.opening import open_store

    paths = export_store(open_store(store, **given), out, to)
    for path in paths:
        typer.echo(visible(str(path)))
    for what in json.loads(paths[0].read_bytes())["lost"]:
        typer.echo(f"{to} has no place for the store's {what}: they are not there", err=True)
