"""The notebook as a page, without outputs."""

from __future__ import annotations

import json
from pathlib import Path


def page(notebook: Path) -> str:
    """Markdown of its cells, and where the file is."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    parts = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    title, rest = parts[0].split("\n", maxsplit=1)
    return "\n\n".join([title, f"[The notebook]({notebook.name}) itself, to be run.", rest, *parts[1:]]) + "\n"


def _cell(kind: str, source: str) -> str:
    return f"```python\n{source}\n```" if kind == "code" else source
