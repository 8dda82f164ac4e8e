"""The option `remap`: values of masks that are replaced by others before anything else is decided about a mask."""

from __future__ import annotations

import re
from collections.abc import Mapping

SOURCES = range(-32_768, 65_536)
TARGETS = range(256)
EXAMPLE = "255=1,3=0"


def parsed(text: str) -> dict[int, int]:
    """`255=1,3=0` as what each value becomes.

    Raises:
        ValueError: it is written otherwise, or names a value twice, or one that no mask can have.
    """
    mapping: dict[int, int] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(-?\d{1,9})\s*=\s*(\d{1,9})\s*", part, re.ASCII)
        if not found:
            raise ValueError(f"{part!r} is not VALUE=VALUE; write pairs such as {EXAMPLE}")
        source, target = int(found[1]), int(found[2])
        if source in mapping:
            raise ValueError(f"the value {source} is replaced twice; name it once")
        if source not in SOURCES or target not in TARGETS:
            limits = f"from {SOURCES[0]} to {SOURCES[-1]} can become one from 0 to {TARGETS[-1]}"
            raise ValueError(f"{part.strip()} is out of range: a value {limits}")
        mapping[source] = target
    return mapping


def composed(first: Mapping[int, int], second: Mapping[int, int]) -> str:
    """Two mappings, one after the other, as the option is written."""
    both = dict(second) | {source: second.get(target, target) for source, target in first.items()}
    return "remap=" + ",".join(f"{source}={target}" for source, target in sorted(both.items()))
