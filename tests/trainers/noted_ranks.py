"""Runs a program on each rank of torchrun, notes the rows of every batch that a loader gives, and may end one rank.

Run: torchrun ... noted_ranks.py FOLDER SIGNAL RANK STEP PROGRAM ARGUMENT...    (SIGNAL 0 ends none)
"""

import json
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

from trainer_helpers import digest
from windrow import Batch, Loader
from windrow.cli.main import main

folder, number, *end, program = sys.argv[1:6]
rank = os.environ["RANK"]
sys.argv = sys.argv[5:]
batches = Loader.__iter__


def noted(loader: Loader) -> Iterator[Batch]:
    for batch in batches(loader):
        step = loader.step - 1
        rows = [digest(*row) for row in zip(*batch, strict=True)]
        with open(Path(folder, f"{rank}.jsonl"), "a") as file:
            file.write(json.dumps([step, rows]) + "\n")
        if end == [rank, str(step)]:
            os.kill(os.getpid(), int(number))
        yield batch


Loader.__iter__ = noted  # type: ignore[method-assign]
if program == "windrow":
    main()
else:
    runpy.run_path(program, run_name="__main__")
