"""The folder in which a run and the process that exports its model meet.

The run leaves what the model is and what to compare it on; the process leaves files and one report for each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.contract.request import EXPORTS, ExportName, ExportReport

FILES: dict[ExportName, str] = {
    "torchscript": "model.ts",
    "torch_export": "model.pt2",
    "onnx": "onnx.zip",
    "monai_bundle": "monai_bundle.zip",
}
MEDIA_TYPES = {".zip": "application/zip"}  # all others: application/octet-stream


@dataclass(frozen=True)
class Workplace:
    """Paths below a folder, and what is written at them.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def weights(self) -> Path:
        """State of the bare network, safetensors."""
        return self.root / "model.safetensors"

    @property
    def description(self) -> Path:
        """The model's `model.json`."""
        return self.root / "model.json"

    @property
    def log(self) -> Path:
        """What the process has printed."""
        return self.root / "log.txt"

    def file(self, name: ExportName) -> Path:
        """Where an export lies once it is made."""
        return self.root / FILES[name]

    def scratch(self, name: str) -> Path:
        """A folder for what is not published."""
        path = self.root / "scratch" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def about(self) -> dict[str, Any]:
        """The model's description."""
        about: dict[str, Any] = json.loads(self.description.read_text())
        return about

    def case_file(self, number: int, channel: int, volume: bool) -> Path:
        """Where a file of a sample to compare on lies."""
        folder = self.root / "cases" / f"{number:03}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{channel:04}{'.nii.gz' if volume else '.png'}"

    def cases(self) -> list[list[Path]]:
        """The files of each sample to compare on, in the order of the channels."""
        return [sorted(folder.iterdir()) for folder in sorted((self.root / "cases").iterdir())]

    def report(self, report: ExportReport) -> None:
        """Leave a report, whole or not at all."""
        path = self._report(report.name)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(report.model_dump_json())
        unfinished.rename(path)

    def reports(self) -> dict[ExportName, ExportReport]:
        """The reports that are there."""
        paths = [self._report(name) for name in EXPORTS]
        found = [ExportReport.model_validate_json(path.read_text()) for path in paths if path.exists()]
        return {report.name: report for report in found}

    def _report(self, name: ExportName) -> Path:
        return self.root / f"{name}.report.json"
