"""Exports and imports by command: a file out, filled in, and back."""

from __future__ import annotations

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


def test_a_refused_export_leaves_no_file(dale: Client, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        dale.export("job-none", Format.PARQUET, tmp_path / "out.parquet")
    assert list(tmp_path.glob("*out*")) == []
