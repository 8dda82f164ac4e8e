"""Models with an ONNX file as the service has them: of random weights, exported by the workers' own code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.api.dependencies import Context
from service.db import tables
from service.db.tables import DEFAULT_PROJECT
from tests.unit.workers.export.models import describe, leave
from workers.contract import keys
from workers.export.__main__ import Exporter
from workers.export.workplace import Workplace

KINDS: dict[str, dict[str, Any]] = {
    "images": {},
    "images of two channels": {"files": 2, "mask_values": (0, 100, 200)},
    "volumes": {"volume": True, "edge": 16},
    "volumes of two channels": {"volume": True, "files": 2, "edge": 16, "mask_values": (0, 1, 300)},
}


def exported(folder: Path, kind: str) -> Workplace:
    """A model of one of `KINDS` with its `onnx.zip`, and samples to try it on."""
    workplace = leave(folder, describe(**KINDS[kind]))
    assert not Exporter(workplace).make("onnx").disagreement
    return workplace


def serve(
    context: Context,
    finish_job: Callable[..., str],
    workplace: Workplace,
    job_id: str = "job-onnx",
    project_id: str = DEFAULT_PROJECT,
) -> str:
    """Make a finished job whose model that is, with `onnx.zip` and `model.json`; gives its id."""
    finish_job(f"ds-{job_id}", job_id, project_id)
    for path, kind in ((workplace.file("onnx"), "application/zip"), (workplace.description, "application/json")):
        content, key = path.read_bytes(), keys.result(job_id, path.name)
        context.store.put(key, content)
        row = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "media_type": kind}
        with context.sessions.begin() as session:
            session.add(tables.Artifact(job_id=job_id, name=path.name, key=key, **row))
    return job_id
