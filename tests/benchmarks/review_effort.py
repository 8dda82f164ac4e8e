"""`python -m tests.benchmarks.review_effort`: how many labels somebody must look at to find 90 % of the wrong ones.

600 images, 60 of their masks corrupted by the mixed kinds of fault. The orders: ours after a DALE training and after a
plain one, cleanlab's after the same plain one (in-sample, and with `--folds` from out-of-fold predictions), and chance.
With `--again`: the Dice of a plain network that is trained anew once the labels up to there are put right, in each
order. Of several seeds the mean and its standard error follow.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from dale.synthetic import write_samples
from tests.benchmarks.robustness import data
from tests.benchmarks.robustness.methods import Case, cells_of
from tests.benchmarks.robustness.ranking import metrics
from workers.contract.request import JobSpec

FOUND = 0.9  # share of the corrupted labels that are to be found
TRAIN, CORRUPTED, TEST, SIZE = 600, 60, 200, 64
ORDERS = {
    "dale": "our order, DALE's training",
    "plain": "our order, plain training",
    "cleanlab_in_sample": "cleanlab's, of the same plain training",
    "cleanlab_4fold": "cleanlab's, out of fold",
}


def effort(score: ArrayLike, corrupted: ArrayLike, found: float = FOUND) -> float:
    """Share of the labels to look at, the lowest score first, until `found` of the corrupted ones are seen, in (0, 1].

    Args:
        score: (N,), lower = look first; of equal scores the right labels come first: bad luck.
        corrupted: (N,), bool, true where the label is wrong; at least one is.
        found: share of the corrupted to find, in (0, 1].
    """
    score, corrupted = np.asarray(score, np.float64), np.asarray(corrupted, bool)
    seen = np.cumsum(corrupted[np.lexsort((corrupted, score))])
    needed = np.ceil(found * corrupted.sum() - 1e-9)
    return float((np.searchsorted(seen, needed) + 1) / len(score))


def case(folder: Path | None, seed: int, epochs: int, ratio: float | None = None) -> Case:
    """A folder of images/ and masks/, or synthetic lesions, with the corruption and the job of one seed.

    Args:
        folder: None for synthetic lesions.
        seed: of everything.
        epochs: of each training.
        ratio: share of the masks that are corrupted; None: `CORRUPTED` of `TRAIN`.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="dale-effort-") as scratch:
            write_samples(Path(scratch), TRAIN + TEST, SIZE, seed)
            pool = data.load(Path(scratch), SIZE, cache=Path(scratch) / "cache")
    else:
        pool = data.load(folder, SIZE)
    parts = data.split(pool, seed, train=TRAIN, noisy_validation=0, test=min(TEST, len(pool) - TRAIN))
    ratio = CORRUPTED / TRAIN if ratio is None else ratio
    labels, truth = data.with_noise(parts.train.masks, parts.train.names, "mixed", ratio, seed)
    spec = JobSpec(dataset_id="benchmark", epochs=epochs, image_size=SIZE, seed=seed, augmentation="light")
    return Case(spec, parts.train, labels, truth, parts.validation, parts.test, torch.device("cpu"), ratio)


def efforts(one: Case, *, folds: bool = False) -> dict[str, float]:
    """Share of the labels to look at, by method; and by chance, which is what to expect of a random order."""
    methods = ("plain", "dale", *(["cleanlab_4fold"] if folds else []))
    for method in methods:
        list(cells_of(one, method))  # leaves its scores in the case
    found = {name: effort(one.scores[name], one.corrupted) for name in ORDERS if name in one.scores}
    # The k-th of m marked ones among n in random order lies at k (n + 1) / (m + 1) on average.
    n, m = len(one.train), int(one.corrupted.sum())
    return found | {"chance": float(np.ceil(FOUND * m - 1e-9) * (n + 1) / (m + 1) / n)}


def dice_after(one: Case, by: str, share: float) -> float:
    """Mean test Dice of a plain network, trained anew after the first `share` of an order was put right."""
    (cell,) = cells_of(one, f"reviewed:by={by},share={share}")
    return float(cell["dice"])


def qualities(one: Case) -> dict[str, tuple[float, float, float]]:
    """Effort, average precision and AUROC of each order that `efforts` has left in the case."""
    found = {}
    for name in ORDERS.keys() & one.scores.keys():
        quality = metrics(one.scores[name], one.corrupted)
        found[name] = effort(one.scores[name], one.corrupted), quality["average_precision"], quality["auroc"]
    return found


def with_error(values: Sequence[float]) -> str:
    """The mean of the seeds' values, and its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.4f} ± {error:.4f}"


def main(arguments: list[str] | None = None) -> None:
    """Print the shares, seed by seed, and what they are on average."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.review_effort", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of images/ and masks/ (default: synthetic lesions)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ratio", type=float, default=CORRUPTED / TRAIN, help="share of the masks to corrupt")
    parser.add_argument("--folds", action="store_true", help="also cleanlab on out-of-fold predictions: four trainings")
    parser.add_argument("--again", action="store_true", help="also train anew after the review")
    options = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    measured: dict[str, list[tuple[float, float, float]]] = {}
    for seed in options.seeds:
        one = case(options.data, seed, options.epochs, options.ratio)
        found = efforts(one, folds=options.folds)
        print(f"seed {seed}: {int(one.corrupted.sum())} of {len(one.train)} corrupted; to find {FOUND:.0%} of them:")
        print(f"  chance: {found['chance']:.1%} of the labels")
        for name, (share, precision, auroc) in qualities(one).items():
            measured.setdefault(name, []).append((share, precision, auroc))
            print(f"  {ORDERS[name]}: {share:.1%} of the labels; average precision {precision:.3f}, AUROC {auroc:.4f}")
        if options.again:
            share = found["dale"]
            print(f"  Dice without a review: {dice_after(one, 'chance', 0):.3f}")
            for name in ("dale", "plain", "cleanlab_in_sample", "chance"):
                print(f"  Dice after that many in {ORDERS.get(name, name)}: {dice_after(one, name, share):.3f}")
    if len(options.seeds) > 1:
        print("mean ± standard error of share, average precision and AUROC:")
        for name, rows in measured.items():
            print(f"  {ORDERS[name]}: {', '.join(map(with_error, zip(*rows, strict=True)))}")


if __name__ == "__main__":
    main()
