"""The service's own Ray head: alone on loopback, adopted after a crash, gone without a trace."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from service.jobs import processes
from service.jobs.cluster import Cluster
from service.jobs.ray_head import HeadRecord, RayHead
from service.settings import Settings
from tests.integration.harness import wait_for


@pytest.fixture
def heads() -> Iterator[list[RayHead]]:
    """Heads that are stopped at the end, whatever happens."""
    started: list[RayHead] = []
    yield started
    for head in started:
        head.stop()


def start(settings: Settings, heads: list[RayHead]) -> tuple[RayHead, Cluster, HeadRecord]:
    cluster = Cluster()
    head = RayHead(settings, cluster)
    heads.append(head)
    head.start()
    wait_for(lambda: cluster.endpoint is not None)
    return head, cluster, HeadRecord.model_validate_json((settings.data_dir / "ray_head.json").read_bytes())


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def family(record: HeadRecord) -> list[int]:
    """All processes of a head, found in another way than the service does."""
    head = psutil.Process(record.pid)
    return [record.pid, *(child.pid for child in head.children(recursive=True))]


def test_a_head_lives_alone_and_leaves_nothing(settings: Settings, heads: list[RayHead]) -> None:
    head, cluster, record = start(settings, heads)
    endpoint = cluster.endpoint
    assert endpoint is not None

    pids = family(record)
    assert len(pids) > 5
    assert set(pids) <= set(processes.marked(record.folder))

    # Nobody else can reach it, neither over the network nor through its files.
    listening = {
        connection.laddr.ip
        for pid in alive(pids)
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert Path(record.folder).stat().st_mode & 0o777 == 0o700
    assert (settings.data_dir / "ray_head.json").stat().st_mode & 0o777 == 0o600

    # Nor without its token.
    assert httpx.get(f"{endpoint.url}/api/jobs/").status_code == 401
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    assert httpx.get(f"{endpoint.url}/api/jobs/", headers=headers).json() == []

    head.stop()
    assert alive(pids) == []
    assert not Path(record.folder).exists()
    assert not (settings.data_dir / "ray_head.json").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{endpoint.url}/api/version")


def test_a_head_that_dies_is_replaced(settings: Settings, heads: list[RayHead]) -> None:
    _head, cluster, record = start(settings, heads)
    pids = family(record)
    psutil.Process(record.pid).kill()  # its agents live on and hold their ports
    wait_for(lambda: cluster.endpoint is not None and cluster.endpoint.url != record.url)
    assert alive(pids) == []
    assert not Path(record.folder).exists()


def test_a_record_that_names_another_process_harms_nobody(settings: Settings, heads: list[RayHead]) -> None:
    bystander = psutil.Popen(["sleep", "300"])
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        record = HeadRecord(
            folder="/tmp/dale-nobody",  # noqa: S108
            pid=bystander.pid,
            token="x",
            url=f"http://127.0.0.1:{deaf.getsockname()[1]}",
        )
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        (settings.data_dir / "ray_head.json").write_text(record.model_dump_json())
        deaf.close()
        start(settings, heads)
    assert bystander.is_running()
    bystander.kill()
    bystander.wait()
