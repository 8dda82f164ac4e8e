"""`python -m tests.benchmarks.robustness.grid core --root FOLDER --out core.json`: many runs, resumable.

Runs the blocks of a grid, several at a time. What the results file already holds is not run again, so a grid can be
stopped at any time and gone on with later. Each run is the benchmark's own command, which is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

DATASETS = ("kvasir_seg", "fuseg_wound")
COMMON = "--limit 200 --compile"
LEAVE_OUT = "dale:consistency=0;dale:mixing=0;dale:mixing=0,consistency=0"
ADD = "dale:refinement=pixel;dale:stability=1;dale:alignment=mmd;dale:alignment=adversarial;dale:alignment=wasserstein"
REVIEW = ";".join(
    f"reviewed:by={by},share={share}"
    for share in (0.1, 0.2, 0.3, 0.4)
    for by in ("dale", "cleanlab_in_sample", "chance")
)


@dataclass(frozen=True)
class Block:
    """One dataset under one kind of noise; every seed is a run."""

    data: str
    noise: str
    methods: str
    options: str = "--epochs 150 --augmentation light"
    seeds: tuple[int, ...] = (0, 1, 2)


def core() -> list[Block]:
    """Both datasets, where the network memorises: what is asked of the method."""
    blocks = []
    for data in DATASETS:
        blocks.append(Block(data, "mixed", "plain;dale;oracle;consistency;believed"))
        blocks.append(Block(data, "none", "plain;dale"))
        blocks.append(Block(data, "erode", "plain;dale;oracle;consistency;dale_trusted"))
    return blocks


def wide() -> list[Block]:
    """Other networks, lengths, views, noises and methods."""
    kvasir, ways = DATASETS[0], "plain;dale;oracle"
    return [
        Block(kvasir, "style:dilate", "plain;dale;dale_annotators;dale_trusted"),
        Block(kvasir, "mixed", ways, "--epochs 150 --augmentation strong"),
        Block(kvasir, "none", "plain;dale", "--epochs 150 --augmentation strong"),
        Block(kvasir, "mixed", ways, "--epochs 40 --augmentation strong"),
        Block(kvasir, "mixed", ways, "--epochs 150 --augmentation light --network SegResNet"),
        Block(kvasir, "mixed", "co_teaching;robust_loss;adele;clean_labels;cleanlab_4fold"),
        Block(kvasir, "mixed", "plain;dale;oracle", "--epochs 150 --augmentation light --ratio 0.6"),
        Block(kvasir, "dilate", "plain;dale;dale_trusted"),
        Block(kvasir, "missed", "plain;dale"),
    ]


def ablation() -> list[Block]:
    """What each ingredient buys: left out, and added."""
    return [Block(DATASETS[0], "mixed", f"plain;dale;{LEAVE_OUT};{ADD}")]


def review() -> list[Block]:
    """Dice after a perfect reviewer has put right the labels that come first, in three orders."""
    return [Block(DATASETS[0], "mixed", f"plain;dale;{REVIEW}")]


GRIDS = {"core": core, "wide": wide, "ablation": ablation, "review": review}


def command(block: Block, seed: int, root: Path, out: Path, device: str) -> list[str]:
    """The benchmark's command for one seed of a block."""
    words = f"{block.options} {COMMON}".split()
    words += ["--data", str(root / block.data), "--noise", block.noise, "--methods", block.methods]
    words += ["--seeds", str(seed), "--device", device, "--out", str(out)]
    return [sys.executable, "-m", "tests.benchmarks.robustness", *words]


def main(arguments: list[str] | None = None) -> int:
    """Run a grid; returns the number of runs that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.robustness.grid", description=__doc__)
    parser.add_argument("grid", choices=GRIDS)
    parser.add_argument("--root", type=Path, required=True, help=f"folder that holds {' and '.join(DATASETS)}")
    parser.add_argument("--out", type=Path, required=True, help="results file, see `tests.benchmarks.robustness`")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, one core each")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args(arguments)
    # Seed by seed, so that every block has something to show early.
    blocks = GRIDS[options.grid]()
    seeds = sorted({seed for block in blocks for seed in block.seeds})
    runs = [
        command(block, seed, options.root, options.out, options.device)
        for seed in seeds
        for block in blocks
        if seed in block.seeds
    ]

    def run(words: list[str]) -> int:
        print(" ".join(words[1:]), flush=True)
        if options.dry_run:
            return 0
        return subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode

    with ThreadPoolExecutor(options.jobs) as pool:
        return sum(code != 0 for code in pool.map(run, runs))


if __name__ == "__main__":
    sys.exit(main())
