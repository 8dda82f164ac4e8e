"""A card as Markdown, with a head in YAML that registries of models read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from service.models.card import Section

# What means something to Markdown, also where it stands for something harmless in most places: text comes from outside.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_FIRST = re.compile(r"^([-+=>]|\d+[.)])")


def document(title: str, head: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """The whole file.

    Args:
        title: of the model.
        head: values of the YAML head, by name; each is written as JSON, which YAML reads alike.
        sections: of the card.
    """
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", "", f"# {plain(title)}"]
    for section in sections:
        lines += ["", f"## {section.title}"]
        for words in section.words:
            lines += ["", plain(words)]
        if section.table:
            first, *rows = section.table
            lines += ["", _row(first), _row(["---"] * len(first), escape=False), *map(_row, rows)]
        if section.code:
            lines += ["", "```python", section.code, "```"]
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    escaped = _SPECIAL.sub(r"\\\1", line)
    return _FIRST.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", escaped)


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return f"| {' | '.join(plain(cell) if escape else cell for cell in cells)} |"
