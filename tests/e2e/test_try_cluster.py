"""The compose file on one machine, by the script that the guide names: a store, a database, two Ray nodes, one job."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "try-cluster"


def tried(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *options], capture_output=True, text=True, check=False, timeout=580)


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_job_trains_over_the_nodes_of_the_compose_file() -> None:
    done = tried()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "SUCCEEDED" in done.stdout
    for name in ("postgres", "ray-head", "ray-worker-1", "ray-worker-2", "api", "reconciler"):
        assert f"{name} is healthy by its own check" in done.stdout


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_wrong_value_of_the_file_fails_it_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    file = tmp_path / "docker-compose.yml"
    text = (ROOT / "docker-compose.yml").read_text()
    assert text.count("POSTGRES_DB: dale\n") == 1
    file.write_text(text.replace("POSTGRES_DB: dale\n", "POSTGRES_DB: other\n"))
    done = tried("--file", str(file))
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert "does not exist" in done.stdout
    assert "nothing is left of" in done.stdout
