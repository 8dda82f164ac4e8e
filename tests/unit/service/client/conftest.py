"""A real server for the client and the command line: the application behind uvicorn on a free port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from PIL import Image

from service.api.dependencies import Context
from service.client import Client
from service.db import jobs
from service.jobs.ingest import read_result
from service.jobs.lifecycle import State

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
CONTENT = bytes(range(256)) * 8000 + b"end"


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """Address of the running application."""
    # The server's log lines would come between those of the command: both run in this process.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    listening = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            listening.set()

    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(20)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    structlog.reset_defaults()


@pytest.fixture
def dale(url: str) -> Iterator[Client]:
    """A client with a valid key."""
    with Client(url, KEY) as dale:
        yield dale


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset folder of four samples, with files beside them that are none of the dataset's."""
    made = tmp_path / "lesions"
    for part in ("images", "masks"):
        (made / part).mkdir(parents=True)
    y, x = np.mgrid[:40, :50]
    for number in range(4):
        disc = np.hypot(y - 20, x - 15 - 5 * number) < 8
        Image.fromarray(np.where(disc[..., None], (180, 90, 80), (90 + number, 60, 50)).astype(np.uint8)).save(
            made / f"images/case {number}.png"
        )
        Image.fromarray(disc.astype(np.uint8) * 255).save(made / f"masks/case {number}.png")
    (made / "truth.csv").write_text("id,kind,dice\n")
    return made


@pytest.fixture
def model_job(finished_job: str, context: Context, scripted: ModuleType) -> str:
    """The finished job, with a model file of known content."""
    scripted.write_result(context.store, finished_job, 1, 2, CONTENT)
    result = read_result(context.store, finished_job)
    assert result is not None
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, finished_job)
        assert job is not None
        jobs.add_result(session, job, result)
    return finished_job


@pytest.fixture
def end_job(context: Context) -> Callable[[str, State], None]:
    """Let a job end, as the reconciler would."""

    def end(job_id: str, state: State) -> None:
        with context.sessions.begin() as session:
            job = jobs.lock_job(session, job_id)
            assert job is not None
            for step in (State.STARTING, State.RUNNING, state):
                jobs.set_state(session, job, step)

    return end
