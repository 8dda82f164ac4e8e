"""What every worker of a prediction job does: its share of the shards that are missing.

No worker needs another. The first one also tells how far all of them are, until they are done.
"""

from __future__ import annotations

import time

import structlog
import torch

from workers.contract import keys
from workers.contract.flips import over_flips
from workers.contract.prediction import PredictRequest
from workers.contract.request import Progress
from workers.contract.store import ObjectStore
from workers.predicting.model import open_model
from workers.predicting.plan import plan_shards
from workers.predicting.samples import Samples
from workers.predicting.shard import done, write_shard

log = structlog.get_logger()
INTERVAL_SECONDS = 1.0


def predict_share(
    request: PredictRequest, attempt: int, store: ObjectStore, rank: int, world_size: int, device: torch.device
) -> None:
    """Predict every shard that is this worker's and was not written before.

    Args:
        request: what to predict.
        attempt: counted from 1.
        store: where data are read and shards written.
        rank: this worker.
        world_size: number of workers.
        device: where to compute.
    """
    spec = request.spec
    samples = Samples(store, spec.dataset_id, spec.dataset_version)
    shards = plan_shards(samples.table, spec.workers)
    before = done(store, request.job_id)
    # By their own numbers, not by their place among the missing: workers look at different moments.
    mine = [number for number in range(rank, len(shards), world_size) if number not in before]
    log.info("predicting", samples=samples.table.num_rows, shards=len(shards), done=len(before), mine=len(mine))
    progress = _Progress(request.job_id, attempt, store, shards, before) if rank == 0 else None
    if mine:
        about, network = open_model(store, spec.model_id, device)
        network = over_flips(network) if spec.flips else network
    for number in mine:
        found = samples.predicted(about, network, shards[number], spec.batch_size)
        told = progress.sample if progress else lambda: None
        write_shard(store, request.job_id, number, found, spec.outputs, about["classes"], told)
        if progress:
            progress.look()
        log.info("shard", number=number, samples=len(shards[number]))
    while progress and not progress.complete:
        time.sleep(INTERVAL_SECONDS)
        progress.look()


class _Progress:
    """Writes `jobs/<id>/progress.json` from rank 0: shards that are written, by whomever, and its own samples."""

    def __init__(self, job_id: str, attempt: int, store: ObjectStore, shards: list[range], before: set[int]) -> None:
        self._job_id, self._attempt, self._store, self._shards = job_id, attempt, store, shards
        self._begun, self._before = time.monotonic(), sum(len(shards[number]) for number in before)
        self._total = sum(map(len, shards))
        self._written, self._own = self._before, 0
        self._last = -INTERVAL_SECONDS

    @property
    def complete(self) -> bool:
        """Whether every shard was written when it was last looked."""
        return self._written == self._total

    def look(self) -> None:
        """Count what is written, by whomever; called between shards of this worker."""
        written = done(self._store, self._job_id)
        self._written, self._own = sum(len(self._shards[number]) for number in written), 0
        self._tell()

    def sample(self) -> None:
        """Count a sample of this worker."""
        self._own += 1
        self._tell()

    def _tell(self) -> None:
        """Write, if a second has passed since the last time."""
        now = time.monotonic()
        if now - self._last < INTERVAL_SECONDS:
            return
        self._last = now
        total = self._total
        step = min(self._written + self._own, total)
        rate = (step - self._before) / max(now - self._begun, 1e-9)
        progress = Progress(
            attempt=self._attempt,
            epoch=0,
            epochs=1,
            step=step,
            steps=total,
            samples_per_second=rate,
            eta_seconds=(total - step) / max(rate, 1e-9),
            heartbeat=time.time(),
        )
        self._store.put(keys.progress(self._job_id), progress.model_dump_json().encode(), "application/json")
