"""The main job as a stranger does it: by commands, in processes of their own, on a real Ray head."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from service.child import environment, running_service
from service.client import Client, JobSpec
from service.jobs.lifecycle import State
from workers.contract.request import NetworkSpec

pytestmark = pytest.mark.real
KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
GUIDE = Path(__file__).parents[2] / "docs/models.md"


def processes_of(folder: Path) -> set[psutil.Process]:
    """Every process that names the folder in its command or environment, and all that these have started."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != psutil.Process().pid and any(str(folder) in word for word in words):
                found |= {process, *process.children(recursive=True)}
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie only waits for its parent to look."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this test alone; nothing that names it outlives it."""
    folder = tmp_path_factory.mktemp("main-job")
    yield folder
    for process in processes_of(folder):
        process.kill()


def command(folder: Path, url: str, *words: object) -> str:
    """Run a command as a user does, and give back what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env=environment(DALE_URL=url, DALE_API_KEY=KEY),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(600)
def test_from_folder_to_model_and_nothing_left_behind(folder: Path) -> None:
    with running_service(folder / "data", KEY) as url:

        def dale(*words: object) -> str:
            return command(folder, url, "service.cli", *words)

        command(folder, url, "dale.synthetic", "--out", "noisy", "--samples", 20, "--image-size", 48, "--hold-out", 3)
        uploaded = json.loads(dale("upload", "noisy", "--name", "lesions", "--json"))
        assert uploaded["newest"]["sample_count"] == 20

        tiny = json.dumps({"channels": [4, 8], "strides": [2]})
        options = "--network UNet --epochs 4 --image-size 32 --batch-size 8 --workers 2 --set start=0.5 --follow --json"
        job = json.loads(dale("train", uploaded["id"], *options.split(), "--network-arguments", tiny))
        assert (job["state"], job["epochs_done"], job["attempt"]) == ("SUCCEEDED", 4, 1)

        samples = json.loads(dale("samples", job["id"], "--worst", 100, "--json"))
        names = {path.stem for path in (folder / "noisy/images").iterdir()}
        assert {sample["sample"] for sample in samples} == names
        scores = [sample["score"] for sample in samples]
        assert scores == sorted(scores)
        assert all(0 <= sample["confidence"] <= 1 for sample in samples)
        assert all(sample["reason_kind"] and sample["reason"] for sample in samples)

        dale("map", job["id"], samples[0]["sample"], "maps")
        with Image.open(folder / f"maps/{samples[0]['sample']}.png") as found:
            assert (found.mode, found.size) == ("L", (32, 32))  # as the network saw it

        dale("fetch", job["id"], "model")
        exports = {"model.ts", "model.pt2", "onnx.zip", "monai_bundle.zip"}
        assert {path.name for path in (folder / "model").iterdir()} == {"model.json", "model.safetensors"} | exports
        _check_model(folder, url)

        with Client(url, KEY) as client:
            assert [point.epoch for point in client.history(job["id"], samples[0]["sample"])] == [0, 1, 2, 3]
            endless = JobSpec(
                dataset_id=uploaded["id"],
                epochs=100_000,
                image_size=32,
                batch_size=8,
                workers=2,
                network=NetworkSpec(arguments={"channels": [4, 8], "strides": [2]}),
            )
            running = client.train(endless)
            next(event for event in client.follow(running.id) if event.kind == "epoch")
            started = processes_of(folder)
            client.cancel(running.id)
            assert client.wait(running.id).state is State.CANCELLED
        started |= processes_of(folder)
        assert {"raylet", "gcs_server"} <= {process.name() for process in started if alive(process)}
        assert len([process for process in started if not alive(process)]) >= 3, "driver and workers are gone"
    assert [process for process in started if alive(process)] == []
    assert processes_of(folder) == set()


def _check_model(folder: Path, url: str) -> None:
    """The guide's lines, run as they are printed, segment as our own command does."""
    images = sorted((folder / "noisy/heldout/images").iterdir())
    held_out = ("--images", "noisy/heldout/images", "--masks", "noisy/heldout/masks")
    answer = command(folder, url, "workers.predict", "--model", "model", "--out", "predicted", *held_out)
    assert set(json.loads(answer)["dice"]) == {path.stem for path in images}

    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (lines,) = [block for block in blocks if "load_state_dict" in block]
    size = 32
    Image.open(images[0]).resize((size, size), Image.Resampling.BILINEAR).save(folder / "lesion.png")
    (folder / "small").mkdir()
    Image.open(folder / "lesion.png").save(folder / "small/lesion.png")
    (folder / "readme.py").write_text(f"{lines}\nnp.save('mask.npy', mask.numpy())\n")
    subprocess.run([sys.executable, "readme.py"], cwd=folder, check=True)
    command(folder, url, "workers.predict", "--model", "model", "--images", "small", "--out", "small-predicted")
    ours = np.asarray(Image.open(folder / "small-predicted/lesion.png")) > 0
    theirs = np.load(folder / "mask.npy")
    assert theirs.shape == (size, size)
    assert (ours == (theirs > 0)).all()
