"""The results file under interruption and competition, the statistics against closed forms, tables and plots."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from tests.benchmarks.robustness.plots import plot_bars, plot_curves, plot_review, spread_out, ticks
from tests.benchmarks.robustness.report import Cell, Results, bootstrap, markdown, summarise, table

ROOT = Path(__file__).parents[3]


def cell(method: str, seed: int, dice: float | None, **more: object) -> Cell:
    setting = {"data": "wounds", "network": "UNet", "size": 64, "epochs": 40, "noise": "mixed", "ratio": 0.4}
    samples = None if dice is None else [dice - 0.1, dice + 0.1]
    return {**setting, "limit": 200, "method": method, "seed": seed, "dice": dice, "dice_samples": samples, **more}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two seeds; by hand: gains of dale +5 and +3, of clean labels +10 and +10, of the oracle +8 and +8."""
    results = Results(tmp_path / "results.json", "benchmark --seeds 0,1")
    dice = {"dale": (0.65, 0.65), "plain": (0.6, 0.62), "clean_labels": (0.7, 0.72), "oracle": (0.68, 0.7)}
    for method, values in dice.items():
        for seed, value in enumerate(values):
            curve = [[10, value - 0.1, value - 0.05], [20, value - 0.02, None if seed else value]]
            ranks = {"auroc": 0.9 + 0.02 * seed, "average_precision": 0.8, "precision_first_tenth": 0.75}
            results.add(cell(method, seed, value, cost=1.25, peak_memory_mb=500.4, curve=curve, **ranks))
    results.add(cell("cleanlab_4fold", 0, None, auroc=0.7, average_precision=0.55, cost=4.0))
    results.add(cell("plain", 0, 0.71, noise="none", ratio=0))
    results.add(cell("dale", 0, 0.712, noise="none", ratio=0))
    return results


def test_the_file_keeps_each_cell_once_in_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    results = Results(path, "first", {"torch": "2"})
    assert not results.done(method="dale")
    results.add(
        cell(
            "dale", 0, np.float32(0.5), auroc=float("nan"), scores=torch.tensor([0.5, 1.0]), kinds={"box": np.int64(1)}
        )
        | {"dice_samples": np.array([0.123456, 1])}
    )
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["environment"] == {"torch": "2"}
    (kept,) = content["cells"]
    assert (kept["dice"], kept["auroc"], kept["scores"], kept["kinds"]) == (0.5, None, [0.5, 1.0], {"box": 1})
    assert kept["dice_samples"] == [0.1235, 1.0]

    again = Results(path, "second")
    assert again.done(method="dale", seed=0, noise="mixed")
    assert not again.done(method="dale", seed=1)
    again.add(cell("dale", 0, 0.6))
    again.add(cell("dale", 0, 0.7, size=256))
    loaded = Results.load(path)
    assert [kept["dice"] for kept in loaded.cells] == [0.6, 0.7]
    content = json.loads(path.read_text())
    assert content["command"].splitlines() == ["first", "second"]
    assert content["environment"] == {"torch": "2"}
    path.write_text('{"cells": [')
    with pytest.raises(ValueError, match=r"results\.json is no results file"):
        Results.load(path)


WRITER = """
import sys
from pathlib import Path
from tests.benchmarks.robustness.report import Results
results = Results(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for seed in range(15):
    results.add({"method": sys.argv[2], "seed": seed, "dice": 0.5, "scores": [0.25] * 500})
    print(seed, flush=True)
"""


def test_two_processes_write_to_one_file_and_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "killed")
    ]
    streams = [(writer, writer.stdin, writer.stdout) for writer in writers]
    for _, _, out in streams:
        assert out is not None
        assert out.readline() == "ready\n"
    for _, given, _ in streams:
        assert given is not None
        given.write("go\n")
        given.flush()
    victim = writers[2]
    assert victim.stdout is not None
    for _ in range(5):
        victim.stdout.readline()
    victim.kill()
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers[:2]] == [0, 0]
    kept = {(cell["method"], cell["seed"]) for cell in Results.load(path).cells}
    assert kept >= {(name, seed) for name in ("one", "two") for seed in range(15)}
    assert kept >= {("killed", seed) for seed in range(5)}
    assert sorted(json.loads(path.read_text())["command"].splitlines()) == ["killed", "one", "two"]


def test_bootstrap_against_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(0.7, 0.2, 400)
    half = 1.96 * images.std() / np.sqrt(400)
    low, high = bootstrap([images])
    assert (low, high) == pytest.approx((images.mean() - half, images.mean() + half), abs=0.06 * half)
    assert bootstrap([images]) == (low, high)

    # Dice = part of the seed + part of the image: the variances of the two means add up.
    seeds = rng.normal(0, 0.03, 30)
    grid = seeds[:, None] + images
    half = 1.96 * np.sqrt(images.var() / 400 + seeds.var() / 30)
    low, high = bootstrap(grid)
    assert (low, high) == pytest.approx((grid.mean() - half, grid.mean() + half), abs=0.06 * half)
    low, high = bootstrap(grid, level=0.5)
    assert high - low == pytest.approx(2 * half * 0.6745 / 1.96, rel=0.08)


def test_numbers_of_a_result_made_by_hand(results: Results) -> None:
    noisy, clean = summarise(results)
    rows = {row.method: row for row in noisy.rows}
    assert list(rows) == ["plain", "dale", "clean_labels", "oracle", "cleanlab_4fold"]
    dale = rows["dale"]
    assert dale.seeds == 2
    assert dale.dice == pytest.approx(0.65)
    assert rows["plain"].spread == pytest.approx(0.02 / np.sqrt(2))
    assert dale.gain == pytest.approx(0.04)
    assert dale.gain_error == pytest.approx(0.01)  # sd of 5 and 3 is sqrt(2), over sqrt(2)
    assert dale.of_gap == pytest.approx(0.4)
    assert dale.of_oracle == pytest.approx(0.5)
    assert dale.auroc == pytest.approx(0.91)
    assert dale.interval == pytest.approx((0.55, 0.75))  # two images, 0.55 and 0.75 in both seeds
    assert rows["plain"].gain is rows["plain"].of_gap is None
    assert rows["cleanlab_4fold"].dice is rows["cleanlab_4fold"].interval is None
    row = {row.method: row for row in clean.rows}["dale"]
    assert row.gain == pytest.approx(0.002)
    assert row.gain_error is row.spread is row.of_gap is None


def test_plain_on_clean_labels_stands_in_for_the_method_clean_labels(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    for method, noise, dice in (("plain", "mixed", 0.6), ("dale", "mixed", 0.65), ("plain", "none", 0.7)):
        results.add(cell(method, 0, dice, noise=noise, ratio=0 if noise == "none" else 0.4))
    results.add(cell("plain", 0, 0.9, noise="none", ratio=0, epochs=150))
    assert summarise(results)[0].rows[1].of_gap == pytest.approx(0.5)


def test_the_tables_show_them(results: Results) -> None:
    written = markdown(results)
    (line,) = re.findall(r"\| dale \| 2 .*", written)
    assert line == "| dale | 2 | 0.650 ± 0.000 | 0.550 to 0.750 | +4.0 ± 1.0 | 40 % | 50 % " + (
        "| 0.910 | 0.800 | 0.75 | 1.25 | 500 |"
    )
    assert "| cleanlab_4fold | 1 | - | - | - | - | - | 0.700 | 0.550 | - | 4.00 | - |" in written
    assert "**wounds, noise mixed 40 %: UNet, 64 px, 40 epochs, 200 images**" in written
    assert "**wounds, noise none: UNet, 64 px, 40 epochs, 200 images**" in written
    shown = table(results)
    for text in ("wounds, noise none", "+4.0 ± 1.0", "0.550 to 0.750", "cleanlab_4fold"):
        assert text in shown
    assert "…" not in shown
    assert table(Results(Path("no such file"))) == ""


def elements(svg: Path, name: str) -> list[ET.Element]:
    return list(ET.fromstring(svg.read_text()).iter(f"{{http://www.w3.org/2000/svg}}{name}"))  # noqa: S314


def test_plots_say_what_they_show(results: Results, tmp_path: Path) -> None:
    plot_bars(results, tmp_path / "bars.svg")
    bars = [text.text for text in elements(tmp_path / "bars.svg", "text")]
    assert bars.index("clean_labels") < bars.index("oracle") < bars.index("dale")
    assert {"+4.0 ± 1.0", "+0.2"} <= set(bars)
    widths = [float(bar.get("width", "nan")) for bar in elements(tmp_path / "bars.svg", "rect")[1:]]
    assert np.divide(widths, widths[2]) == pytest.approx([10 / 4, 8 / 4, 1, 0.2 / 4], abs=1e-3)

    plot_curves(results, tmp_path / "curves.svg")
    curves = [text.text for text in elements(tmp_path / "curves.svg", "text")]
    assert "dale 0.640" in curves  # the teacher's 0.65 and, where there is none, the network's 0.63
    assert "plain 0.590" in curves  # the network's, 0.58 and 0.60
    assert len(elements(tmp_path / "curves.svg", "polygon")) == 4
    with pytest.raises(ValueError, match=r"no cell .* has a curve"):
        plot_curves(Results(tmp_path / "none.json"), tmp_path / "none.svg")
    with pytest.raises(ValueError, match="in common with plain"):
        plot_bars(Results(tmp_path / "none.json"), tmp_path / "none.svg")


def test_the_reviewers_curve_ranks_the_orders(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    gains = {"plain": 0.0, "chance,share=0.2": 0.01, "dale,share=0.1": 0.03, "dale,share=0.2": 0.05}
    for name, gain in gains.items():
        for seed, spread in ((0, -0.01), (1, 0.01)):
            method = name if name == "plain" else f"reviewed:by={name}"
            results.add(cell(method, seed, 0.6 + 5 * spread + gain * (1 + 10 * spread)))
    plot_review(results, tmp_path / "review.svg")
    words = [text.text for text in elements(tmp_path / "review.svg", "text")]
    assert words[-2:] == ["dale +5.0", "chance +1.0"]
    dale, chance = ([*line.get("points", "").split()] for line in elements(tmp_path / "review.svg", "polyline"))
    (x0, y0), (x1, y1), (x2, y2) = ([float(part) for part in point.split(",")] for point in dale)
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.5, abs=1e-3)
    assert (y0 - y1) / (y0 - y2) == pytest.approx(3 / 5, abs=1e-2)
    assert chance[0] == dale[0]
    with pytest.raises(ValueError, match="tells of a review"):
        plot_review(Results(tmp_path / "none.json"), tmp_path / "none.svg")


def test_ticks_are_round_and_names_do_not_overlap() -> None:
    assert ticks(0.58, 0.81) == [0.6, 0.65, 0.7, 0.75, 0.8]
    assert ticks(-3, 13) == [0, 5, 10]
    assert ticks(0, 150) == [0, 50, 100, 150]
    assert spread_out([10, 50], 15) == [10, 50]
    assert spread_out([50, 10, 52], 15) == pytest.approx([43.5, 10, 58.5])
    placed = spread_out([5.0] * 4, 10)
    assert placed == pytest.approx([-10, 0, 10, 20])
