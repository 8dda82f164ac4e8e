"""The exports of a finished run: made in a process of their own, and published where they agree with the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import structlog
from safetensors.torch import save_file
from torch import Tensor

from workers.contract import keys
from workers.contract.request import EXPORTS, ExportName, ExportReport, ResultFile
from workers.contract.store import ObjectMissing
from workers.data import SampleUnreadable
from workers.dataset import AnySamples
from workers.export.comparison import TIES, TOLERANCE
from workers.export.conventions import conventions
from workers.export.workplace import MEDIA_TYPES, Workplace
from workers.nifti import NOT_NIFTI, open_volume
from workers.run import Run

log = structlog.get_logger()

SECONDS = 900  # for all exports of a run; those that are not there by then are not published
IMAGES, VOLUMES = 8, 2  # that are compared
CUT = 2  # of a volume the middle is compared, at most so many patches an axis
PACKAGES = ("einops", "monai", "nibabel", "numpy", "onnx", "onnxruntime", "pillow", "pytorch-ignite", "torch")


def publish_exports(
    run: Run, samples: AnySamples, weights: dict[str, Tensor], description: bytes
) -> tuple[bytes, list[ResultFile], list[ExportReport]]:
    """Make the exports that the job asks for, and write those that agree with the network. For rank 0 alone.

    No export costs the job its result: one that fails, disagrees or takes too long is reported and not published.

    Args:
        run: this rank's view of the run.
        samples: what the network was trained on, and the held-out ones, which it is rather compared on.
        weights: the state of the bare network, on the CPU.
        description: `model.json`.

    Returns:
        `model.json` with the conventions and how the exports came out; what was written; and the reports.
    """
    about: dict[str, Any] = json.loads(description)
    about |= {**conventions(about), "made_with": made_with()}
    wanted = [name for name in EXPORTS if name in run.request.spec.exports]
    if not wanted:
        return _written(about), [], []
    held_out = len(samples.held_out) > 0
    about["export_check"] = {
        "against": "the trained network in float32 on the CPU, through the training's own transforms",
        "samples": "held out" if held_out else "trained on",
        "part": "the middle of each volume" if samples.spatial_dims == 3 else "whole images",
        "tolerance": {"probability": TOLERANCE, "share_of_pixels": TIES},
    }
    with tempfile.TemporaryDirectory(prefix="dale-export-") as folder:
        workplace = Workplace(Path(folder))
        reports = _reports(run, samples, weights, about, wanted, workplace)
        files = [_publish(run, workplace, report) for report in reports if report.file]
    for report in reports:
        log.info("export", **report.model_dump())
    about["exports"] = [report.model_dump() for report in reports]
    return _written(about), files, reports


def made_with() -> dict[str, str]:
    """The versions of the packages that networks and exports are made with."""
    return {package: version(package) for package in PACKAGES}


def _written(about: dict[str, Any]) -> bytes:
    return json.dumps(about, indent=1).encode()


def _reports(
    run: Run,
    samples: AnySamples,
    weights: dict[str, Tensor],
    about: dict[str, Any],
    wanted: list[ExportName],
    workplace: Workplace,
) -> list[ExportReport]:
    try:
        _write_cases(samples, workplace)
    except (SampleUnreadable, ObjectMissing, *NOT_NIFTI) as error:
        reason = f"no samples to compare on: {error}"
        return [ExportReport(name=name, reason=reason) for name in wanted]
    save_file(weights, workplace.weights)
    workplace.description.write_bytes(_written(about))
    why = make(workplace, wanted)
    found = workplace.reports()
    return [found.get(name) or ExportReport(name=name, reason=why) for name in wanted]


def _write_cases(samples: AnySamples, workplace: Workplace) -> None:
    """Write the files of evenly spaced samples, held out ones if there are any; of a volume the middle."""
    volume = samples.spatial_dims == 3
    among = samples.held_out or range(len(samples))
    count = min(len(among), VOLUMES if volume else IMAGES)
    for number, place in enumerate(np.linspace(0, len(among) - 1, count).round().astype(int)):
        row = {name: samples.table[name][among[place]].as_py() for name in ("image_sha256", "channels")}
        for channel, sha256 in enumerate((row["image_sha256"], *(row["channels"] or ()))):
            data = samples.store.get(keys.blob(samples.dataset_id, sha256))
            path = workplace.case_file(number, channel, volume)
            path.write_bytes(_middle(data, CUT * samples.edge) if volume else data)


def _middle(data: bytes, edge: int) -> bytes:
    file = open_volume(data)
    slices = [slice(max(extent - edge, 0) // 2, max(extent - edge, 0) // 2 + edge) for extent in file.shape]
    cut: nib.Nifti1Image = file.slicer[tuple(slices)]
    return bytes(cut.to_bytes())


def make(workplace: Workplace, wanted: list[ExportName]) -> str:
    """Run the process that makes the exports; why it came to an end before all were made."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "workers.export", str(workplace.root), "--exports", ",".join(wanted)]
    with workplace.log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return f"it was not there after {SECONDS} seconds, which all exports of a job have together"
        finally:
            process.kill()
            process.communicate()
    if status:
        lines = workplace.log.read_text(errors="replace").splitlines()
        log.error("exports ended early", status=status, log=lines[-30:])
        if status < 0:
            return f"the process that makes it was killed by signal {-status}, perhaps for want of memory"
        return f"the process that makes it failed: {lines[-1] if lines else 'it said nothing'}"
    return "it was not made"


def _publish(run: Run, workplace: Workplace, report: ExportReport) -> ResultFile:
    path = workplace.file(report.name)
    media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    written = run.write_file(keys.result(run.request.job_id, path.name), path, media_type)
    return ResultFile(**written.model_dump(), name=path.name, media_type=media_type)
