"""A dataset predicted by client and command: posted, listed, fetched, unpacked; what is broken is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.client import Client, DamagedFile, PostedPrediction, Refused
from service.client.prediction_jobs import UNPACKED
from service.db import jobs
from service.jobs.ingest import read_prediction
from service.jobs.lifecycle import State
from workers.contract import keys


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def finish(context: Context, scripted: ModuleType) -> Callable[..., None]:
    """Let a prediction succeed: `finish(job_id, members)`."""

    def finish(job_id: str, members: dict[str, bytes] | None = None) -> None:
        scripted.write_prediction(context.store, job_id, 1, 6, members)
        manifest = read_prediction(context.store, job_id, 6)
        assert manifest is not None
        with context.sessions.begin() as session:
            job = jobs.lock_job(session, job_id)
            assert job is not None
            jobs.add_prediction(session, job, manifest)
            for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
                jobs.set_state(session, job, state)

    return finish


def test_a_dataset_is_predicted_by_command(
    run: Callable[..., Result], dale: Client, model_job: str, finish: Callable[..., None], tmp_path: Path
) -> None:
    options = ("--workers", 2, "--uncertainty", "--flips", "--name", "all", "--priority", 1, "--timeout-seconds", 60)
    posted = run("predict-dataset", "<script>alert(1)</script>:1", "ds-pages:1", *options, "--json")
    assert posted.exit_code == 0, posted.output
    job = json.loads(posted.output)
    assert (job["task"], job["name"], job["priority"]) == ("predict", "all", 1)
    expected = {"model_id": model_job, "workers": 2, "outputs": ["mask", "uncertainty"], "flips": True}
    assert job["spec"] | expected == job["spec"]
    shown = run("job", job["id"])
    assert all(words in shown.output for words in ("predicts by", model_job, "mask, uncertainty"))
    assert [one["id"] for one in json.loads(run("jobs", "--task", "predict", "--json").output)] == [job["id"]]
    table = run("jobs")
    assert "predict" in table.output and "3/3" in table.output
    early = run("fetch-predictions", job["id"], tmp_path / "early")
    assert early.exit_code == 2 and "no predictions" in early.output

    finish(job["id"])
    out = tmp_path / "out"
    fetched = run("fetch-predictions", job["id"], out)
    assert fetched.exit_code == 0, fetched.output
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        UNPACKED,
        "masks/a.png",
        "masks/b.png",
        "samples.csv",
        "samples.parquet",
    }
    assert (out / "masks/b.png").read_bytes() == b"b"
    assert sorted(Path(line).name for line in fetched.output.split()) == ["masks", "samples.csv", "samples.parquet"]
    watched = run("job", job["id"], "--follow")
    assert watched.exit_code == 0
    assert run("compare", job["id"], model_job).exit_code == 2
    assert run("reproduce", job["id"]).exit_code == 2


def test_what_was_fetched_is_not_fetched_again(
    dale: Client, model_job: str, finish: Callable[..., None], context: Context, tmp_path: Path
) -> None:
    job = dale.predict_dataset(PostedPrediction(model=model_job, dataset_id="ds-pages"))
    finish(job.id)
    seen: list[str] = []
    dale.fetch_predictions(job.id, tmp_path, progress=lambda name, *_: seen.append(name))
    assert set(seen) == {"masks-000000.zip", "masks-000001.zip", "samples.csv", "samples.parquet"}
    for file in dale.job_files(job.id):
        context.store.delete(keys.result(job.id, file.name))
    assert [path.name for path in dale.fetch_predictions(job.id, tmp_path)] == [
        "masks",
        "samples.csv",
        "samples.parquet",
    ]
    with pytest.raises(Refused, match="gone"):
        dale.fetch_predictions(job.id, tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["../evil", "masks/../../evil", "/etc/evil", "other/a.png", "masks/..", "a.png"])
def test_members_of_other_places_are_not_unpacked(
    name: str, dale: Client, model_job: str, finish: Callable[..., None], tmp_path: Path
) -> None:
    job = dale.predict_dataset(PostedPrediction(model=model_job, dataset_id="ds-pages"))
    finish(job.id, {"masks/a.png": b"a", name: b"evil"})
    with pytest.raises(DamagedFile, match="no prediction has"):
        dale.fetch_predictions(job.id, tmp_path / "deep" / "out")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]


def test_a_refusal_is_told(run: Callable[..., Result], model_job: str) -> None:
    none = run("predict-dataset", "none:3", "ds-pages")
    assert none.exit_code == 2 and "no model 'none:3'" in none.output
    assert run("predict-dataset", model_job, "ds-pages:x").exit_code == 2
    assert run("predict-dataset", model_job, "ds-pages", "--batch-size", 0).exit_code == 2
