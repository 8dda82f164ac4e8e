"""The notebook runs from top to bottom, and comes to something."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.blocks import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell.source for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    for cell in cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)


@pytest.mark.real
@pytest.mark.timeout(900)
def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    )
    assert "72 samples, 18 masks are spoilt" in printed
    corrected = int(printed.split(" corrected, ")[0].split()[-1])
    assert corrected > 6, "twice what chance would find among twelve"
    assert f"SUCCEEDED on version 2 with {corrected} changed labels" in printed
    assert "model.safetensors" in printed
