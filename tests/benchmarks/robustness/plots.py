"""Plots of a results file as SVG, drawn by hand: Dice over epochs, over labels reviewed, and gains over plain training.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; every line and bar bears its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.robustness.report import PLAIN, Block, Cell, Results, summarise

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d1f")
INK, FAINT, PLAIN_COLOUR = "#222222", "#dddddd", "#555555"
FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
# Sizes in pixels: a panel's inside, the room for titles, ticks, and the names at the right of the lines.
WIDTH, HEIGHT, TOP, LEFT, BOTTOM, NAMES = 420, 260, 44, 56, 44, 170
LINE, BAR, GLYPH = 15, 26, 7  # height of a line of text, of a bar with its gap; width of a letter, about


def tag(parent: ET.Element, name: str, text: str = "", **attributes: float | str) -> ET.Element:
    """Add an element; `stroke_width=2` becomes `stroke-width="2"`, numbers are cut to 2 decimals."""
    element = ET.SubElement(parent, name)
    for key, value in attributes.items():
        element.set(key.replace("_", "-"), value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip("."))
    element.text = text or None
    return element


def write_text(
    parent: ET.Element, x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK, weight: str = "400"
) -> None:
    """A line of text whose middle is at height y."""
    tag(parent, "text", text, x=x, y=y + 4, text_anchor=anchor, fill=colour, font_weight=weight)


def canvas(width: float, height: float) -> ET.Element:
    """An empty picture with a white background."""
    svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}")
    svg.set("width", f"{width:g}")
    svg.set("height", f"{height:g}")
    svg.set("font-family", FONT)
    svg.set("font-size", "12")
    tag(svg, "rect", width=width, height=height, fill="#ffffff")
    return svg


def save(svg: ET.Element, out: Path) -> None:
    """Write the picture."""
    ET.indent(svg)
    out.write_bytes(ET.tostring(svg, encoding="utf-8", xml_declaration=True) + b"\n")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within low and high: 1, 2 or 5 times a power of ten apart."""
    rough = max(high - low, 1e-9) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return [float(round(i * step, 10)) for i in range(int(np.ceil(low / step - 1e-9)), int(high / step + 1e-9) + 1)]


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights that keep their order and are at least `gap` apart (pooled as in isotonic regression)."""
    order = np.argsort(heights, kind="stable")
    pools: list[tuple[float, int]] = []  # of heights minus their rank times the gap: mean, count
    for rank, index in enumerate(order):
        mean, count = heights[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, others = pools.pop()
            mean, count = (before * others + mean * count) / (others + count), others + count
        pools.append((mean, count))
    shifted = [mean for mean, count in pools for _ in range(count)]
    placed = [0.0] * len(heights)
    for rank, index in enumerate(order):
        placed[index] = shifted[rank] + rank * gap
    return placed


def colours_of(results: Results) -> dict[str, str]:
    """One colour for each method, the same in every panel; plain is grey."""
    methods = [name for name in dict.fromkeys(cell["method"] for cell in results.cells) if name != PLAIN]
    return {PLAIN: PLAIN_COLOUR} | {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(methods)}


def course(cells: Sequence[Cell]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Epochs (E,) and Dice (S, E) of the cells of one method that have a curve, at the epochs they share.

    The Dice is the teacher's where there is one, but the network's for plain training, which is judged by it.
    """
    curves = []
    for cell in cells:
        column = 1 if cell["method"] == PLAIN else 2
        points = {row[0]: row[column] if row[column] is not None else row[1] for row in cell.get("curve") or []}
        curves += [points] if points else []
    shared = sorted(set.intersection(*(set(points) for points in curves))) if curves else []
    if not shared:
        return None
    return np.array(shared, np.float64), np.array([[points[e] for e in shared] for points in curves], np.float64)


def plot_curves(results: Results, out: Path) -> None:
    """Test Dice over epochs, a panel for each setting: the mean over seeds, and their range as a band.

    Raises:
        ValueError: no cell has a curve.
    """
    panels = []
    for block in summarise(results):
        courses = {row.method: course([*_cells(results, block, row.method)]) for row in block.rows}
        found = {method: line for method, line in courses.items() if line is not None}
        panels += [(block.title, found)] if found else []
    if not panels:
        raise ValueError(f"no cell of {results.path} has a curve")
    colours, tall = colours_of(results), TOP + HEIGHT + BOTTOM
    svg = canvas(LEFT + WIDTH + NAMES, tall * len(panels))
    for number, (title, lines) in enumerate(panels):
        panel = tag(svg, "g", transform=f"translate({LEFT} {number * tall + TOP})")
        values = np.concatenate([dice.ravel() for _, dice in lines.values()])
        epochs = np.concatenate([at for at, _ in lines.values()])
        # The steep first epochs would squeeze the rest: the axis begins where nine tenths of the points lie above.
        low, high = max(0.0, float(np.quantile(values, 0.1)) - 0.02), float(values.max()) + 0.01
        first, last = float(epochs.min()), max(float(epochs.max()), float(epochs.min()) + 1)
        inside = _axes(panel, title, (first, last), (low, high), "epoch (lines: mean over seeds, bands: their range)")
        ends = {}
        for method, (at, dice) in lines.items():
            x = (at - first) / (last - first) * WIDTH
            mean, least, most = (
                HEIGHT * (high - values) / (high - low) for values in (dice.mean(0), dice.min(0), dice.max(0))
            )
            if len(dice) > 1:
                band = _points([*x, *x[::-1]], [*least, *most[::-1]])
                tag(inside, "polygon", points=band, fill=colours[method], fill_opacity=0.15)
            line = tag(inside, "polyline", points=_points(x, mean), fill="none", stroke=colours[method], stroke_width=2)
            if method == PLAIN:
                line.set("stroke-dasharray", "5 3")
            ends[method] = float(x[-1]), float(np.clip(mean[-1], 0, HEIGHT))
        places = spread_out([y for _, y in ends.values()], LINE)
        for (method, (x_end, y_end)), place in zip(ends.items(), places, strict=True):
            elbow = _points([x_end, WIDTH + 4, WIDTH + 14], [y_end, y_end, place])
            tag(panel, "polyline", points=elbow, fill="none", stroke=colours[method], stroke_width=1.5)
            write_text(panel, WIDTH + 18, place, f"{method} {lines[method][1].mean(0)[-1]:.3f}")
    save(svg, out)


def _cells(results: Results, block: Block, method: str) -> Iterator[Cell]:
    wanted = {**block.setting, "method": method}
    return (cell for cell in results.cells if all(cell.get(name) == value for name, value in wanted.items()))


def _points(x: Iterable[float], y: Iterable[float]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _axes(
    panel: ET.Element,
    title: str,
    across: tuple[float, float],
    up: tuple[float, float],
    foot: str,
    side: str = "test Dice",
) -> ET.Element:
    """Title, grid and numbers; returns the group that is cut at the panel's edges."""
    write_text(panel, 8 - LEFT, -TOP / 2, title, weight="600")
    for value in ticks(*up):
        y = HEIGHT * (up[1] - value) / (up[1] - up[0])
        tag(panel, "line", x1=0, y1=y, x2=WIDTH, y2=y, stroke=FAINT)
        write_text(panel, -6, y, f"{value:g}", anchor="end")
    for value in ticks(*across):
        x = WIDTH * (value - across[0]) / (across[1] - across[0])
        write_text(panel, x, HEIGHT + 12, f"{value:g}", anchor="middle")
    write_text(panel, WIDTH / 2, HEIGHT + 28, foot, anchor="middle")
    write_text(panel, 8 - LEFT, -8, side)
    return tag(panel, "svg", width=WIDTH, height=HEIGHT, overflow="hidden")


def plot_bars(results: Results, out: Path) -> None:
    """Points of Dice over plain training, a panel for each setting: the mean over seeds and its standard error.

    Raises:
        ValueError: no method can be compared with plain training.
    """
    panels = []
    for block in summarise(results):
        rows = [
            (row.method, row.gain * 100, (row.gain_error or 0.0) * 100) for row in block.rows if row.gain is not None
        ]
        panels += [(block.title, sorted(rows, key=lambda row: -row[1]))] if rows else []
    if not panels:
        raise ValueError(f"no method of {results.path} has a seed in common with {PLAIN}")
    ends = [gain + side * error for _, rows in panels for _, gain, error in rows for side in (-1, 1)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    colours = colours_of(results)
    heights = [TOP + BAR * len(rows) + BOTTOM for _, rows in panels]
    names = max(NAMES, 16 + GLYPH * max(len(method) for _, rows in panels for method, _, _ in rows))
    svg = canvas(names + WIDTH + NAMES / 2, sum(heights))

    def at(points: float) -> float:
        return (points - low) / (high - low) * WIDTH

    for number, (title, rows) in enumerate(panels):
        panel = tag(svg, "g", transform=f"translate({names} {sum(heights[:number]) + TOP})")
        write_text(panel, 8 - names, -TOP / 2, title, weight="600")
        foot = BAR * len(rows)
        for value in ticks(low, high):
            tag(panel, "line", x1=at(value), y1=0, x2=at(value), y2=foot, stroke=FAINT)
            write_text(panel, at(value), foot + 12, f"{value:+g}" if value else "plain", anchor="middle")
        for line, (method, gain, error) in enumerate(rows):
            y, left = BAR * (line + 0.5), min(at(0), at(gain))
            bar = abs(at(gain) - at(0))
            tag(panel, "rect", x=left, y=y - BAR * 0.3, width=bar, height=BAR * 0.6, fill=colours[method])
            if error:
                tag(panel, "path", d=_whisker(at(gain - error), at(gain + error), y), stroke=INK, fill="none")
            write_text(panel, -8, y, method, anchor="end")
            write_text(panel, WIDTH + 8, y, f"{round(gain, 1) + 0.0:+.1f}" + (f" ± {error:.1f}" if error else ""))
        tag(panel, "line", x1=at(0), y1=0, x2=at(0), y2=foot, stroke=INK)
        write_text(panel, WIDTH / 2, foot + 28, "points of Dice over plain training, ± standard error", anchor="middle")
    save(svg, out)


def plot_review(results: Results, out: Path) -> None:
    """Test Dice after a perfect reviewer put right the first labels of an order, a panel for each setting.

    A line for each order, over the share of the labels looked at: the mean over seeds, and its standard error.

    Raises:
        ValueError: no cell has the method `reviewed:by=...,share=...`.
    """
    panels = []
    for block in summarise(results):
        lines: dict[str, list[tuple[float, float, float]]] = {}
        for row in block.rows:
            name, _, options = row.method.partition(":")
            if name == "reviewed" and options and row.gain is not None:
                given = dict(option.split("=", 1) for option in options.split(","))
                point = (float(given["share"]) * 100, row.gain * 100, (row.gain_error or 0.0) * 100)
                lines.setdefault(given["by"], [(0.0, 0.0, 0.0)]).append(point)
        panels += [(block.title, {by: sorted(points) for by, points in lines.items()})] if lines else []
    if not panels:
        raise ValueError(f"no cell of {results.path} tells of a review")
    svg, tall = canvas(LEFT + WIDTH + NAMES, (TOP + HEIGHT + BOTTOM) * len(panels)), TOP + HEIGHT + BOTTOM
    for number, (title, lines) in enumerate(panels):
        panel = tag(svg, "g", transform=f"translate({LEFT} {number * tall + TOP})")
        points = [point for line in lines.values() for point in line]
        most = max(share for share, _, _ in points) * 1.03
        low = min(gain - error for _, gain, error in points) - 0.2
        high = max(gain + error for _, gain, error in points) + 0.2
        foot = "% of the labels looked at, and put right where wrong (bars: standard error over seeds)"
        inside = _axes(panel, title, (0, most), (low, high), foot, "points of Dice over no review")
        for colour, (by, line) in zip(COLOURS, sorted(lines.items(), key=lambda item: -item[1][-1][1]), strict=False):
            x = [share / most * WIDTH for share, _, _ in line]
            y, above, below = (
                [HEIGHT * (high - gain - side * error) / (high - low) for _, gain, error in line] for side in (0, 1, -1)
            )
            tag(inside, "polyline", points=_points(x, y), fill="none", stroke=colour, stroke_width=2)
            for at, upper, lower in zip(x[1:], above[1:], below[1:], strict=True):
                tag(inside, "path", d=f"M{at:.1f} {upper:.1f}V{lower:.1f}", stroke=colour, fill="none")
            write_text(panel, WIDTH + 8, y[-1], f"{by} {line[-1][1]:+.1f}", colour=colour)
    save(svg, out)


def _whisker(left: float, right: float, y: float) -> str:
    return f"M{left:.1f} {y - 4:.1f}v8M{left:.1f} {y:.1f}H{right:.1f}M{right:.1f} {y - 4:.1f}v8"
