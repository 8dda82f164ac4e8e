"""`workers.main`, whose second worker of a prediction kills itself once, after its first shard.

Every shard that a worker begins is put down as `jobs/<id>/began/<number>-<rank>-<pid>`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from workers import main, trainer

predict_on_worker = trainer.predict_on_worker


def misbehave(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs (pickled by value, as it lives in `__main__`)."""
    import ray.train

    from workers.contract import keys
    from workers.contract.store import open_store
    from workers.predicting import loop

    store, rank = open_store(config["store_url"]), ray.train.get_context().get_world_rank()
    write = loop.write_shard

    def watched(given: Any, job_id: str, number: int, *rest: Any) -> None:
        job = keys.job(job_id)
        store.put(f"{job}began/{number}-{rank}-{os.getpid()}", b"")
        write(given, job_id, number, *rest)
        if rank == 1 and not store.exists(f"{job}died"):
            store.put(f"{job}died", b"")
            os.kill(os.getpid(), signal.SIGKILL)

    loop.write_shard = watched
    predict_on_worker(config)


if __name__ == "__main__":
    trainer.predict_on_worker = misbehave
    sys.exit(main.main())
