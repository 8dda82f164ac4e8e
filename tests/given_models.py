"""A model of random weights in a store, as the job that trained it would have left it."""

from __future__ import annotations

import hashlib

from workers.contract import keys
from workers.contract.request import ResultFile, ResultManifest
from workers.contract.store import ObjectStore
from workers.export.workplace import Workplace


def put_model(store: ObjectStore, workplace: Workplace, job_id: str = "job-model", onnx: bool = True) -> str:
    """Write its weights, description and, with `onnx`, `onnx.zip`, and the manifest; gives the job's id."""
    files = []
    for path in (workplace.weights, workplace.description, *([workplace.file("onnx")] if onnx else [])):
        content, key = path.read_bytes(), keys.result(job_id, path.name)
        store.put(key, content)
        facts = {"name": path.name, "key": key, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files.append(ResultFile.model_validate(facts | {"media_type": "application/octet-stream"}))
    manifest = ResultManifest(job_id=job_id, attempt=1, epochs=1, metrics={}, files=files, predictions=False)
    store.put(keys.result_manifest(job_id), manifest.model_dump_json().encode())
    return job_id
