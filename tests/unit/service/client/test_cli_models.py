"""Models by command: found by name, moved on, tagged, described, compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.client import Client, ClientError, Refused
from service.db import jobs
from service.db.tables import HeldOutSample
from service.jobs.lifecycle import State
from service.models.stages import Stage
from tests.compared_jobs import BEST, LAST, finish_compared
from workers.contract.request import JobSpec

NAME = "<script>alert(1)</script>"  # of the dataset, as the job has none


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def second(context: Context, model_job: str) -> str:
    """Another model of the same name; both were tested on two samples."""
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-second", JobSpec(dataset_id="ds-pages"))
        for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
            jobs.set_state(session, job, state)
        for job_id, dice in ((model_job, 0.5), ("job-second", 0.75)):
            scores = [{"job_id": job_id, "ordinal": 4 + n, "name": f"case {3 + n}", "dice": dice} for n in range(2)]
            session.execute(insert(HeldOutSample), scores)
    return "job-second"


def test_one_checkpoint_is_fetched(
    run: Callable[..., Result], context: Context, scripted: ModuleType, add_dataset: Callable[..., str], tmp_path: Path
) -> None:
    job_id = finish_compared(context, scripted, add_dataset(9, held_out=2, validation=3))
    for kind, content in (("best", BEST), ("last", LAST)):
        folder = tmp_path / kind
        assert run("fetch", job_id, folder, "--checkpoint", kind).exit_code == 0
        assert {path.name for path in folder.iterdir()} == {"model.safetensors", "model.json"}
        assert (folder / "model.safetensors").read_bytes() == content
    shown = run("models", "show", job_id).output
    assert "epoch 2, Dice 0.800 on validation samples" in shown
    assert "epoch 4, Dice 0.700 on validation samples, delivered" in " ".join(shown.split())


def test_a_checkpoint_that_is_not_there_is_said(run: Callable[..., Result], model_job: str, tmp_path: Path) -> None:
    refused = run("fetch", model_job, tmp_path / "best", "--checkpoint", "best")
    assert refused.exit_code == 2 and "has no checkpoint 'best'" in " ".join(refused.output.split())


def test_a_model_on_its_way_into_use(run: Callable[..., Result], model_job: str, second: str, tmp_path: Path) -> None:
    assert run("models", "stage", f"{NAME}:1", "production").exit_code == 0
    moved = run("models", "stage", second, "production")
    assert moved.output.strip() == f"{NAME}:2 ({second}): production; {model_job} was until now, and is archived"
    listed = json.loads(run("models", "--stage", "production", "--json").output)
    assert [one["id"] for one in listed] == [second]
    table = run("models", "--name", NAME)
    assert table.exit_code == 0 and model_job in table.output and "archived" in table.output
    got = run("fetch", f"{NAME}:1", tmp_path / "model")
    assert got.exit_code == 0 and (tmp_path / "model" / "model.bin").exists()
    assert json.loads(run("models", "show", f"{NAME}:production", "--json").output)["id"] == second
    assert second in run("models", "show", f"{NAME}:2").output
    refused = run("delete", second, "--yes")
    assert refused.exit_code == 2 and "in production" in refused.output


def test_what_is_said_of_a_model(run: Callable[..., Result], dale: Client, model_job: str) -> None:
    assert run("models", "tag", model_job, "site=Graz", "a=b=c").output.strip() == "a=b=c, site=Graz"
    assert run("models", "tag", model_job, "site-").output.strip() == "a=b=c"
    wrong = run("models", "tag", model_job, "none-")
    assert wrong.exit_code == 2 and "KEY=VALUE" in wrong.output
    assert run("models", "describe", model_job).exit_code == 2
    assert run("models", "describe", model_job, "--use", "Wounds of feet, for research").exit_code == 0
    card = run("models", "card", model_job)
    assert "Wounds of feet, for research" in card.output == dale.model_card(model_job)
    assert json.loads(run("models", "lineage", model_job).output)["code"]["commit"] == "c0ffee"
    assert [one.id for one in dale.models(tag="a=b=c")] == [model_job]
    with pytest.raises(Refused) as refused:
        dale.change_model(model_job, description="late", revision=1)
    assert refused.value.status == 412


def test_models_beside_each_other(run: Callable[..., Result], dale: Client, model_job: str, second: str) -> None:
    done = run("models", "compare", model_job, f"{NAME}:2")
    assert done.exit_code == 0, done.output
    assert "2 held-out samples in common" in done.output
    assert "+0.250" in done.output and "2 / 0 / 0" in done.output
    assert dale.compare_models([second, model_job]).differences[0].dice == -0.25
    assert run("models", "compare", model_job, model_job).exit_code == 2


def test_a_name_that_is_no_model(dale: Client, model_job: str) -> None:
    for name, said in ((f"{NAME}:7", "No model is"), ("x:production", "No model is"), ("x:live", "comes a number")):
        with pytest.raises(ClientError, match=said):
            dale.model(name)
    dale.change_model(model_job, stage=Stage.STAGING)
    assert dale.model(f"{NAME}:staging").id == model_job
