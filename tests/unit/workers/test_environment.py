from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import torch

from workers import environment
from workers.contract import keys
from workers.contract.environment import Environment
from workers.contract.request import JobSpec, TrainRequest
from workers.contract.store_local import LocalStore
from workers.run import Run

SPEC = JobSpec(dataset_id="ds-1", dataset_version=2, seed=5)


def recorded(store: LocalStore) -> Environment:
    return Environment.model_validate_json(store.get(keys.environment("job-1", 3)))


def test_what_a_run_is_made_of_is_written_down(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(keys.version("ds-1", 2), b"the table")
    environment.record(Run(TrainRequest(job_id="job-1", spec=SPEC), 3, store, 0, 1, torch.device("cpu")))
    found = recorded(store)
    assert (found.job_id, found.attempt, found.seed, found.spec) == ("job-1", 3, 5, SPEC)
    assert found.dataset_sha256 == hashlib.sha256(b"the table").hexdigest()
    assert found.python == platform.python_version()
    assert found.packages["torch"] == metadata.version("torch")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert {name.replace("_", "-") for name in found.packages} >= names
    (machine,) = found.machines
    assert (machine.cpus, machine.memory_bytes) == (psutil.cpu_count(), psutil.virtual_memory().total)
    assert machine.cpu
    (worker,) = found.workers
    assert (worker.rank, worker.machine, worker.threads, worker.gpu) == (0, 0, torch.get_num_threads(), None)
    assert platform.node() not in found.model_dump_json()


def test_machines_have_numbers_and_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put(keys.version("ds-1", 2), b"the table")

    def gather(mine: tuple[str, object, int, str | None]) -> list[tuple[object, ...]]:
        return [("big-host", *mine[1:]), ("small-host", *mine[1:]), ("big-host", *mine[1:])]

    monkeypatch.setattr(environment, "gather", gather)
    environment.record(Run(TrainRequest(job_id="job-1", spec=SPEC), 3, store, 0, 3, torch.device("cpu")))
    found = recorded(store)
    assert [machine.number for machine in found.machines] == [0, 1]
    assert [(worker.rank, worker.machine) for worker in found.workers] == [(0, 0), (1, 1), (2, 0)]
    assert "-host" not in found.model_dump_json()


def test_the_commit_is_that_of_the_code_and_of_nothing_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "tests")
        mail = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "t@example.org")
        done = subprocess.run(
            ["git", *words], cwd=tmp_path, env=os.environ | who | mail, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    code = tmp_path / "workers" / "environment.py"
    code.parent.mkdir()
    code.write_text("1")
    monkeypatch.setattr(environment, "__file__", str(code))
    assert environment.commit() is None
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert environment.commit() == git("rev-parse", "HEAD")
    code.write_text("2")
    assert environment.commit() == git("rev-parse", "HEAD") + "-dirty"
    inside = tmp_path / "site-packages" / "workers" / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(inside))
    assert environment.commit() is None
