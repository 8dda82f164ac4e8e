"""The commands that show what is stored and known, against a real server."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from service.cli import app
from service.cli.packing import as_archive
from service.client import Client, Refused, sending
from service.datasets.part_sizes import SMALLEST_PART
from tests.unit.service.client.conftest import KEY

Dale = Callable[..., Result]
STORED = "ds-pages:1"
HOSTILE = '<b>bold & "x"'


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dale:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def test_datasets_and_their_samples(command: Dale, finished_job: str) -> None:
    (version,) = json.loads(command("dataset", "ds-pages", "--json").stdout)
    assert (version["number"], version["sample_count"]) == (1, 6)
    assert "6 samples" in command("dataset", "ds-pages").stdout
    listed = json.loads(command("stored", STORED, "--json").stdout)
    assert HOSTILE in [sample["sample"] for sample in listed] and len(listed) == 6
    assert "case 3" in command("stored", STORED).stdout
    assert len(json.loads(command("stored", STORED, "--limit", 2, "--json").stdout)) == 2
    assert command("stored", "ds-pages").exit_code == 2
    assert command("dataset", "ds-none").exit_code == 2


def test_files_as_they_are_stored(command: Dale, dale: Client, finished_job: str, tmp_path: Path) -> None:
    out = tmp_path / "files"
    image = command("file", STORED, HOSTILE, out).stdout.strip()
    assert image == str(out / "_b_bold _ _x_.png")
    with Image.open(image) as opened:
        assert opened.size == (64, 48)
    label = np.asarray(Image.open(dale.fetch_label("ds-pages", 1, "case 0", out / "labels")))
    assert set(np.unique(label)) == {0, 255}
    drawn = Path(command("file", STORED, "case 0", out, "--what", "drawn", "--size", 64).stdout.strip())
    assert drawn.read_bytes()[8:12] == b"WEBP"
    missing = command("file", STORED, "case 0", out, "--what", "correction")
    assert missing.exit_code == 2 and "404" in missing.stderr
    mask = tmp_path / "mask.png"
    Image.fromarray(255 - label).save(mask)
    dale.correct_label("ds-pages", 1, "case 0", mask, revision=0)
    corrected = command("file", STORED, "case 0", out / "new", "--what", "correction").stdout.strip()
    assert np.array_equal(np.asarray(Image.open(corrected)) > 0, label == 0)
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [], "nothing in part"
    assert command("file", STORED, "case 0", out, "--channel", 7).exit_code == 2


def test_what_is_known_of_a_job(command: Dale, finished_job: str) -> None:
    epochs = json.loads(command("epochs", finished_job, "--json").stdout)
    assert [epoch["epoch"] for epoch in epochs] == list(range(len(epochs))) and epochs
    assert all(name in command("epochs", finished_job).stdout for name in epochs[0]["metrics"])
    histogram = json.loads(command("histogram", finished_job, "--json").stdout)
    assert {sum(epoch["counts"]) for epoch in histogram["epochs"]} == {histogram["samples"]}
    drawn = command("histogram", finished_job).stdout
    assert f"confidences of {histogram['samples']} samples" in drawn and "█" in drawn
    schema = json.loads(command("schema").stdout)
    assert schema["properties"]["epochs"]["default"]
    nothing = command("environment", finished_job, "--attempt", 99)
    assert nothing.exit_code == 2 and "404" in nothing.stderr


def test_one_review_and_how_it_came_about(command: Dale, finished_job: str) -> None:
    assert command("review", "decide", STORED, "case 1", "flagged", "--note", "look again").exit_code == 0
    assert command("review", "decide", STORED, "case 1", "accepted").exit_code == 0
    assert command("review", "undo", STORED, "case 1").exit_code == 0
    shown = command("review", "show", STORED, "case 1").stdout
    assert "flagged (look again)" in shown and "undone, now flagged" in shown
    found = json.loads(command("review", "show", STORED, "case 1", "--json").stdout)
    assert [event["undo"] for event in found["history"]] == [False, False, True]


def test_uploads_that_are_under_way(command: Dale, dale: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DEFAULT_PART", SMALLEST_PART)
    begun: list[str] = []

    def stop(_done: int, _size: int) -> None:
        raise RuntimeError("stopped")

    with as_archive(folder) as archive, pytest.raises(RuntimeError):
        dale.upload_in_parts(archive, name="some", begun=begun.append, progress=stop)
    assert "some: open, 1 of 1 parts; kept until" in command("uploads", "show", begun[0]).stdout
    assert json.loads(command("uploads", "show", begun[0], "--json").stdout)["received"] == [1]
    assert command("uploads", "discard", begun[0]).exit_code == 0
    with pytest.raises(Refused, match="404"):
        dale.upload_state(begun[0])


def test_projects_and_the_whole_trail(command: Dale, dale: Client, finished_job: str, tmp_path: Path) -> None:
    (project,) = json.loads(command("projects", "list", "--json").stdout)
    assert json.loads(command("projects", "show", project["id"], "--json").stdout) == project
    assert project["name"] in command("projects", "show", project["id"]).stdout
    command("review", "decide", STORED, "case 2", "flagged")
    command("review", "decide", STORED, "case 3", "flagged")
    kept = tmp_path / "trail.jsonl"
    done = command("audit", "--out", kept, "--action", "review.decide")
    assert done.stdout.strip() == str(kept), done.output
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(entry.id for entry in dale.audit(action="review.decide"))
    assert len(lines) == 2


def test_exports_take_the_filters_of_samples(command: Dale, finished_job: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    filters = ("--text", "case", "--confidence-min", 0.1, "--score-max", 0.99, "--decided", "undecided")
    listed = json.loads(command("samples", finished_job, *filters, "--json").stdout)
    assert command("export", finished_job, "--format", "csv", "--out", out, *filters).exit_code == 0
    with out.open(newline="") as file:
        assert [row["sample"] for row in csv.DictReader(file)] == [sample["sample"] for sample in listed]
    assert 0 < len(listed) < 6
    assert command("samples", finished_job, "--score-max", 0.5, "--open").exit_code == 2
