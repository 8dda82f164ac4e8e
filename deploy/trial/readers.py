"""Whether a variable of the file is read by what it is given to: a misspelt one is not, and nobody would say so."""

from __future__ import annotations

import importlib.util
import mmap
import re
import tempfile
from functools import cache
from pathlib import Path

from deploy.trial.composed import FileError, Service
from deploy.trial.places import ROOT, UNREAD
from service.settings import Settings


class Taken(dict[str, str]):
    """The variables of a service that something else runs for; remembers which of them were read."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.environment)
        self._service = service.name
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        if name not in self:
            raise FileError(f"{self._service}.environment: {name} is missing")
        return super().__getitem__(name)

    def check(self) -> None:
        """Raise `FileError` if one was not read."""
        if unread := self.keys() - self.read - UNREAD.keys():
            raise FileError(f"{self._service}.environment: nothing reads {', '.join(sorted(unread))}")


def check(service: Service) -> None:
    """Raise `FileError` if a variable of a service is read by no program that runs for it."""
    runs_ray = "ray" in service.command[:1]
    for name in service.environment:
        known = name in UNREAD or _in_our_code(name) or (runs_ray and _in_rays(name))
        if not known and not (name == "TMPDIR" and name in Path(tempfile.__file__).read_text()):
            raise FileError(f"{service.name}.environment: nothing reads {name}. Is it misspelt?")


@cache
def _in_our_code(name: str) -> bool:
    if name.removeprefix("DALE_").lower() in Settings.model_fields and name.startswith("DALE_"):
        return True
    quoted = re.compile(rf"[\"']{name}[\"']")
    return any(
        quoted.search(path.read_text()) for room in ("service", "workers") for path in (ROOT / room).rglob("*.py")
    )


@cache
def _in_rays(name: str) -> bool:
    """Whether Ray's code names a variable, Python or built; of gloo's, the library through which workers speak."""
    if name.startswith("GLOO_"):
        return _contains("torch", "lib/libtorch_cpu.so", name)
    # In the programs as they were built, a setting of Ray is the variable's name without RAY_.
    bare = name.removeprefix("RAY_")
    return _contains("ray", "_private/*.py", name) or _contains("ray", "core/src/ray/raylet/raylet", name, bare)


def _contains(package: str, pattern: str, *words: str) -> bool:
    """Whether a file of an installed package has one of these as a word of its own."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    for path in Path(spec.origin).parent.glob(pattern):
        if path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if any(_has_word(content, word.encode()) for word in words):
                    return True
    return False


def _has_word(content: mmap.mmap, word: bytes) -> bool:
    at = content.find(word)
    while at >= 0:
        around = content[at - 1 : at] + content[at + len(word) : at + len(word) + 1]
        if not re.search(rb"\w", around):
            return True
        at = content.find(word, at + 1)
    return False
