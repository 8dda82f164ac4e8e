"""`workers.main`, whose ranks do what the job's name tells them, so that a test can hurt the run at a known moment.

`hold=E`: every rank waits in the middle of epoch E until `jobs/<id>/go-E` exists, and says so by
`jobs/<id>/held/E/<rank>-of-<W>-<pid>`. Once only: `half=S`: rank 0 kills itself between two files of the checkpoint
after S steps; `lose=E`: what rank 1 writes of epoch E's confidences arrives without its end. Always: `allocate`: rank
1 wants more memory than any machine has. Checkpoints are kept after every epoch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from workers import main, trainer

train_on_worker = trainer.train_on_worker


def misbehave(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs (pickled by value, as it lives in `__main__`)."""
    import ray.train
    import torch

    from workers import checkpoint, loop
    from workers.contract import keys
    from workers.contract.request import TrainRequest, WrittenObject
    from workers.contract.store import open_store
    from workers.learner import Learner
    from workers.patience import PatientStore
    from workers.run import Run

    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    request = TrainRequest.model_validate_json(config["request"])
    script = [part.partition("=") for part in request.spec.name.split()]
    told = {(what, int(epoch or 0)) for what, _, epoch in script}
    job = keys.job(request.job_id)
    store = PatientStore(open_store(config["store_url"]))
    step, write = Learner.step, Run.write
    steps_of: dict[int, int] = {}

    def held_step(self: Learner, *arguments: Any) -> Any:
        epoch = arguments[-1]
        steps_of[epoch] = steps_of.get(epoch, 0) + 1
        if steps_of[epoch] == 2:
            if ("hold", epoch) in told:
                store.put(f"{job}held/{epoch}/{rank}-of-{world_size}-{os.getpid()}", b"")
                while not store.exists(f"{job}go-{epoch}"):
                    time.sleep(0.05)
            if ("allocate", 0) in told and rank == 1:
                torch.empty(1 << 50, dtype=torch.uint8)
        return step(self, *arguments)

    def faulty_write(self: Run, key: str, data: bytes, *arguments: Any) -> WrittenObject:
        written = write(self, key, data, *arguments)
        for what, number in told:
            if what == "half" and key == keys.checkpoint(request.job_id, number, checkpoint.TRAINING) and once(what):
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "lose" and key == keys.confidence_shard(request.job_id, number, 1, world_size) and once(what):
                store.put(key, data[:-20])
        return written

    def once(what: str) -> bool:
        key = f"{job}did-{what}"
        first = not store.exists(key)
        store.put(key, b"")
        return first

    Learner.step, Run.write = held_step, faulty_write  # type: ignore[method-assign]
    loop.CHECKPOINT_SECONDS, loop.LOOK_SECONDS, loop.LOOK_STEPS = 0.0, 0.0, 1
    train_on_worker(config)


if __name__ == "__main__":
    trainer.train_on_worker = misbehave
    sys.exit(main.main())
