"""`python -m tests.benchmarks.step_cost`: what a step of DALE costs, in time and memory, beside one of plain training.

Both are steps of a job (`workers.learner.Learner`) on the same network and batch, with the confidences at full
strength. Time: plain and DALE steps take turns in one process; the ratio of each pair counts. Memory: each method runs
in a process of its own; the ratio of the peaks, and, on a CPU, also of what the peaks add to an idle process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.contract.request import DaleMethod, JobSpec, NetworkSpec, PlainMethod
from workers.data import Statistics
from workers.learner import Learner

TIME_LIMIT, MEMORY_LIMIT = 1.35, 1.3
BATCH, SIZE = 8, 64
WARM_UP = 3  # steps
MEMORY_STEPS = 4
PLAIN = "plain"
VARIANTS: dict[str, dict[str, Any]] = {
    "dale": {},
    "mmd": {"alignment": "mmd"},
    "adversarial": {"alignment": "adversarial"},
    "wasserstein": {"alignment": "wasserstein"},
    "stability": {"stability": 1.0},
    "no consistency": {"consistency": 0.0},
    "no mixing": {"mixing": 0.0},
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.step_cost", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="edge of the images in pixels (default: 64)")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--network", default="UNet", help="a MONAI network (default: UNet)")
    parser.add_argument("--steps", type=int, default=40, help="pairs of steps for each variant (default: 40)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--memory-of", choices=(PLAIN, *VARIANTS), help="only print the bytes of this one: peak, added")
    return parser.parse_args(arguments)


def learner_of(
    name: str,
    rank: int = 0,
    world_size: int = 1,
    *,
    network: str = "UNet",
    batch: int = BATCH,
    size: int = SIZE,
    device: str = "cpu",
    compiled: bool | None = False,
) -> Learner:
    """The learner of a job with this method, whose confidences act at full strength from the first epoch on.

    It is one of 10,000 steps; `compiled` as `JobSpec.compile`, None being a job's default.
    """
    method = PlainMethod() if name == PLAIN else DaleMethod(start=0.0, ramp=0.0, mix_after=0, **VARIANTS[name])
    spec = JobSpec(
        dataset_id="step-cost",
        network=NetworkSpec(name=network),
        method=method,
        batch_size=batch,
        image_size=size,
        workers=world_size,
        compile=compiled,
    )
    statistics = Statistics(torch.full((3,), 0.5), torch.full((3,), 0.3), torch.tensor([0.8, 0.2]))
    return Learner(spec, statistics, 10_000, torch.device(device), rank, world_size)


def stepper(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """A function that takes one step of a job with this method, always on the same batch."""
    learner = learner_of(name, network=options.network, batch=options.batch, size=options.size, device=options.device)
    learner.begin_epoch(0)
    images, labels = batch_of(options.batch, options.size)
    ordinals, weights = torch.arange(options.batch), torch.full((options.batch,), 1 / options.batch)
    confidence = torch.linspace(0, 1, options.batch)

    def step() -> None:
        learner.step(images, labels, ordinals, weights, confidence, 0)
        if options.device == "cuda":
            torch.cuda.synchronize()

    return step


def batch_of(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Noise, (B, 3, S, S) uint8, with a disc as the label, (B, S, S) uint8."""
    images = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0))
    away = torch.arange(size) - size / 2
    disc = away[:, None].square() + away.square() < (size / 4) ** 2
    return images.to(torch.uint8), disc.to(torch.uint8).repeat(count, 1, 1)


def time_ratios(name: str, options: argparse.Namespace) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Time of a step of the variant over that of the plain step just before it, for each pair."""
    pair = stepper(PLAIN, options), stepper(name, options)
    for _ in range(WARM_UP):
        for step in pair:
            step()
    seconds = np.empty((options.steps, 2))
    for row in seconds:
        for column, step in enumerate(pair):
            begun = time.perf_counter()
            step()
            row[column] = time.perf_counter() - begun
    return seconds[:, 1] / seconds[:, 0]


def memory(name: str, options: argparse.Namespace) -> tuple[int, int]:
    """Bytes that this process holds at its peak over a few steps, and how many of them came with the steps."""
    before = 0 if options.device == "cuda" else status("VmRSS")
    step = stepper(name, options)
    for _ in range(MEMORY_STEPS):
        step()
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else status("VmHWM")
    return peak, peak - before


def status(field: str) -> int:
    """A size of this process as Linux tells it, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def memory_of(name: str, options: argparse.Namespace) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`memory` in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.step_cost", "--memory-of", name]
    for option in ("size", "batch", "network", "device"):
        command += [f"--{option}", str(getattr(options, option))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return np.array(done.stdout.split()[-2:], float)


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    options = parse(arguments)
    if options.memory_of:
        print(*memory(options.memory_of, options))
        return
    print(
        f"{options.network}, {options.batch} images of {options.size} px, {options.device}, "
        f"{torch.get_num_threads()} threads; {options.steps} pairs of steps; all over plain\n\n"
        "| method | time | quartiles | limit | memory | limit | memory added by the steps |\n"
        "|---|---|---|---|---|---|---|"
    )
    plain = memory_of(PLAIN, options)
    for name in VARIANTS:
        low, median, high = np.quantile(time_ratios(name, options), [0.25, 0.5, 0.75])
        peak, added = memory_of(name, options) / plain
        print(
            f"| {name} | {median:.2f} | {low:.2f} to {high:.2f} | {TIME_LIMIT} | {peak:.2f} | {MEMORY_LIMIT} "
            f"| {added:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
