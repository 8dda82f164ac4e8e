"""Every code block of README and site is run, page by page, against a real service; what is not says why."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dale.synthetic import write_samples
from service.child import running_service
from service.cli.packing import as_archive
from service.client import Client, JobSpec
from service.jobs.lifecycle import State
from tests.docs.blocks import RUN, SHOWN, blocks, name, pages
from tests.docs.reader import Reader
from tests.volumes import nnunet_files
from workers.contract.request import NetworkSpec

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
SAMPLES, HELD_OUT, SIZE = 20, 4, 48
# How many blocks of each page are not run; each says why on the page.
NOT_RUN = {
    "README.md": 3,
    "docs/cluster.md": 10,
    "docs/index.md": 3,
    "docs/operations.md": 2,
    "docs/results/kvasir-first-run.md": 1,
    "docs/results/review_effort.md": 1,
    "docs/results/robustness.md": 1,
    "docs/results/volumes.md": 1,
    "docs/tools.md": 5,
}
RUNNABLE = [page for page in pages() if any(block.language in RUN and not block.not_run for block in blocks(page))]


def test_every_block_is_run_or_says_why_not() -> None:
    found = [block for page in pages() for block in blocks(page)]
    assert [block for block in found if block.language not in RUN + SHOWN] == []
    left_out = [block for block in found if block.not_run]
    listed = "\n".join(f"{block.page}:{block.line}: {block.not_run}" for block in left_out)
    assert Counter(block.page for block in left_out) == NOT_RUN, f"not run are now:\n{listed}"


@dataclass(frozen=True)
class Service:
    """A service with a finished job over the folder `lesions`."""

    url: str
    files: Path  # what a reader has
    ids: dict[str, str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    files = tmp_path_factory.mktemp("readers-files")
    write_files(files)
    with running_service(tmp_path_factory.mktemp("service"), KEY) as url, Client(url, KEY) as client:
        with as_archive(files / "lesions") as archive:
            dataset = client.upload(archive, name="lesions")
        spec = JobSpec(
            dataset_id=dataset.id,
            epochs=4,
            image_size=32,
            batch_size=8,
            network=NetworkSpec(arguments={"channels": [4, 8], "strides": [2]}),
            exports=["onnx"],
        )
        job = client.wait(client.train(spec).id)
        assert job.state is State.SUCCEEDED
        yield Service(url, files, {"ds": dataset.id, "job": job.id})


def write_files(folder: Path) -> None:
    """The files that the pages speak of."""
    write_samples(folder / "made", SAMPLES, SIZE, seed=0)
    lesions = folder / "lesions"
    for part in ("images", "masks"):
        (lesions / part).mkdir(parents=True)
        for number, file in enumerate(sorted((folder / "made" / part).iterdir()), 1):
            file.rename(lesions / part / f"case-{number:03}.png")
    rows = [
        f"case-{number:03},{'test' if number > SAMPLES - HELD_OUT else 'train'},{'Ada' if number % 2 else 'Bo'}"
        for number in range(1, SAMPLES + 1)
    ]
    (lesions / "samples.csv").write_text("\n".join(["name,split,annotator", *rows]) + "\n")
    shutil.copyfile(lesions / "images/case-001.png", folder / "lesion.png")

    (folder / "corrected").mkdir()
    for number in (3, 5):
        shutil.copyfile(lesions / "masks/case-001.png", folder / f"corrected/case-{number:03}.png")
    write_samples(folder / "more", 2, SIZE, seed=9)

    patients = folder / "patients"
    shutil.copytree(lesions, patients, ignore=shutil.ignore_patterns("samples.csv"))
    for file in [*patients.glob("*/*.png")]:
        number = int(file.stem.removeprefix("case-"))
        file.rename(file.with_name(f"P{number % 7:02}_{number}.png"))

    for member, data in nnunet_files(6, 24).items():
        path = folder / "Dataset004_Hippocampus" / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    Image.fromarray(np.eye(24, dtype=np.uint8)).save(folder / "12.png")
    shutil.rmtree(folder / "made")
    (folder / "studio").mkdir()  # where Label Studio looks for files


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_its_blocks_run(page: Path, service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(service.files, folder)
    signed_in = not any("dale login" in block.code for block in blocks(page))
    with Reader(folder, service.url, KEY, service.ids, signed_in=signed_in) as reader:
        for block in blocks(page):
            if block.language in RUN and not block.not_run:
                reader.follow(block)


@pytest.fixture(autouse=True)
def nothing_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Jobs that a page began and did not wait for end with it."""
    yield
    if "service" in request.fixturenames:
        with Client(request.getfixturevalue("service").url, KEY) as client:
            for job in list(client.jobs()):
                if not job.state.terminal:
                    client.cancel(job.id)
