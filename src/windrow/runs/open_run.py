"""The loader of a run out of its file: what it read, in which order, where it stood.

Guarantee: ``loader[step]`` is what the run trained on at that step. Cost: that of making the loader. It does not do:
anything about a model.
"""

from pathlib import Path
from typing import Any

from windrow.loader.loader import Loader
from windrow.runs.past import read_past
from windrow.runs.run_file import read_run

__all__ = ["open_run"]


def open_run(path: str | Path, state: str | Path | None = None, **machine: Any) -> Loader:
    """The loader of the run at ``path``: a run's folder, the JSON of ``Loader.write_run``, or the same as TOML.

    ``state`` is a file that holds its past, what ``state_dict`` returned: JSON, or a checkpoint of torch with it under
    any key, ``FILE:key`` where it has several; then the loader stands there. ``machine`` is what no file says:
    ``device``, ``dp_rank`` (0 unless given), ``dp_world_size`` (the file's) and ``prefetch`` of ``Loader``. Raises
    ``ResumeError`` for a file that is none, a store that is another, and a state of another run.
    """
    run = read_run(path)
    loader = run.loader(**machine)
    past = run.training.get("state") if state is None else read_past(state)
    if past is not None:
        loader.load_state_dict(past)
    return loader
