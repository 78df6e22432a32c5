"""The notebook runs from top to bottom, and its resumed run is the one that was never stopped."""

import importlib.util
import os
from pathlib import Path

import pytest

from conftest import ROOT

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
MISSING = [name for name in ("nbclient", "nbformat", "ipykernel", "torch") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.filterwarnings("ignore")  # the notebook machinery's own
def test_the_notebook_runs_from_top_to_bottom_and_is_kept_without_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(NOTEBOOK.parents[1] / "src")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other on busy cores take minutes
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    NotebookClient(notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    written = "".join(
        "".join(output.get("data", {}).values()) + output.get("text", "")
        for cell in cells
        for output in cell.outputs
        if output.output_type != "error"
    )
    assert "the losses are those of the run that was never stopped: True" in written
    assert '<div class="windrow">' in written
    assert "<svg" in written
    assert "what the model sees (8, 4, 256)" in written
    assert written.count("-  The value of ") == 3
    assert (tmp_path / "report.html").stat().st_size < 300_000
