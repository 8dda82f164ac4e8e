"""Exports and imports by command: a file out, filled in, and back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.client import Client, Refused
from service.exports.kinds import Format


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


def test_out_filled_in_and_back(run: Callable[..., Result], dale: Client, finished_job: str, tmp_path: Path) -> None:
    file = tmp_path / "worst.csv"
    done = run("export", finished_job, "--format", "csv", "--out", file, "--limit", 2)
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.glob("*worst*")] == ["worst.csv"]
    table = pd.read_csv(file, keep_default_na=False)
    assert table["sample"].tolist() == [row.sample for row in dale.samples(finished_job)][:2]
    table["decision"] = ["flagged", ""]
    table.to_csv(file, index=False)
    taken = run("import", finished_job, file, "--format", "csv")
    assert taken.output.strip() == "1 decided, 0 unchanged, 1 lines without a decision.", taken.output
    assert [row.sample for row in dale.reviews("ds-pages", 1)] == table["sample"].tolist()[:1]
    table["decision"] = ["accepted", ""]
    table.to_csv(file, index=False)
    refused = run("import", finished_job, file, "--format", "csv")
    assert refused.exit_code == 2 and "line 2" in refused.output and "revision 0" in refused.output
    assert run("import", finished_job, file, "--format", "csv", "--force").exit_code == 0


@pytest.mark.parametrize("kind", ["cvat", "label-studio", "fiftyone"])
def test_files_of_tools_go_out_and_back(
    run: Callable[..., Result], finished_job: str, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "tasks.zip"
    root = ("--image-root", "https://pictures.example/") if kind == "label-studio" else ()
    done = run("export", finished_job, "--format", kind, "--out", file, "--masks", "label", *root)
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(file) as archive:
        assert sum(name.endswith((".png", ".jpg")) for name in archive.namelist()) >= 6
        if kind == "label-studio":
            tasks = json.loads(archive.read("tasks.json"))
            assert all(task["data"]["image"].startswith(root[1]) for task in tasks)
            task = {"data": tasks[0]["data"], "annotations": []}
            file = tmp_path / "annotated.json"
            file.write_text(json.dumps([task]))
    taken = run("import", finished_job, file, "--format", kind)
    assert taken.exit_code == 0 and taken.output.startswith("0 decided, 0 unchanged"), taken.output


def test_a_refused_export_leaves_no_file(dale: Client, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        dale.export("job-none", Format.PARQUET, tmp_path / "out.parquet")
    assert list(tmp_path.glob("*out*")) == []
