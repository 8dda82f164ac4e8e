"""Writes the synchronous client from the asynchronous one: `make client`; `--check` only says whether it is current.

The source is `service/client/asynchronous/`; `waiting` has a twin that is written by hand.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).parent
SOURCE = TARGET / "asynchronous"
BY_HAND = {"__init__", "waiting"}
# What has to be two statements, or a loop, with `async` may stay so without it.
HEADER = "# ruff: noqa: C416, SIM117, UP028\n# Made from {source} by `make client`: change that.\n"
WORDS = {
    r"\bservice\.client\.asynchronous\b": "service.client",
    r"\bawait ": "",
    r"\basync (?=def|with|for)": "",
    r"\bAwaitable\[(\w+)\]": r"\1",
    r"\bAwaitable, ": "",
    r"\bAsync(?=Iterator|Client|BaseTransport)": "",
    r"\b__a(?=enter__|exit__)": "__",
    r"\ba(?=close\(|read\(|iter_bytes\(|iter_lines\()": "",
}


def sources() -> list[Path]:
    """The modules to make others from."""
    return sorted(path for path in SOURCE.glob("*.py") if path.stem not in BY_HAND)


def without_parentheses(text: str) -> str:
    """`(await x).y` as `x.y`: what is not awaited needs none."""
    while found := re.search(r"(?<![\w\])])\(await (?=[^\n]*\)\.)", text):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        text = text[: found.start()] + text[found.end() : end - 1] + text[end:]
    return text


def synchronous(path: Path) -> str:
    """A module without what is asynchronous in it, in the shape that Ruff gives it."""
    text = without_parentheses(path.read_text(encoding="utf-8"))
    for word, other in WORDS.items():
        text = re.sub(word, other, text)
    text = HEADER.format(source=f"asynchronous/{path.name}") + text
    for command in (["check", "--fix", "--quiet", "--exit-zero"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET / path.name), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return text


def main() -> None:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    check = parser.parse_args().check
    made = {TARGET / path.name: synchronous(path) for path in sources()}
    old = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if not check:
            path.write_text(made[path], encoding="utf-8")
    if check and old:
        sys.exit(f"{', '.join(path.name for path in old)}: not what `make client` writes. Run it.")


if __name__ == "__main__":
    main()
