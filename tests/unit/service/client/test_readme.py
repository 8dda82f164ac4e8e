"""README and guides name only what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.cli import app as commands

ROOT = Path(__file__).parents[4]
README = (ROOT / "README.md").read_text()
TEXTS = README + "".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))


def test_its_commands_and_options_exist() -> None:
    known = dict(typer.main.get_command(commands).commands)  # type: ignore[attr-defined]
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", TEXTS, re.DOTALL))
    for group in ("keys", "projects", "review", "models", "cross-validations"):
        known |= {f"{group} {name}": command for name, command in known[group].commands.items()}
    used = re.findall(
        r"^(?:\S*bin/)?dale ((?:keys |projects |review |models |cross-validations )?[\w-]+)(.*?)(?:#|$)",
        shell,
        re.MULTILINE,
    )
    assert {name for name, _ in used} >= {"serve", "login", "upload", "train", "samples", "fetch"}
    for name, rest in used:
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in shlex.split(rest) if word.startswith("--")} <= options, name


def test_its_addresses_exist(client: TestClient, app: FastAPI) -> None:
    paths = {path.split("?")[0] for path in re.findall(r"\$DALE(/v1/[^\"\s]*)", TEXTS)}
    assert len(paths) >= 8
    routes = [re.sub(r"\{\w+\}", "[^/]+", path) for path in app.openapi()["paths"]]
    for path in paths:
        assert any(re.fullmatch(route, path) for route in routes), path


def test_its_files_and_targets_exist() -> None:
    for path in re.findall(r"\]\((docs/[^)]+)\)", README) + re.findall(
        r"`((?:dale|workers|service|tests)/\S*?)`", README
    ):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake (\w+)(?:`|  |\s+DATA|$)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
