"""How far the run is, written about once a second for whoever watches."""

from __future__ import annotations

import time

from torch import Tensor

from workers.contract import keys
from workers.contract.request import Progress
from workers.run import Run

INTERVAL_SECONDS = 1.0


class ProgressWriter:
    """Writes `jobs/<id>/progress.json` from rank 0.

    Args:
        run: this rank's view of the run.
        epochs: of the whole run.
        steps_per_epoch: steps of one epoch.
        steps_done: by earlier attempts.
    """

    def __init__(self, run: Run, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        self._run, self._epochs, self._per_epoch = run, epochs, steps_per_epoch
        self._first = self._done = steps_done
        self._began = time.monotonic()
        self._written = -INTERVAL_SECONDS

    @property
    def samples_per_second(self) -> float:
        """Throughput of all ranks since this attempt began."""
        batch = self._run.request.spec.batch_size
        return (self._done - self._first) * batch / max(time.monotonic() - self._began, 1e-9)

    def step(self, epoch: int, loss_sum: Tensor) -> None:
        """Count a step; write if a second has passed since the last time.

        Args:
            epoch: the epoch under way, counted from 0.
            loss_sum: (1,), this rank's sum of the losses of the epoch's samples so far.
        """
        self._done += 1
        now = time.monotonic()
        if self._run.rank != 0 or now - self._written < INTERVAL_SECONDS:
            return
        self._written = now
        in_epoch = self._done - epoch * self._per_epoch
        seen = in_epoch * self._run.request.spec.batch_size / self._run.world_size
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        steps = self._epochs * self._per_epoch
        progress = Progress(
            attempt=self._run.attempt,
            epoch=epoch,
            epochs=self._epochs,
            step=self._done,
            steps=steps,
            loss=float(loss_sum) / max(seen, 1),
            samples_per_second=self.samples_per_second,
            eta_seconds=(steps - self._done) / rate,
            heartbeat=time.time(),
        )
        self._run.store.put(
            keys.progress(self._run.request.job_id), progress.model_dump_json().encode(), "application/json"
        )
