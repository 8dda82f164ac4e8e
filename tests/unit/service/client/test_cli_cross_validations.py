"""`dale cross-validate` and `dale cross-validations …`, and the client's methods under them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.client import Client, JobSpec, Refused
from tests.folded import add_patients, fail_fold, finish_fold

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_from_a_file_to_the_worst_samples(
    command: Callable[..., Result], context: Context, scripted: ModuleType, dale: Client, tmp_path: Path
) -> None:
    dataset_id = add_patients(context, [f"P{number // 2}" for number in range(12)])
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"dataset_id": dataset_id, "epochs": 1, "name": "[bold]try"}))
    posted = command("cross-validate", file, "--folds", 3, "--seed", 4)
    assert posted.exit_code == 0, posted.output
    found = re.search(r"Cross-validation (cv-\w+): 3 jobs are queued", posted.output)
    assert found is not None
    made = dale.cross_validation(found[1])
    assert (made.seed, made.spec.exports, [one.samples for one in made.folds]) == (4, [], [4, 4, 4])
    empty = command("metrics", made.id)
    assert (empty.exit_code, "no fold has any so far" in empty.output) == (2, True)
    first, second, third = (one.job_id or "" for one in made.folds)
    finish_fold(context, scripted, first)
    finish_fold(context, scripted, second)
    fail_fold(context, third, "image 7 cannot be read")

    shown = command("cross-validations", "show", made.id)
    assert "[bold]try: PARTIAL" in shown.output
    assert re.search(rf"3 +│ {third} +│ FAILED +│ 4 +│ 2 +│ +│ image 7 cannot be read", shown.output), shown.output
    assert re.search(rf"{made.id} +│ \[bold\]try +│ PARTIAL +│ 2 of 3", command("cross-validations").output)
    metrics = command("metrics", made.id)
    assert metrics.exit_code == 0, metrics.output
    assert "2 of 3 folds count." in metrics.output
    assert "Fold 3 does not: image 7 cannot be read." in metrics.output
    assert "8 samples in 4 groups" in metrics.output
    pooled = json.loads(command("metrics", made.id, "--json").output)
    assert pooled == dale.cross_validated_metrics(made.id).model_dump(mode="json")

    worst = command("cross-validations", "samples", made.id, "--by", "iou", "--limit", 3)
    expected = [one.sample for one in dale.out_of_fold(made.id, order_by="iou")][:3]
    assert re.findall(r"case \d{3}", worst.output) == expected
    assert command("cross-validations", "samples", made.id, "--by", "size").exit_code == 2
    assert {one.fold for one in dale.out_of_fold(made.id, fold=2)} == {2}

    ended = dale.wait_for_cross_validation(made.id)  # all jobs are over
    assert ended.state == "PARTIAL"
    assert command("cross-validations", "delete", made.id, "--yes").exit_code == 0
    with pytest.raises(Refused):
        dale.cross_validation(made.id)
    assert command("cross-validations", "show", made.id).exit_code == 2


def test_by_the_client_and_cancelled(command: Callable[..., Result], context: Context, dale: Client) -> None:
    dataset_id = add_patients(context, [None] * 6)
    made = dale.cross_validate(JobSpec(dataset_id=dataset_id, exports=["onnx"]), folds=2, idempotency_key="same")
    again = dale.cross_validate(JobSpec(dataset_id=dataset_id, exports=["onnx"]), folds=2, idempotency_key="same")
    assert (again.id, made.spec.exports) == (made.id, ["onnx"])
    ended = command("cross-validations", "cancel", made.id)
    assert "is CANCELLED" in ended.output
    assert [one.id for one in dale.cross_validations(dataset=dataset_id)] == [made.id]
    assert list(dale.cross_validations(dataset="ds-none")) == []
    shown = json.loads(command("cross-validate", f"{dataset_id}:1", "--folds", 6, "--json").output)
    assert [one["samples"] for one in shown["folds"]] == [1] * 6
    refused = command("cross-validate", f"{dataset_id}:1", "--folds", 7)
    assert refused.exit_code == 2
    assert "6 samples to train on are in 6" in refused.output
