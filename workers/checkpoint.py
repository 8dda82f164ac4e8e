"""The complete state of a run between two steps, in the store, for any later number of ranks to take up.

A checkpoint is written as an epoch is: every rank puts its own files, and a manifest with their checksums comes last.
`training.pt` holds network, teacher, optimizer, schedule (rank 0 writes it), `confidence-<rank>-of-<W>.pt` a rank's
confidence rows, `evidence-<rank>-of-<W>.pt` what it has gathered of the epoch under way. The place in the data is the
number of steps done, and random numbers need none: every draw follows from seed, epoch and sample.

The files go up in the background while training goes on; the manifest follows a while later.
"""

from __future__ import annotations

import hashlib
import io
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from pydantic import ValidationError
from torch import Tensor

import dale
from workers.contract import keys
from workers.contract.request import CheckpointManifest, WrittenObject
from workers.contract.store import ObjectMissing
from workers.exchange import gather, sum_over_ranks
from workers.gathered import Gathered
from workers.learner import Learner
from workers.run import Run

log = structlog.get_logger()
KEPT = 2
TRAINING = "training.pt"


@dataclass(frozen=True)
class _Upload:
    number: int
    files: Future[list[WrittenObject]]


class CheckpointDamaged(Exception):
    """A file is missing or is not what the manifest says; an older checkpoint may be whole."""


class Checkpoints:
    """A run's checkpoints. Every rank calls the same methods in the same order.

    Args:
        run: this rank's view of the run.
        steps_per_epoch: steps of an epoch.
    """

    def __init__(self, run: Run, steps_per_epoch: int) -> None:
        self._run, self._per_epoch = run, steps_per_epoch
        self._saved = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._upload: _Upload | None = None

    @property
    def idle(self) -> bool:
        """Whether the last one is committed, so that another may begin."""
        return self._upload is None

    def keep(
        self, learner: Learner, state: dale.ConfidenceState, epochs_done: int, gathered: Gathered, *, every: float
    ) -> None:
        """Commit the last one if it is written, and begin another if the time has come.

        Args:
            learner: as it is now.
            state: as it is now.
            epochs_done: before the epoch under way.
            gathered: of the epoch under way.
            every: seconds from one to the next, on the mean of the ranks' clocks.
        """
        self.commit()
        since = sum_over_ranks(torch.tensor([time.monotonic() - self._saved]), self._run.device)
        if self.idle and float(since) / self._run.world_size > every:
            self.begin(learner, state, epochs_done, gathered)

    def restore(self, learner: Learner, state: dale.ConfidenceState, first_missing: int) -> tuple[int, Gathered]:
        """Take up the newest checkpoint that every rank finds whole, and remove what is of no use any more.

        Args:
            learner: takes up network, optimizer and schedule.
            state: takes up this rank's rows.
            first_missing: the first epoch that is not in the store: a later checkpoint could not bring it back.

        Returns:
            The number of epochs done, 0 if there is no such checkpoint; and what was gathered of the one under way.
        """
        found: list[int] = gather(self._numbers() if self._run.rank == 0 else [])[0]
        for number in (number for number in found if number // self._per_epoch <= first_missing):
            try:
                saved, rows, evidence = self._read(number)
                known = state.state_dict().keys()
                problem = "" if all(shard.keys() == known for shard in rows) else f"{number} is of another version"
            except (CheckpointDamaged, ObjectMissing) as error:
                problem = str(error)
            if problems := [text for text in gather(problem) if text]:
                log.warning("checkpoint is damaged, an older one is tried", steps_done=number, problem=problems[0])
                continue
            learner.load_state_dict(saved)
            state.load(rows)
            self._prune(keep=[number])
            epochs_done, steps = divmod(number, self._per_epoch)
            return epochs_done, Gathered.of(steps, evidence)
        self._prune(keep=[])
        return 0, Gathered()

    def begin(self, learner: Learner, state: dale.ConfidenceState, epochs_done: int, gathered: Gathered) -> None:
        """Copy the state as it is now and start to write it."""
        run = self._run
        mine = f"{run.rank}-of-{run.world_size}.pt"
        files: dict[str, bytes] = {f"confidence-{mine}": _serialised(state.state_dict())}
        if gathered.steps:
            files[f"evidence-{mine}"] = _serialised(gathered.state_dict())
        training = learner.state_dict()  # with a sharded network a collective
        if run.rank == 0:
            files[TRAINING] = _serialised(training)
        number = epochs_done * self._per_epoch + gathered.steps
        self._upload = _Upload(number, self._thread.submit(self._write, number, files))
        self._saved = time.monotonic()

    def commit(self, *, wait: bool = False) -> None:
        """Write the manifest if every rank's files are there by now.

        Args:
            wait: until they are.
        """
        if self._upload is None:
            return
        upload, run = self._upload, self._run
        mine = upload.files.result() if wait or upload.files.done() else None
        parts = gather(mine)
        if any(part is None for part in parts):
            return
        self._upload = None
        if run.rank != 0:
            return
        epochs_done, steps = divmod(upload.number, self._per_epoch)
        manifest = CheckpointManifest(
            job_id=run.request.job_id,
            attempt=run.attempt,
            epochs_done=epochs_done,
            steps=steps,
            world_size=run.world_size,
            files=[file for part in parts if part for file in part],
        )
        key = keys.checkpoint(run.request.job_id, upload.number, keys.MANIFEST)
        run.store.put(key, manifest.model_dump_json().encode(), "application/json")
        log.info("checkpoint", epochs_done=epochs_done, step=steps)
        self._prune(keep=self._numbers()[:KEPT])

    def _numbers(self) -> list[int]:
        """The steps done of all committed checkpoints, newest first."""
        prefix = keys.checkpoints(self._run.request.job_id)
        parts = [key.removeprefix(prefix).split("/") for key in self._run.store.list(prefix)]
        return sorted((int(number) for number, name in parts if name == keys.MANIFEST), reverse=True)

    def _write(self, number: int, files: dict[str, bytes]) -> list[WrittenObject]:
        return [self._run.write(keys.checkpoint(self._run.request.job_id, number, n), d) for n, d in files.items()]

    def _read(self, number: int) -> tuple[dict[str, Any], list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """The learner's state, of each confidence shard the rows that this rank owns now, and its evidence shards."""
        run = self._run
        key = keys.checkpoint(run.request.job_id, number, keys.MANIFEST)
        try:
            manifest = CheckpointManifest.model_validate_json(run.store.get(key))
        except ValidationError as error:
            raise CheckpointDamaged(f"{key}: {error}") from error
        saved: dict[str, Any] = {}
        rows: list[dict[str, Tensor]] = []
        evidence: list[dict[str, Tensor]] = []
        for file in manifest.files:
            data = run.store.get(file.key)
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise CheckpointDamaged(f"{file.key} has another sha256 than its manifest says")
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            kind = file.key.removeprefix(keys.checkpoint(run.request.job_id, number, ""))
            if kind == TRAINING:
                saved = content
            elif kind.startswith("evidence-"):
                if int(kind.split("-")[1]) % run.world_size == run.rank:
                    evidence.append(content)
            else:
                mine = content["ordinals"] % run.world_size == run.rank
                rows.append({name: values[mine] for name, values in content.items()})
        if not saved or len(rows) != manifest.world_size:
            raise CheckpointDamaged(f"{key} names {len(rows)} of {manifest.world_size} confidence shards")
        return saved, rows, evidence

    def _prune(self, keep: list[int]) -> None:
        """Remove all others, and what interrupted attempts have left; the manifest goes first."""
        run = self._run
        if run.rank != 0:
            return
        prefix = keys.checkpoints(run.request.job_id)
        useless = [key for key in run.store.list(prefix) if int(key.removeprefix(prefix).split("/")[0]) not in keep]
        for key in sorted(useless, key=lambda key: not key.endswith(keys.MANIFEST)):
            run.store.delete(key)


def _serialised(content: object) -> bytes:
    sink = io.BytesIO()
    torch.save(content, sink)
    return sink.getvalue()
