"""What is installed without the server: the client needs httpx and pydantic, the command line rich and typer too."""

from __future__ import annotations

import importlib.metadata as installed
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import ValidationError

from service.datasets.options import ImportOptions

ROOT = Path(__file__).parents[4]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = [Requirement(line).name for line in PROJECT["dependencies"]]
Python = Callable[..., subprocess.CompletedProcess[str]]


def with_theirs(names: list[str]) -> set[str]:
    """Names of distributions, and of those that they need here."""
    found: set[str] = set()
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        needed = [Requirement(line) for line in installed.requires(name) or []]
        left += [canonicalize_name(one.name) for one in needed if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def python_with(folder: Path, names: list[str]) -> Python:
    """A Python that finds this project, the standard library and these distributions, and nothing else."""
    folder.mkdir()
    for name in with_theirs(names):
        here = Path(str(installed.distribution(name).locate_file("")))
        for top in {file.parts[0] for file in installed.files(name) or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():  # several may share a namespace
                (folder / top).symlink_to(here / top)
    for room in ("service", "workers", "dale"):
        (folder / room).symlink_to(ROOT / room)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DALE_", "PYTHON"))}
        environment = {**kept, "PYTHONPATH": str(folder), "XDG_CONFIG_HOME": str(folder), "COLUMNS": "200"}
        command = [sys.executable, "-S", "-B", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)

    return run


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Python:
    return python_with(tmp_path_factory.mktemp("bare") / "packages", ["httpx", "pydantic"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Python:
    return python_with(tmp_path_factory.mktemp("base") / "packages", BASE)


def test_this_python_has_no_server(base: Python) -> None:
    for name in ("fastapi", "sqlalchemy", "numpy", "PIL"):
        assert f"No module named '{name}'" in base("-c", f"import {name}").stderr


def test_the_client_needs_httpx_and_pydantic(bare: Python) -> None:
    done = bare("-c", "from service.client import Client; Client('http://127.0.0.1:1').close()")
    assert done.returncode == 0, done.stderr
    modules = sorted(f"service.{path.parent.name}.{path.stem}" for path in ROOT.glob("service/resources/*.py"))
    assert len(modules) > 20
    done = bare("-c", "\n".join(f"import {name.removesuffix('.__init__')}" for name in modules))
    assert done.returncode == 0, done.stderr


def test_patterns_are_left_to_the_service(bare: Python) -> None:
    done = bare("-c", "from service.client import ImportOptions; print(ImportOptions(group_pattern='(').group_pattern)")
    assert done.stdout == "(\n", done.stderr
    with pytest.raises(ValidationError, match="RE2"):
        ImportOptions(group_pattern="(")


def test_the_base_install_is_what_the_command_line_needs(base: Python, bare: Python) -> None:
    assert sorted(BASE) == ["httpx", "pydantic", "rich", "typer"]
    assert "typer" in bare("-m", "service.cli", "--help").stderr
    done = base("-m", "service.cli", "--help")
    assert done.returncode == 0 and "Train lesion segmentation" in done.stdout, done.stderr
    done = base("-m", "service.cli", "jobs", "--url", "http://127.0.0.1:1")
    assert done.returncode == 3 and "Nobody answers at http://127.0.0.1:1" in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_runs_the_server_says_what_to_install(base: Python, command: str) -> None:
    done = base("-m", "service.cli", command)
    assert done.returncode == 2, done.stderr
    assert f"`dale {command}` runs the server" in done.stderr and "fastapi, sqlalchemy, uvicorn" in done.stderr
    assert "pip install 'dale-service[service,train]'" in done.stderr and "Traceback" not in done.stderr


def test_every_module_of_the_commands_loads_without_the_server(base: Python) -> None:
    modules = [f"service.cli.{path.stem}" for path in ROOT.glob("service/cli/*.py") if path.stem != "__main__"]
    done = base("-c", "\n".join(f"import {name.removesuffix('.__init__')}" for name in modules))
    assert done.returncode == 0, done.stderr


def test_the_extra_service_is_what_the_server_needs(tmp_path: Path) -> None:
    extra = [Requirement(line).name for line in PROJECT["optional-dependencies"]["service"]]
    served = python_with(tmp_path / "packages", BASE + extra)
    done = served(
        "-c",
        "import service.embedded, service.jobs.reconciler, service.db.migrations.__main__, sys; print(*sys.modules)",
    )
    assert done.returncode == 0, done.stderr
    assert "service.main" in done.stdout.split()
