"""The code blocks of the documents, and which of them say that they are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = ("sh", "python")
SHOWN = ("text", "yaml", "ini", "json", "toml")  # what a reader looks at or copies into a file

_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int  # of its first line of code, counted from 1
    language: str
    code: str
    not_run: str  # the reason; empty: it is run


def pages() -> list[Path]:
    """Every document that people read: README and the pages of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """`docs/http.md`."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page in their order; a comment `not run: reason` on the line before marks one."""
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        mark = _NOT_RUN.fullmatch(lines[opened - 1]) if opened else None
        code = "\n".join(lines[opened + 1 : number])
        yield Block(name(page), opened + 2, lines[opened][3:].strip(), code, mark[1] if mark else "")
        opened = None
