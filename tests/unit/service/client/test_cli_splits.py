"""`dale upload` with groups and splits, and `dale samples --held-out`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.client import Client, ImportOptions
from service.db import held_out, jobs
from workers.contract.request import JobSpec
from workers.contract.tables import TEST_SCORES

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
Run = Callable[..., Result]


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_a_folder_s_samples_csv_goes_along(command: Run, folder: Path) -> None:
    (folder / "samples.csv").write_text("name,split\ncase 1,test\n")
    done = command("upload", folder)
    assert done.exit_code == 0, done.output
    assert "version 1: 4 samples, 3 to train on and 1 held out (25.0%)" in done.output
    dataset = re.search(r"Dataset (ds-\w+)", done.output)
    assert dataset
    plan = command("train", dataset[1], "--dry-run").output
    assert re.search(r"held out +1 samples", plan)
    assert re.search(r"samples +3 of 2 classes", plan)
    corrected = command("correct", dataset[1], "--exclude", "case 0").output
    assert "version 2: 3 samples, 2 to train on and 1 held out (33.3%)" in corrected


def test_a_draw_is_asked_for_by_options(command: Run, folder: Path, dale: Client) -> None:
    options = ["--group-pattern", r"case ([0-9]+)", "--test-share", 0.5, "--split-seed", 3, "--json"]
    splits = json.loads(command("upload", folder, *options).output)["newest"]["splits"]
    expected = ImportOptions(group_pattern=r"case ([0-9]+)", test_share=0.5, split_seed=3)
    packed = folder.parent / "x.zip"
    from service.cli.packing import as_archive

    with as_archive(folder) as archive:
        packed.write_bytes(archive.read_bytes())
    assert dale.upload(packed, options=expected).newest.splits.model_dump() == splits
    assert splits["test"]
    refused = command("upload", folder, "--group-pattern", "(case")
    assert refused.exit_code == 2
    assert "no regular expression" in refused.output


def test_held_out_samples_are_listed(
    command: Run, add_dataset: Callable[..., str], context: Context, dale: Client
) -> None:
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-1", JobSpec(dataset_id=add_dataset(5, held_out=2)))
        scores = pa.Table.from_pylist([{"ordinal": 3, "dice": 0.5}, {"ordinal": 4, "dice": 0.25}], schema=TEST_SCORES)
        held_out.insert_scores(session, job, scores)
    assert [(row.sample, row.dice) for row in dale.held_out("job-1")] == [("case_004", 0.25), ("case_003", 0.5)]
    assert re.search(r"case_004 +│ 0.250", command("samples", "job-1", "--held-out", "--worst", 1).output)
