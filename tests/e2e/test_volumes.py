"""Volumes as a stranger trains on them: an nnU-Net folder, uploaded, trained on a real Ray head, looked at, fetched."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.child import environment, running_service
from tests.volumes import nifti, nnunet_files
from workers.nifti import open_volume

pytestmark = pytest.mark.real
KEY = "dale_tests-7c1Xv5Bn9Mq3Wz8Lk2Pd4"
COUNT, FAULTY, EDGE = 12, 3, 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`raw/Dataset001_Balls`, as nnU-Net has it, with test images and one broken label."""
    members = nnunet_files(COUNT, EDGE, faulty=FAULTY)
    members["imagesTs/case_900_0000.nii.gz"] = members["imagesTr/case_000_0000.nii.gz"]
    for name, data in members.items():
        path = tmp_path / "raw/Dataset001_Balls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


@pytest.mark.timeout(600)
def test_from_nnunet_to_model(folder: Path) -> None:
    raw = folder / "raw/Dataset001_Balls"
    with running_service(folder / "data", KEY) as url:

        def dale(*words: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "service.cli", *map(str, words)],
                cwd=folder,
                env=environment(DALE_URL=url, DALE_API_KEY=KEY),
                capture_output=True,
                text=True,
                check=False,
            )

        label = raw / "labelsTr/case_007.nii.gz"
        whole = label.read_bytes()
        label.write_bytes(nifti(np.full((EDGE,) * 3, 5, np.uint8)))
        refused = dale("upload", raw)
        assert refused.returncode == 2
        assert "labelsTr/case_007.nii.gz" in refused.stderr and "has the values 5" in refused.stderr
        label.write_bytes(whole)
        uploaded = json.loads(dale("upload", raw, "--json").stdout)
        newest = uploaded["newest"]
        assert (newest["layout"], newest["spatial_dims"], newest["sample_count"]) == ("nnunet", 3, COUNT)

        network = json.dumps({"channels": [4, 8], "strides": [2]})
        options = "--epochs 4 --patch-size 16 --batch-size 4 --workers 2 --set start=0.5 --follow --json"
        done = dale("train", uploaded["id"], *options.split(), "--network-arguments", network)
        assert done.returncode == 0, done.stdout + done.stderr
        job = json.loads(done.stdout)
        assert (job["state"], job["epochs_done"]) == ("SUCCEEDED", 4)

        samples = json.loads(dale("samples", job["id"], "--worst", 100, "--json").stdout)
        assert {sample["sample"] for sample in samples} == {f"case_{number:03}" for number in range(COUNT)}
        assert all(0 <= sample["confidence"] <= 1 for sample in samples)

        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as http:
            picture = http.get(samples[0]["links"]["overlay"])
            assert picture.headers["dale-prediction"] == "shown"
            assert 0 <= int(picture.headers["dale-slice"]) < int(picture.headers["dale-slices"]) == EDGE
            assert max(Image.open(io.BytesIO(picture.content)).size) == 256
            image = http.get(samples[0]["links"]["image"])
            assert open_volume(image.content).shape == (EDGE,) * 3

        assert dale("fetch", job["id"], "model").returncode == 0
        about = json.loads((folder / "model/model.json").read_text())
        assert (about["spatial_dims"], about["patch_size"], about["mask_values"]) == (3, 16, [0, 1])
        predict = "workers.predict --model model --images held --masks masks --out predicted"
        for source, target in (("imagesTr/case_011_0000", "held/case_011"), ("labelsTr/case_011", "masks/case_011")):
            (folder / target).parent.mkdir()
            (folder / f"{target}.nii.gz").write_bytes((raw / f"{source}.nii.gz").read_bytes())
        answer = subprocess.run(
            [sys.executable, "-m", *predict.split()],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        assert set(json.loads(answer.stdout)["dice"]) == {"case_011"}
        assert open_volume(folder / "predicted/case_011.nii.gz").shape == (EDGE,) * 3
