"""The store goes away for a minute in the middle of a run: the run waits, and ends as if nothing had been."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.integration.harness import Service, wait_for
from tests.integration.test_faults import HELD_WORKER, SPEC, confidences, done, go, held
from workers.contract.store_s3 import ACCESS_KEY, SECRET_KEY, S3Store

pytestmark = [pytest.mark.real, pytest.mark.timeout(500)]
NEEDED = ("DALE_TEST_S3_ENDPOINT", "DALE_TEST_S3_ACCESS_KEY", "DALE_TEST_S3_SECRET_KEY")
OUTAGE_SECONDS = 60


class Line:
    """A line to a server that can be cut: open connections break, new ones are refused."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.mend()

    def mend(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):  # the line was cut
            while True:
                near, _ = server.accept()
                far = socket.create_connection(self._target)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        self._open.add(source)
        with source, suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)


@pytest.fixture
def line() -> Iterator[Line]:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.fail(f"needs a real S3 server: set {', '.join(missing)} (see .ci/run)")
    address = urlsplit(os.environ[NEEDED[0]])
    line = Line((str(address.hostname), int(address.port or 80)))
    yield line
    line.cut()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    """The bucket, reached past the line."""
    monkeypatch.setenv(ACCESS_KEY, os.environ[NEEDED[1]])
    monkeypatch.setenv(SECRET_KEY, os.environ[NEEDED[2]])
    store = S3Store.from_url(f"s3://test-{uuid4().hex}/dale?endpoint={os.environ[NEEDED[0]]}")
    store.create_bucket()
    yield store
    for key in list(store.list("")):
        store.delete(key)
    store._client.remove_bucket(store.location.bucket)


@pytest.fixture
def service(line: Line, store: S3Store, tmp_path: Path) -> Iterator[Service]:
    url = f"s3://{store.location.bucket}/dale?endpoint=http://127.0.0.1:{line.port}"
    worker = (sys.executable, str(HELD_WORKER))
    service = Service(tmp_path / "data", worker, DALE_STORE_URL=url, OMP_NUM_THREADS="1")
    service.start()
    yield service
    service.stop()


def test_an_outage_of_the_store_pauses_the_run(
    service: Service, store: S3Store, line: Line, disc_files: dict[str, bytes]
) -> None:
    dataset_id = service.upload(disc_files)
    undisturbed = service.post(dataset_id, **SPEC)
    done(service, undisturbed, 1)
    job_id = service.post(dataset_id, **{**SPEC, "name": "hold=2"})
    pids = held(service, store, job_id, 2)
    wait_for(lambda: service.job(job_id)["epochs_done"] == 2)
    line.cut()
    go(store, job_id)  # they cannot see it before the line is mended
    time.sleep(OUTAGE_SECONDS)  # the outage itself
    assert service.job(job_id)["state"] == "RUNNING"
    line.mend()
    done(service, job_id, 1)
    expected, found = confidences(service, undisturbed), confidences(service, job_id)
    for place, values in expected.items():
        assert found[place] == pytest.approx(values, abs=1e-5), place
    assert len(held(service, store, job_id, 2)) == len(pids) == 2  # nobody was started again
