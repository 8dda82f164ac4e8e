"""The site is built strictly, whole, and asks nobody else for anything."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from fastapi import FastAPI
from typer.core import TyperGroup

from dale import DaleConfig
from service.cli import app as commands
from service.settings import Settings
from workers.contract.request import DaleMethod, JobSpec

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
NOT_FETCHED = {"canonical", "prev", "next"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def text_of(page: Path) -> str:
    """What is read on a page, without marks."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched: set[str] = set()

    class Fetched(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            known = dict(attrs)
            if tag in FETCHED and known.get("rel") not in NOT_FETCHED:
                fetched.add(known.get(FETCHED[tag]) or "")

    for page in site.rglob("*.html"):
        Fetched().feed(page.read_text())
    assert len(fetched) > 20
    assert [url for url in fetched if re.match(r"(\w+:)?//", url)] == []
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", sheet.read_text()) == []


def test_every_route_is_described(site: Path, app: FastAPI) -> None:
    pages = "\n".join(text_of(page) for page in (site / "reference/api").glob("*.html"))
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            assert re.search(rf"^{method.upper()} {re.escape(path)}\W*$", pages, re.MULTILINE), (method, path)


def test_every_setting_is_described(site: Path) -> None:
    page = text_of(site / "reference/configuration.html")
    names = {f"DALE_{name.upper()}" for name in Settings.model_fields}
    names |= {*JobSpec.model_fields, *DaleMethod.model_fields, *DaleConfig.__dataclass_fields__}
    assert [name for name in names if not re.search(rf"^{name}$", page, re.MULTILINE)] == []
    assert re.search(r"^batch_size\ninteger\n16\n≥ 1, ≤ 65536\nsamples of one step", page, re.MULTILINE)


def test_every_command_is_described(site: Path) -> None:
    page = text_of(site / "reference/commands.html")

    def look(prefix: str, group: TyperGroup) -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, TyperGroup):
                yield from look(f"{prefix} {name}", command)
            else:
                yield f"{prefix} {name}"

    found = typer.main.get_command(commands)
    assert isinstance(found, TyperGroup)
    names = list(look("dale", found))
    assert len(names) > 30
    assert [name for name in names if not re.search(rf"^{name}\W*$", page, re.MULTILINE)] == []


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "method.html").read_text()
    assert page.count("<math") > 200
    assert "arithmatex" not in page
    assert "\\frac" not in re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)
