"""A run over two Ray nodes that loses one, goes on alone, and takes the node up again when it is back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.integration.harness import alive, wait_for
from tests.integration.test_faults import HELD_WORKER, SPEC
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, TrainRequest
from workers.contract.store import ObjectStore, open_store

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
EPOCHS = int(SPEC["epochs"])
RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "dale_tests-5b1Xo8Qe2Nf7Ua4Hs9Wd0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray listens to the whole network
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
}


class Cluster:
    """Two nodes with one CPU each, in a process of their own; the drivers run on the first."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))],
                env=os.environ | RAY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )
        self.address = self._answer()

    def tell(self, word: str) -> None:
        """`add` a node, or `lose` the last one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # Ray prints as well
            if line.startswith("> "):
                return line.removeprefix("> ").strip()
        raise AssertionError("the cluster has ended; its log says why")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster.log")
    yield cluster
    cluster.stop()


class Attempts:
    """Attempts of jobs as the service would start them, without it."""

    def __init__(self, store: ObjectStore, url: str, log: Path, address: str, dataset_id: str) -> None:
        self.store, self._url, self._log, self._address, self._dataset = store, url, log, address, dataset_id

    def start(self, job_id: str, **spec: object) -> subprocess.Popen[bytes]:
        given = JobSpec.model_validate({**SPEC, "exports": [], "dataset_id": self._dataset, **spec})
        self.store.put(keys.request(job_id), TrainRequest(job_id=job_id, spec=given).model_dump_json().encode())
        environment = {
            **os.environ,
            **RAY,
            "RAY_ADDRESS": self._address,
            "DALE_STORE_URL": self._url,
            "DALE_RESIZE_SECONDS": "2",
            "DALE_COLLECTIVE_TIMEOUT_SECONDS": "20",
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
        }
        with self._log.open("ab") as log:
            command = [sys.executable, str(HELD_WORKER), "--job", job_id]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def held(self, job_id: str, epoch: int, world_size: int) -> list[int]:
        """Wait until all ranks of a group of this size are in the middle of an epoch; their pids."""
        prefix = f"{keys.job(job_id)}held/{epoch}/"

        def there() -> list[str]:
            return [key for key in self.store.list(prefix) if f"-of-{world_size}-" in key]

        wait_for(lambda: len(there()) == world_size, 120, lambda: self._log.read_text()[-3000:])
        return [int(key.rsplit("-", 1)[1]) for key in there()]

    def go(self, job_id: str, epoch: int) -> None:
        self.store.put(f"{keys.job(job_id)}go-{epoch}", b"")

    def epoch(self, job_id: str, epoch: int) -> tuple[int, pa.Table]:
        """The number of ranks that wrote an epoch, and what they wrote."""
        manifest = EpochManifest.model_validate_json(self.store.get(keys.epoch_manifest(job_id, epoch)))
        shards = [tables.from_parquet(self.store.get(shard.key), tables.CONFIDENCE) for shard in manifest.shards]
        return manifest.world_size, pa.concat_tables(shards).sort_by("ordinal")


@pytest.fixture
def attempts(cluster: Cluster, tmp_path: Path, discs: Any) -> Attempts:
    url = (tmp_path / "store").as_uri()
    store = open_store(url)
    return Attempts(store, url, tmp_path / "driver.log", cluster.address, discs(store))


def test_a_lost_node_shrinks_the_run_and_a_returned_one_is_used(cluster: Cluster, attempts: Attempts) -> None:
    cluster.tell("add")
    undisturbed = attempts.start("undisturbed")
    assert undisturbed.wait(180) == 0, attempts._log.read_text()[-3000:]

    driver = attempts.start("disturbed", name="hold=1 hold=3", min_workers=1)
    pids = attempts.held("disturbed", 1, world_size=2)
    cluster.tell("lose")
    attempts.go("disturbed", 1)
    pids += attempts.held("disturbed", 3, world_size=1)
    cluster.tell("add")
    pids += attempts.held("disturbed", 3, world_size=2)
    attempts.go("disturbed", 3)
    assert driver.wait(180) == 0, attempts._log.read_text()[-3000:]

    sizes = [attempts.epoch("disturbed", epoch)[0] for epoch in range(EPOCHS)]
    assert sizes == [2, 1, 1, 2, 2]
    for epoch in range(EPOCHS):
        expected, found = (attempts.epoch(job, epoch)[1] for job in ("undisturbed", "disturbed"))
        for column in ("ordinal", "confidence", "score", "dice", "expected_dice"):
            assert found[column].to_pylist() == pytest.approx(expected[column].to_pylist(), abs=1e-4), (epoch, column)
    wait_for(lambda: not any(map(alive, pids)))
