"""Datasets of volumes in the service, and a job that has succeeded on one, without a cluster."""

from __future__ import annotations

import io
import zipfile
from types import ModuleType
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.db import jobs
from tests.records import succeed
from tests.volumes import nifti, nnunet_files
from workers.contract import keys
from workers.contract.request import JobSpec

COUNT, EDGE = 6, 10


def zipped(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


def volume_files() -> dict[str, bytes]:
    """Six volumes in nnU-Net's raw format; the fifth is labelled everywhere, the sixth nowhere."""
    members = nnunet_files(COUNT, EDGE)
    members["labelsTr/case_004.nii.gz"] = nifti(np.ones((EDGE,) * 3, np.uint8))
    members["labelsTr/case_005.nii.gz"] = nifti(np.zeros((EDGE,) * 3, np.uint8))
    return members


def upload_volumes(client: TestClient) -> dict[str, Any]:
    """Upload `volume_files`; gives the dataset as the API shows it."""
    answer = client.post("/v1/datasets", data={"name": "balls"}, files={"file": ("x.zip", zipped(volume_files()))})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def finish_job(context: Context, scripted: ModuleType, dataset_id: str) -> str:
    """Id of a job that has succeeded on them; it predicts some of plane 2 of the file's third axis in each."""
    predicted = np.zeros((EDGE,) * 3, np.uint8)
    predicted[3:6, 3:8, 2] = 1
    job_id = "job-volumes"
    with context.sessions.begin() as session:
        job = jobs.add_job(session, job_id, JobSpec(dataset_id=dataset_id, epochs=1, patch_size=16))
        jobs.begin_attempt(session, job, f"{job_id}-1")
    scripted.write_epoch(context.store, job_id, 1, 0, COUNT)
    for ordinal in range(COUNT):
        context.store.put(keys.prediction(job_id, ordinal, "nii.gz"), nifti(predicted))
        context.store.put(keys.doubt_map(job_id, ordinal, "nii.gz"), nifti(predicted * np.uint8(250)))
    succeed(context, job_id)
    return job_id
