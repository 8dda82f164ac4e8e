"""Volumes of two channels as a stranger trains on them: an nnU-Net folder, a real Ray head, a model, a prediction."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from service.child import environment, running_service
from tests.volumes import nnunet_files
from workers.nifti import open_volume

pytestmark = pytest.mark.real
KEY = "dale_tests-7c1Xv5Bn9Mq3Wz8Lk2Pd4"
COUNT, EDGE = 8, 24


@pytest.mark.timeout(600)
def test_a_model_of_two_channels_knows_which_is_which(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset002_Balls"
    for name, data in nnunet_files(COUNT, EDGE, channels=["T1", "T2"]).items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(data)

    def command(*words: object, url: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=tmp_path,
            env=environment(DALE_URL=url, DALE_API_KEY=KEY),
            capture_output=True,
            text=True,
            check=False,
        )

    with running_service(tmp_path / "data", KEY) as url:
        uploaded = json.loads(command("service.cli", "upload", raw, "--json", url=url).stdout)
        assert uploaded["newest"]["channels"] == ["T1", "T2"]
        network = json.dumps({"channels": [4, 8], "strides": [2]})
        options = "--epochs 12 --patch-size 16 --batch-size 4 --learning-rate 0.01 --follow --json"
        words = ("service.cli", "train", uploaded["id"], *options.split(), "--network-arguments", network)
        done = command(*words, url=url)
        assert done.returncode == 0, done.stdout + done.stderr
        job = json.loads(done.stdout)
        assert job["state"] == "SUCCEEDED"
        assert command("service.cli", "fetch", job["id"], "model", url=url).returncode == 0

    about = json.loads((tmp_path / "model/model.json").read_text())
    assert (about["channels"], about["files"], about["network"]["arguments"]["in_channels"]) == (["T1", "T2"], 2, 2)
    weights = load_file(tmp_path / "model/model.safetensors")
    first = next(value for name, value in weights.items() if value.ndim == 5 and name.startswith("model.0."))
    assert first.shape[1] == 2

    for folder, order in (("given", (0, 1)), ("swapped", (1, 0))):
        (tmp_path / folder).mkdir()
        for target, source in enumerate(order):
            image = raw / f"imagesTr/case_007_{source:04}.nii.gz"
            shutil.copyfile(image, tmp_path / folder / f"case_007_{target:04}.nii.gz")
        words = ("workers.predict", "--model", "model", "--images", folder, "--out", f"{folder}-masks")
        answer = command(*words)
        assert answer.returncode == 0, answer.stderr
    given, swapped = (
        np.asarray(open_volume(tmp_path / f"{folder}-masks/case_007.nii.gz").dataobj) for folder in ("given", "swapped")
    )
    assert given.any()
    assert (given != swapped).mean() > 0.01
