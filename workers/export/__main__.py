"""Makes exports and compares them with the trained network: `python -m workers.export FOLDER --exports onnx,…`.

What is in the folder before and after is `workers.export.workplace`'s. The process ends when its standard input does:
so it does not outlive the run that started it.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.contract.inference import Network
from workers.contract.request import EXPORTS, ExportName, ExportReport
from workers.export import bundle, formats
from workers.export.comparison import Agreement, Predict, agreement, by_arrays, by_network
from workers.export.workplace import Workplace
from workers.network import build_network, single_output


class Exporter:
    """Makes the exports of one model.

    Args:
        workplace: where the model lies, and what is written.
    """

    def __init__(self, workplace: Workplace) -> None:
        self.workplace, self.about = workplace, workplace.about()
        self.bare, self.network = trained(workplace.weights, self.about)
        self.cases = workplace.cases()
        predict = by_network(self.about, self.network)
        self.truth = [predict(files) for files in self.cases]

    @functools.cached_property
    def example(self) -> Tensor:
        """(2, channels, *spatial); two, as a single one would be taken for a constant."""
        return torch.zeros(2, *self.about["input"]["shape"][1:])

    @functools.cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The network as a graph."""
        return formats.program_of(self.network, self.example)

    def make(self, name: ExportName) -> Agreement:
        """Write one export and say how far it agrees with the network."""
        predict = self._predict(name)
        return agreement(self.truth, [predict(files) for files in self.cases])

    def _predict(self, name: ExportName) -> Predict:
        path, scratch = self.workplace.file(name), self.workplace.scratch(name)
        if name == "monai_bundle":
            return bundle.write(self.bare, self.network, self.example, self.about, scratch, path)
        made: dict[str, Callable[[], Network]] = {
            "torchscript": lambda: formats.torchscript(self.network, self.example, path),
            "torch_export": lambda: formats.torch_export(self.program, path),
            "onnx": lambda: formats.onnx(self.program, self.about, scratch, path),
        }
        return by_arrays(self.about, made[name]())


def trained(weights: Path, about: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """The trained network as MONAI has it, and with a single answer; in evaluation mode, float32, on the CPU."""
    bare = build_network(about["network"]["name"], about["network"]["arguments"])
    bare.load_state_dict(load_file(weights))
    bare.eval().requires_grad_(False)
    return bare, single_output(about["network"]["name"], bare).eval()


def report_of(name: ExportName, exporter: Exporter) -> ExportReport:
    """Make an export; whatever goes wrong becomes the reason for which it is not published."""
    started = time.monotonic()
    path = exporter.workplace.file(name)
    try:
        found = exporter.make(name)
    except Exception as error:  # noqa: BLE001 - exporters raise of everything; the others go on
        path.unlink(missing_ok=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        return ExportReport(name=name, reason=reason, seconds=round(time.monotonic() - started, 1))
    if found.disagreement:
        path.unlink(missing_ok=True)
    finite = found.max_difference < float("inf")
    return ExportReport(
        name=name,
        file=None if found.disagreement else path.name,
        reason=found.disagreement,
        samples=found.samples,
        max_difference=found.max_difference if finite else None,
        differing_pixels=found.differing,
        seconds=round(time.monotonic() - started, 1),
    )


def _end_with_the_parent() -> None:
    def wait() -> None:
        while os.read(0, 1):  # past Python's own reader, whose lock a finishing interpreter trips over
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Make exports of a trained model.")
    parser.add_argument("folder", type=Path, help="with model.safetensors, model.json and cases/")
    parser.add_argument("--exports", required=True, help=f"of {','.join(EXPORTS)}")
    options = parser.parse_args(argv)
    _end_with_the_parent()
    workplace = Workplace(options.folder)
    exporter = Exporter(workplace)
    wanted = options.exports.split(",")
    for name in EXPORTS:
        if name in wanted:
            workplace.report(report_of(name, exporter))
    return 0


if __name__ == "__main__":
    sys.exit(main())
