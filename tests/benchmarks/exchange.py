"""`python -m tests.benchmarks.exchange`: what the sharded confidence state costs, by simulation without a network.

Eight ranks, each a process, do for an epoch what `workers.loop` does between two epochs of network steps, with its own
code: each rank computes its part of the epoch's order, confidences go to the ranks that will meet the samples, evidence
(random numbers) comes back to the owners, the confidence step is taken from summed statistics, and every rank writes
its shard to a store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import multiprocessing

from tests.benchmarks.step_cost import status
from tests.ranks import leave

RANKS, BATCH, EPOCHS = 8, 2048, 3
SIZES = (10_000, 100_000, 1_000_000)
PARTS = ("order", "send confidences", "gather evidence, step", "write out")


@dataclass(frozen=True)
class Cost:
    """What an epoch costs beside the network.

    Attributes:
        samples: N, over all ranks.
        seconds: of each of `PARTS`, the slowest rank's, the least of the epochs.
        mebibytes: that a rank's memory grows by at its peak, the largest of the ranks.
        bytes_sent: by one rank to the others in an epoch, by arithmetic: rows of 12 and 24 bytes.
        bytes_written: to the store in an epoch, by all ranks.
    """

    samples: int
    seconds: dict[str, float]
    mebibytes: float
    bytes_sent: int
    bytes_written: int


def simulate(samples: int, ranks: int = RANKS) -> Cost:
    """Run the simulation in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_rank, (samples, ranks, folder), nprocs=ranks)
        found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(ranks)]
        written = sum(shard.stat().st_size for shard in Path(folder, "store").rglob("*.parquet"))
    epochs = torch.stack([rank["seconds"] for rank in found]).amax(0)  # (epochs, parts)
    owned = -(-samples // ranks)
    return Cost(
        samples=samples,
        seconds=dict(zip(PARTS, epochs.amin(0).tolist(), strict=True)),
        mebibytes=max(rank["bytes"] for rank in found) / 2**20,
        bytes_sent=owned * (12 + 24) * (ranks - 1) // ranks,
        bytes_written=written // EPOCHS,
    )


def _rank(rank: int, samples: int, ranks: int, folder: str) -> None:
    import dale  # here, so that the parent stays small
    from workers import artifacts, loop
    from workers.contract.request import JobSpec, TrainRequest
    from workers.contract.store import open_store
    from workers.run import Run
    from workers.sampling import Plan

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    artifacts.log = SimpleNamespace(info=lambda *_, **__: None)  # type: ignore[assignment]
    device = torch.device("cpu")
    request = TrainRequest(job_id="simulation", spec=JobSpec(dataset_id="none", epochs=EPOCHS, workers=ranks))
    run = Run(request, 1, open_store(f"file://{folder}/store"), rank, ranks, device)
    learner = SimpleNamespace(config=dale.DaleConfig(start=0.0, ramp=0.0), spec=request.spec, device=device)
    dist.barrier()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = status("VmRSS")
    plan = Plan(samples, BATCH, 0, rank, ranks)
    state = dale.ConfidenceState(samples, rank, ranks)
    seconds = torch.zeros(EPOCHS, len(PARTS))
    for epoch in range(EPOCHS):
        marks = [_now()]
        met = plan.met(epoch)
        marks.append(_now())
        loop.confidences_to_readers(state, plan, epoch, device)
        marks.append(_now())
        evidence = met, torch.rand(len(met), 5)
        metrics = loop.confidence_epoch(learner, state, evidence, epoch)  # type: ignore[arg-type]
        marks.append(_now())
        artifacts.write_epoch(run, state, epoch, metrics)
        marks.append(_now())
        seconds[epoch] = torch.tensor(marks, dtype=torch.float64).diff()
    torch.save({"seconds": seconds, "bytes": status("VmHWM") - before}, Path(folder) / f"{rank}.pt")
    dist.barrier()
    leave()


def _now() -> float:
    dist.barrier()
    return time.perf_counter()


def main(arguments: list[str] | None = None) -> None:
    """Print the costs for several numbers of samples."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.exchange", description=__doc__)
    parser.add_argument("--ranks", type=int, default=RANKS)
    parser.add_argument("--samples", type=int, nargs="+", default=SIZES)
    options = parser.parse_args(arguments)
    table = Table(title=f"an epoch's exchange on {options.ranks} ranks")
    for heading in (
        "samples",
        *(f"{part} [s]" for part in PARTS),
        "sent by a rank [MB]",
        "written by all [MB]",
        "memory of a rank [MiB]",
    ):
        table.add_column(heading, justify="right")
    for samples in options.samples:
        cost = simulate(samples, options.ranks)
        times = (f"{cost.seconds[part]:.3f}" for part in PARTS)
        table.add_row(
            f"{samples:,}",
            *times,
            *(f"{size / 1e6:.2f}" for size in (cost.bytes_sent, cost.bytes_written)),
            f"{cost.mebibytes:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
