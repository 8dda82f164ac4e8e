"""The results file of the benchmark, the numbers that it comes down to, and tables of them.

A cell is one run: a flat dict with the fields of `KEY` and what was measured: `dice` (mean over the test images, null
for methods that only rank), `dice_samples` (one per test image, always in the same order), `auroc`,
`average_precision`, `precision_first_tenth`, `kinds` {kind: AUROC}, `cost` (wall time over that of one plain training),
`seconds`, `peak_memory_mb`, `curve` [[epoch, Dice of the network, Dice of the teacher], ...], `scores`.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

Cell = dict[str, Any]

# What cells of a block share.
TRAINING = ("data", "test", "network", "size", "epochs", "limit", "augmentation", "batch", "learning_rate", "precision")
SETTING = (*TRAINING, "noise", "ratio")
KEY = (*SETTING, "method", "seed")
# Methods that others are measured by.
PLAIN, CLEAN_LABELS, ORACLE = "plain", "clean_labels", "oracle"
RESAMPLES = 4000
LEAST_GAP = 0.01  # of Dice: a share of less is a share of what two runs differ by


class Results:
    """The cells in a results file; several processes may add to one file, and any may be killed at any time.

    Args:
        path: JSON file `{"cells": [...], "environment": {...}, "command": "..."}`; it need not exist.
        command: the command that adds cells; the file keeps each different one on a line.
        environment: what it runs on; the file keeps the latest.

    Raises:
        ValueError: the file exists and is no results file.
    """

    def __init__(self, path: Path, command: str = "", environment: Mapping[str, Any] | None = None) -> None:
        self.path, self.command, self.environment = path, command, dict(environment or {})
        self.cells: list[Cell] = self._read()["cells"]

    @classmethod
    def load(cls, path: Path) -> Results:
        """The cells of a file; none where it does not exist."""
        return cls(path)

    def done(self, **fields: object) -> bool:
        """Whether a cell has all of these values."""
        return any(all(cell.get(name) == value for name, value in fields.items()) for cell in self.cells)

    def add(self, cell: Mapping[str, Any]) -> None:
        """Write one more cell, with those that others have written since; it replaces one of the same `KEY`."""
        new = _plain(cell)
        if new.get("dice_samples"):
            new["dice_samples"] = [value if value is None else round(value, 4) for value in new["dice_samples"]]
        with self._lock():
            content = self._read()
            self.cells = [old for old in content["cells"] if _key(old) != _key(new)] + [new]
            commands = [line for line in (*content["command"].splitlines(), self.command) if line]
            content["cells"], content["command"] = self.cells, "\n".join(dict.fromkeys(commands))
            content["environment"] = self.environment or content["environment"]
            part = self._beside("part")
            with part.open("w", encoding="utf-8") as file:
                json.dump(content, file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)

    def _read(self) -> dict[str, Any]:
        content: dict[str, Any] = {"cells": [], "environment": {}, "command": ""}
        try:
            content |= json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.path} is no results file ({error}); move it away or name another.") from error
        return content

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{ending}")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._beside("lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(cell.get(name) for name in KEY)


def _plain(value: Any) -> Any:
    """Numbers of NumPy and PyTorch as JSON knows them; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Summary:
    """What the seeds of one method come to; None where it was not measured or is not defined."""

    method: str
    seeds: int
    dice: float | None  # mean over seeds of the mean over test images
    spread: float | None  # standard deviation over seeds
    interval: tuple[float, float] | None  # 95 %, see `bootstrap`
    gain: float | None  # Dice over plain of the same seed, mean
    gain_error: float | None  # its standard error over seeds
    of_gap: float | None  # gain over that of clean labels
    of_oracle: float | None  # gain over that of oracle confidences
    auroc: float | None
    average_precision: float | None
    precision_first_tenth: float | None
    cost: float | None
    peak_memory_mb: float | None


@dataclass(frozen=True)
class Block:
    """The methods under one setting, plain first."""

    setting: Cell
    rows: list[Summary]

    @property
    def title(self) -> str:
        """The setting in words."""
        s = self.setting
        noise = (
            s["noise"] if s["ratio"] in {None, 0} or s["noise"] == "none" else f"{s['noise']} {100 * s['ratio']:g} %"
        )
        where = f", tested on {s['test']}" if s["test"] else ""
        limit = f", {s['limit']} images" if s["limit"] else ""
        views = f", {s['augmentation']} augmentation" if s["augmentation"] else ""
        return f"{s['data']}, noise {noise}{where}: {s['network']}, {s['size']} px, {s['epochs']} epochs{limit}{views}"


def bootstrap(samples: ArrayLike, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean Dice over what varies: the seeds of the runs, and the test images.

    Rows and columns are drawn with replacement, independently of each other: all runs are tested on the same images,
    so an easy image is easy in every row (Owen, "The pigeonhole bootstrap", 2007). With S seeds their part of the
    variance comes out (S - 1) / S too small, and with one seed it is not seen at all.

    Args:
        samples: (S, M) Dice of each seed and test image.
        level: of the interval.
        seed: of the draws.
    """
    table = np.asarray(samples, np.float64)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in table.shape)
    means = ((rows @ table) * columns).sum(1)  # (RESAMPLES,)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarise(results: Results) -> list[Block]:
    """One block for each setting, in the order of their first cells."""
    blocks: dict[tuple[Any, ...], dict[str, list[Cell]]] = {}
    for cell in results.cells:
        blocks.setdefault(_key(cell)[: len(SETTING)], {}).setdefault(cell["method"], []).append(cell)
    clean = {key[:-2]: _by_seed(methods.get(PLAIN, [])) for key, methods in blocks.items() if key[-2] == "none"}
    made = []
    for key, methods in blocks.items():
        plain = _by_seed(methods.get(PLAIN, []))
        best = _by_seed(methods.get(CLEAN_LABELS, [])) or clean.get(key[:-2], {})
        oracle = _by_seed(methods.get(ORACLE, []))
        order = sorted(methods, key=lambda method: method != PLAIN)
        rows = [_summary(method, methods[method], plain, best, oracle) for method in order]
        made.append(Block(dict(zip(SETTING, key, strict=True)), rows))
    return made


def _summary(
    method: str,
    cells: list[Cell],
    plain: Mapping[int, float],
    best: Mapping[int, float],
    oracle: Mapping[int, float],
) -> Summary:
    dice = _by_seed(cells)
    samples = [cell["dice_samples"] for cell in cells if cell.get("dice_samples")]
    gains = [] if method == PLAIN else [dice[seed] - plain[seed] for seed in dice if seed in plain]
    measured = ("auroc", "average_precision", "precision_first_tenth", "cost", "peak_memory_mb")
    return Summary(
        method=method,
        seeds=len({cell["seed"] for cell in cells}),
        dice=_mean(dice.values()),
        spread=float(np.std(list(dice.values()), ddof=1)) if len(dice) > 1 else None,
        interval=bootstrap(samples) if len({len(row) for row in samples}) == 1 else None,
        gain=_mean(gains),
        gain_error=float(np.std(gains, ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else None,
        of_gap=None if method == PLAIN else _share(dice, plain, best),
        of_oracle=None if method == PLAIN else _share(dice, plain, oracle),
        **{name: _mean(cell[name] for cell in cells if cell.get(name) is not None) for name in measured},
    )


def _by_seed(cells: list[Cell]) -> dict[int, float]:
    return {cell["seed"]: cell["dice"] for cell in cells if cell.get("dice") is not None}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return float(np.mean(found)) if found else None


def _share(dice: Mapping[int, float], plain: Mapping[int, float], best: Mapping[int, float]) -> float | None:
    """(dice - plain) / (best - plain), of the means over the seeds that have all three; None below `LEAST_GAP`."""
    seeds = [seed for seed in dice if seed in plain and seed in best]
    room = sum(best[seed] - plain[seed] for seed in seeds)
    return sum(dice[seed] - plain[seed] for seed in seeds) / room if room >= LEAST_GAP * len(seeds) > 0 else None


def texts(row: Summary) -> dict[str, str]:
    """A row for people, by heading. Differences are in points, hundredths of Dice."""

    def show(value: float | None, form: str, scale: float = 1, ending: str = "") -> str:
        return "-" if value is None else f"{value * scale:{form}}{ending}"

    def with_error(value: float | None, error: float | None, form: str, scale: float = 1) -> str:
        return show(value, form, scale) + ("" if error is None else f" ± {error * scale:{form.lstrip('+')}}")

    return {
        "method": row.method,
        "seeds": str(row.seeds),
        "Dice ± sd": with_error(row.dice, row.spread, ".3f"),
        "95 % interval": "-" if row.interval is None else f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
        "points over plain ± se": with_error(row.gain, row.gain_error, "+.1f", 100),
        "of gap": show(row.of_gap, ".0f", 100, " %"),
        "of oracle": show(row.of_oracle, ".0f", 100, " %"),
        "AUROC": show(row.auroc, ".3f"),
        "AP": show(row.average_precision, ".3f"),
        "first 10 %": show(row.precision_first_tenth, ".2f"),
        "cost": show(row.cost, ".2f"),
        "peak MB": show(row.peak_memory_mb, ".0f"),
    }


def table(results: Results) -> str:
    """The blocks as tables for a terminal."""
    sink = io.StringIO()
    console = Console(file=sink, width=160)
    for block in summarise(results):
        rows = [texts(row) for row in block.rows]
        grid = Table(title=block.title, title_justify="left")
        for heading in rows[0]:
            grid.add_column(heading, justify="left" if heading == "method" else "right")
        for row in rows:
            grid.add_row(*row.values())
        console.print(grid)
    return sink.getvalue()


def markdown(results: Results) -> str:
    """The same tables in Markdown."""
    parts = []
    for block in summarise(results):
        rows = [texts(row) for row in block.rows]
        lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
        parts.append(f"**{block.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join(parts)
