"""Reads the compose file as Compose does: anchors, variables, what needs what; and what an image's file sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<how>:?[-?])(?P<rest>[^}]*))?\}|(?P<bare>\w+)|)")
DURATION = re.compile(r"(\d+)(s|m)")


class FileError(Exception):
    """The file, or what is beside it, does not say what is needed; says where."""


@dataclass(frozen=True)
class Service:
    """A service of the file, its variables filled in."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: tuple[str, ...]  # empty: it has no check
    health_timeout: float  # seconds
    needs: Mapping[str, str]  # other services, and the condition
    replicas: int
    once: bool
    dockerfile: Path | None


@dataclass
class Interpolation:
    """Fills variables in, and remembers which.

    Attributes:
        values: of the file of variables.
        used: names that were asked for.
    """

    values: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def fill(self, value: Any, where: str) -> Any:
        """A value of the file with its variables filled in, also within lists and mappings.

        Raises:
            FileError: one that is required is not given, or the form is unknown.
        """
        if isinstance(value, dict):
            return {name: self.fill(inner, f"{where}.{name}") for name, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
        return VARIABLE.sub(lambda found: self._one(found, where), value) if isinstance(value, str) else value

    def _one(self, found: re.Match[str], where: str) -> str:
        if found["escaped"]:
            return "$"
        name = found["name"] or found["bare"]
        if not name:
            raise FileError(f"{where}: a single $ in {found.string!r}; write $$")
        self.used.add(name)
        given, how = self.values.get(name), found["how"] or ""
        if given or (given is not None and not how.startswith(":")):
            return given
        if how.endswith("?"):
            raise FileError(f"{where}: {name} is not set: {found['rest']}")
        return str(found["rest"] or "") if how.endswith("-") else ""


def read(path: Path, variables: Interpolation, profiles: Iterable[str]) -> tuple[list[Service], list[str]]:
    """The services of some profiles in an order in which they can start, and the names of the others.

    Raises:
        FileError: it is not a compose file that can be read.
    """
    said = yaml.safe_load(path.read_text())["services"]
    chosen = {
        name: raw for name, raw in said.items() if not raw.get("profiles") or set(raw["profiles"]) & set(profiles)
    }
    services = {name: _service(name, variables.fill(raw, name), path.parent) for name, raw in chosen.items()}
    ordered: list[Service] = []
    while left := [one for one in services.values() if one not in ordered]:
        ready = [one for one in left if all(services.get(name) in ordered for name in one.needs)]
        if not ready:
            raise FileError(f"{[one.name for one in left]} wait for each other, or for what is not there")
        ordered += ready
    return ordered, [name for name in said if name not in chosen]


def _service(name: str, raw: dict[str, Any], folder: Path) -> Service:
    check = raw.get("healthcheck", {})
    test = tuple(check.get("test", ()))
    if test and test[0] != "CMD":
        raise FileError(f"{name}.healthcheck.test: only CMD is understood here, not {test[0]!r}")
    build = raw.get("build")
    return Service(
        name=name,
        image=raw["image"],
        command=tuple(map(str, [*raw.get("entrypoint", ()), *raw.get("command", ())])),
        environment={variable: str(value) for variable, value in raw.get("environment", {}).items()},
        health=test[1:],
        health_timeout=_seconds(check.get("timeout", "30s")),
        needs={needed: how["condition"] for needed, how in raw.get("depends_on", {}).items()},
        replicas=raw.get("deploy", {}).get("replicas", 1),
        once=raw.get("restart") == "no",
        dockerfile=folder / build["context"] / build["dockerfile"] if build else None,
    )


def _seconds(duration: str) -> float:
    found = DURATION.fullmatch(duration)
    if not found:
        raise FileError(f"{duration!r} is no number of seconds or minutes such as 10s")
    return int(found[1]) * (60 if found[2] == "m" else 1)


def image_environment(dockerfile: Path) -> dict[str, str]:
    """The variables that the last stage of an image's file sets."""
    last = dockerfile.read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = [line.removeprefix("ENV ") for line in last.splitlines() if line.startswith("ENV ")]
    return dict(word.split("=", 1) for line in lines for word in line.split())
