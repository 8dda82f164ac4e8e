"""`python -m tests.benchmarks.robustness`: is the model better for knowing what to doubt, and is it found?"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import torch

from dale.noise import CLEAN
from tests.benchmarks.robustness import data, plots, report
from tests.benchmarks.robustness.methods import METHODS, Case, cells_of
from workers.contract.request import JobSpec, NetworkSpec

# Cells that one training yields besides its own.
BESIDES = {"plain": ("plain_ema", "early_stopping", "cleanlab_in_sample", "mean_loss")}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.robustness", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and masks/")
    parser.add_argument("--noise", default="mixed", help="none, mixed, kinds with commas, style:KIND (default: mixed)")
    parser.add_argument("--ratio", type=float, default=0.4, help="share of corrupted labels (default: 0.4)")
    parser.add_argument(
        "--methods", default="plain,dale", help=f"with semicolons or commas between: {', '.join(METHODS)}"
    )
    parser.add_argument("--network", default="UNet", help="a MONAI network (default: UNet)")
    parser.add_argument("--size", type=int, default=64, help="edge of the images in pixels (default: 64)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--augmentation", choices=("light", "strong"), default="strong")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seeds", default="0", help="with commas between (default: 0)")
    parser.add_argument("--limit", type=int, help="train on so many images; default: all that are not tested on")
    parser.add_argument("--truth", type=Path, help="CSV with id, kind, dice: take the masks as they are")
    parser.add_argument("--test", type=Path, help="test on another folder")
    parser.add_argument("--select", action="store_true", help="measure on images of the training pool, not on the test")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--compile", action="store_true", help="networks run compiled (torch.compile): faster, same sums"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file; what it already holds is not run again")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="also write the table and the plots there")
    return parser.parse_args(arguments)


def case_of(options: argparse.Namespace, pool: data.Pool, test: data.Pool | None, seed: int) -> Case:
    """The data and the job of one seed."""
    truth = data.known_truth(options.truth, pool.names) if options.truth else None
    clean = None if truth is None else [record.kind == CLEAN for record in truth]
    parts = data.split(pool, seed, train=options.limit, test_pool=test, clean=clean)
    if options.select:  # to choose a recipe without looking at the test images
        used = {*parts.train.names, *parts.validation.names, *parts.test.names}
        rest = [i for i, name in enumerate(pool.names) if name not in used]
        parts = data.Split(parts.train, parts.validation, pool.take(rest))
    if truth is None:
        labels, records = data.with_noise(parts.train.masks, parts.train.names, options.noise, options.ratio, seed)
        noisy, _ = data.with_noise(
            parts.validation.masks, parts.validation.names, options.noise, options.ratio, seed + 1
        )
    else:
        known = {record.id: record for record in truth}
        labels, records = parts.train.masks, [known[name] for name in parts.train.names]
        noisy = parts.validation.masks
    validation = data.Pool(parts.validation.names, parts.validation.images, noisy, pool.classes)
    spec = JobSpec(
        dataset_id="benchmark",
        network=NetworkSpec(name=options.network),
        epochs=options.epochs,
        batch_size=options.batch,
        image_size=options.size,
        learning_rate=options.learning_rate,
        augmentation=options.augmentation,
        precision=options.precision,
        seed=seed,
    )
    corrupted = sum(record.kind != CLEAN for record in records) / max(len(records), 1)
    return Case(
        spec,
        parts.train,
        labels,
        records,
        validation,
        parts.test,
        torch.device(options.device),
        corrupted,
        compiled=options.compile,
    )


def take_up(case: Case, results: report.Results, setting: dict[str, object]) -> None:
    """Tell a case what earlier runs have found about it: rankings, and what plain training takes."""
    for cell in results.cells:
        if all(cell.get(name) == value for name, value in setting.items()):
            if cell.get("scores"):
                case.scores[cell["method"]] = cell["scores"]
            if cell["method"] == "plain":
                case.plain_seconds = cell["seconds"]


def main(arguments: list[str] | None = None) -> int:
    """Run what the results file does not hold yet, then print the table."""
    options = parse(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    pool = data.load(options.data, options.size)
    test = data.load(options.test, options.size) if options.test else None
    environment = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
    words = sys.argv[1:] if arguments is None else arguments
    results = report.Results(options.out, f"python -m tests.benchmarks.robustness {' '.join(words)}", environment)
    setting = {
        "data": options.data.name,
        "test": "selection" if options.select else options.test.name if options.test else "",
        "network": options.network,
        "size": options.size,
        "epochs": options.epochs,
        "limit": options.limit,
        "noise": "as it is" if options.truth else options.noise,
        "ratio": 0.0 if options.noise == "none" else options.ratio,
        "augmentation": options.augmentation,
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "precision": options.precision,
    }
    methods = (
        options.methods.split(";") if ";" in options.methods or ":" in options.methods else options.methods.split(",")
    )
    for seed in map(int, options.seeds.split(",")):
        case = None
        for method in methods:
            wanted = (method, *BESIDES.get(method, ()))
            if all(results.done(**setting, method=name, seed=seed) for name in wanted):
                continue
            if case is None:
                case = case_of(options, pool, test, seed)
                take_up(case, results, {**setting, "seed": seed})
            for cell in cells_of(case, method):
                results.add({**setting, **cell})
                dice = "" if cell["dice"] is None else f" Dice {cell['dice']:.4f}"
                ranking = "" if cell["average_precision"] is None else f" AP {cell['average_precision']:.3f}"
                print(f"seed {seed} {cell['method']}:{dice}{ranking} {cell['seconds']:.0f} s", flush=True)
    print(report.table(results))
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)
        (options.report / "table.md").write_text(report.markdown(results), encoding="utf-8")
        plots.plot_curves(results, options.report / "curves.svg")
        plots.plot_bars(results, options.report / "gains.svg")
        if any(cell["method"].startswith("reviewed:") for cell in results.cells):
            plots.plot_review(results, options.report / "review.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
