"""What the tests of the deployments share: the files, and the names that the code knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def known_variables() -> set[str]:
    """Every `DALE_…` variable that the service's settings know or that some module names."""
    named = {f"DALE_{name.upper()}" for name in Settings.model_fields}
    for room in ("service", "workers"):
        for path in (ROOT / room).rglob("*.py"):
            named |= set(re.findall(r"[\"'](DALE_[A-Z0-9_]+)[\"']", path.read_text()))
    return named


@pytest.fixture(scope="session")
def ray_options() -> set[str]:
    """What `ray start` accepts; asked in another process, as no test here is to load Ray."""
    code = "from ray.scripts.scripts import start; print(*(o for p in start.params for o in p.opts))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved, its variables not filled in."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


@pytest.fixture(scope="session")
def kustomization() -> dict[str, Any]:
    """What Kustomize is told."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "deploy/kuberay/kustomization.yaml").read_text())
    return parsed


@pytest.fixture(scope="session")
def manifests(kustomization: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that Kustomize would apply, the settings apart."""
    folder = ROOT / "deploy/kuberay"
    return [
        found
        for name in kustomization["resources"]
        for found in yaml.safe_load_all((folder / name).read_text())
        if found
    ]
