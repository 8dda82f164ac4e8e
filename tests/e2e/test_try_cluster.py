"""A whole cluster on one machine, by the script that the guide names: two Ray nodes, a store, a database, one job."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "try-cluster"


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_job_trains_over_two_nodes_of_a_cluster() -> None:
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "SUCCEEDED" in done.stdout
