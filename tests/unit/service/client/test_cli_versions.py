"""Versions by command and by client: correct, compare, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner, Result

from service.cli import app
from service.cli.packing import as_archive, masks_as_archive
from service.client import Client, Refused

Run = Callable[..., Result]


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, dale: Client, tmp_path: Path) -> Run:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")

    def run(*words: str | Path, says: str = "") -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], input=says)

    return run


@pytest.fixture
def dataset(dale: Client, folder: Path) -> str:
    with as_archive(folder) as archive:
        return dale.upload(archive).id


@pytest.fixture
def masks(folder: Path, tmp_path: Path) -> Path:
    """A folder with another mask for `case 2`."""
    made = tmp_path / "corrected"
    made.mkdir()
    with Image.open(folder / "masks/case 2.png") as mask:
        ImageOps.mirror(mask).save(made / "case 2.png")
    return made


def test_correct_compare_delete(run: Run, dale: Client, dataset: str, masks: Path) -> None:
    done = run("correct", dataset, "--masks", masks, "--exclude", "case 0", "--exclude", "case 1")
    assert done.exit_code == 0, done.output
    assert f"Dataset {dataset}, version 2: 2 samples." in done.output
    found = json.loads(run("diff", dataset, "1", "2", "--json").output)
    assert [(row["sample"], row["changes"]) for row in found] == [
        ("case 0", ["removed"]),
        ("case 1", ["removed"]),
        ("case 2", ["relabelled"]),
    ]
    assert "relabelled" in run("diff", dataset, "1", "2").output
    assert run("delete-dataset", dataset, says="n\n").exit_code == 1
    assert dale.dataset(dataset).newest.number == 2
    assert "is deleted" in run("delete-dataset", dataset, says="y\n").output
    assert list(dale.datasets()) == []
    assert run("delete-dataset", dataset, "--yes").exit_code == 2


def test_new_samples_come_as_images_and_masks(run: Run, dataset: str, folder: Path, tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / "more" / part).mkdir(parents=True)
        with Image.open(next((folder / part).glob("case 2.*"))) as image:
            ImageOps.flip(image).save(tmp_path / "more" / part / "case 9.png")
    done = run("correct", dataset, "--masks", tmp_path / "more")
    assert done.exit_code == 0, done.output
    found = json.loads(run("diff", dataset, "1", "2", "--json").output)
    assert [(row["sample"], row["changes"]) for row in found] == [("case 9", ["added"])]


def test_refusals_name_files(run: Run, dataset: str, masks: Path) -> None:
    (masks / "nobody.png").write_bytes(b"")
    done = run("correct", dataset, "--masks", masks)
    assert done.exit_code == 2
    assert "masks/nobody.png" in done.output
    assert run("correct", dataset, "--masks", masks / "absent").exit_code == 2


def test_by_the_client(dale: Client, dataset: str, masks: Path) -> None:
    assert dale.correct(dataset, exclude=["case 3"]).number == 2
    with masks_as_archive(masks) as archive:
        version = dale.correct(dataset, masks=archive, base=1)
    assert (version.number, version.sample_count) == (3, 4)
    assert {row.sample: [*row.changes] for row in dale.difference(dataset, 2, 3)} == {
        "case 2": ["relabelled"],
        "case 3": ["added"],
    }
    with pytest.raises(Refused):
        dale.correct(dataset)
