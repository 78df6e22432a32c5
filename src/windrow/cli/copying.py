"""``windrow copy``: a store to where it is far away, and back. One call of the library."""

import time
from typing import Annotated

import typer
from typer import Argument

from windrow.cli.terminal import bytes_progress, command
from windrow.shown import visible

__all__ = ["copy"]

_FAR = "s3://, gs:// or az://."
From = Annotated[str, Argument(metavar="FROM", help=f"A store, a folder of stores, or the URL of a copy: {_FAR}")]
To = Annotated[str, Argument(metavar="TO", help="The URL or the folder to copy it to.")]


@command(interrupted="what was copied stays; run the same command again to go on.")
def copy(source: From, dest: To) -> None:
    """Copy stores to S3, Google Cloud or Azure, and back.

    \b
    windrow copy corpus s3://bucket/corpus
    windrow copy s3://bucket/corpus/train corpus/train
    """
    from windrow.store.copying import copy_store

    done, begun = 0, time.perf_counter()
    with bytes_progress("copying") as show:

        def on_copied(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            show(done)

        stores = copy_store(source, dest, on_copied=on_copied)
    for store in stores:
        typer.echo(visible(store))
    seconds = time.perf_counter() - begun
    typer.echo(f"{done / 1e6:,.1f} MB are there and have their sums, after {seconds:,.1f} s", err=True)
