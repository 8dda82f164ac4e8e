"""Reviews by command and by client: decide, take back, finish."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageChops, ImageOps
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.axes import Axis
from service.cli import app
from service.cli.packing import as_archive
from service.client import Client, Refused
from service.reviews.decisions import Decision, MaskKind
from tests.volume_jobs import finish_job, upload_volumes

Run = Callable[..., Result]


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, dale: Client, tmp_path: Path) -> Run:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    return lambda *words: CliRunner().invoke(app, ["review", *map(str, words)])


@pytest.fixture
def dataset(dale: Client, folder: Path) -> str:
    with as_archive(folder) as archive:
        return dale.upload(archive).id


def test_decide_take_back_and_finish(run: Run, dale: Client, dataset: str, folder: Path, tmp_path: Path) -> None:
    first = f"{dataset}:1"
    mirrored = tmp_path / "mirrored.png"
    with Image.open(folder / "masks/case 2.png") as mask:
        ImageOps.mirror(mask).save(mirrored)
    assert run("decide", first, "case 0", "excluded", "--note", "twice").exit_code == 0
    assert run("decide", first, "case 1", "excluded").exit_code == 0
    assert "nothing is decided" in run("undo", first, "case 1").output
    assert run("undo", first, "case 1").exit_code == 2
    assert run("decide", first, "case 2", "corrected", "--mask", mirrored).exit_code == 0
    assert run("decide", first, "case 2", "accepted", "--mask", mirrored).exit_code == 2
    listed = json.loads(run("list", first, "--json").output)
    assert [(row["sample"], row["decision"], row["note"]) for row in listed] == [
        ("case 0", "excluded", "twice"),
        ("case 2", "corrected", ""),
    ]
    table = run("list", first).output
    assert "excluded" in table and "twice" in table
    finished = run("finish", first)
    assert finished.exit_code == 0, finished.output
    assert (
        "version 2: 3 samples" in finished.output
        and "1 labels are corrected, 1 samples left out, 1 labels verified" in finished.output
    )
    assert [change.sample for change in dale.difference(dataset, 1, 2)] == ["case 0", "case 2"]
    assert run("list", dataset).exit_code == 2


def test_paint_a_volume_by_slices(
    run: Run, dale: Client, client: TestClient, context: Context, scripted: ModuleType, tmp_path: Path
) -> None:
    dataset = upload_volumes(client)["id"]
    job_id = finish_job(context, scripted, dataset)
    first, sample = f"{dataset}:1", "case_000"
    for number in (3, 4):
        content = dale.mask_slice(job_id, sample, MaskKind.LABEL, Axis.CORONAL, number)
        with Image.open(io.BytesIO(content)) as given:
            given.point([1 - value for value in (0, 1)] + [0] * 254).save(tmp_path / f"{number}.png")
    slices = [word for number in (3, 4) for word in ("--slice", f"coronal:{number}={tmp_path / f'{number}.png'}")]
    done = run("paint", first, sample, *slices, "--note", "by hand")
    assert done.exit_code == 0, done.output
    seen = dale.review(dataset, 1, sample)
    assert (seen.decision, seen.note) == (Decision.CORRECTED, "by hand")
    for number in (2, 3):
        label, correction = (
            Image.open(io.BytesIO(dale.mask_slice(job_id, sample, kind, Axis.CORONAL, number)))
            for kind in (MaskKind.LABEL, MaskKind.CORRECTION)
        )
        changed = ImageChops.difference(label, correction)
        assert changed.getextrema() == ((0, 0) if number == 2 else (1, 1))
    done = run("paint", first, sample, *slices[:2], "--on", "prediction", "--job", job_id)
    assert done.exit_code == 0, done.output
    for wrong in ("coronal:3", "up:3=x.png", "axial:x=x.png", "axial:99=" + str(tmp_path / "3.png")):
        assert run("paint", first, sample, "--slice", wrong).exit_code == 2
    assert dale.review(dataset, 1, sample).revision == 2


def test_by_the_client(dale: Client, dataset: str) -> None:
    seen = dale.review(dataset, 1, "case 0")
    assert (seen.revision, seen.decision, seen.history) == (0, None, [])
    now = dale.decide(dataset, 1, "case 0", Decision.FLAGGED, revision=0)
    assert (now.revision, now.decision) == (1, Decision.FLAGGED)
    with pytest.raises(Refused) as refused:
        dale.decide(dataset, 1, "case 0", Decision.ACCEPTED, revision=0)
    assert refused.value.status == 412
    assert dale.undo(dataset, 1, "case 0", revision=1).decision is None
    assert dale.agreement(dataset, 1) == []
