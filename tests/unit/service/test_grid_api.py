"""What the review grid asks for: the order of a job's samples, cards of any of them, masks as numbers of classes."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api import grid as grid_api
from service.api.class_masks import class_numbers
from service.api.dependencies import Context
from service.db.tables import DEFAULT_PROJECT, Review
from service.resources.grid import MOST_CARDS
from tests.conftest import png
from tests.volume_jobs import finish_job as finish_volumes
from tests.volume_jobs import upload_volumes

SAMPLES = 6


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def job(finish_job: Callable[..., str]) -> str:
    return f"/v1/jobs/{finish_job('ds-grid', 'job-grid', DEFAULT_PROJECT)}"


def ordinals(client: TestClient, job: str, **params: Any) -> list[int]:
    answer = client.get(f"{job}/samples:order", params=params)
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["ordinals"]
    assert answer.json()["total"] == len(found)
    return found


def cards(client: TestClient, job: str, *asked: int) -> list[dict[str, Any]]:
    answer = client.get(f"{job}/samples:cards", params={"ordinal": list(asked)})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["cards"]
    return found


def decide(client: TestClient, sample: str, decision: str, **more: Any) -> None:
    path = f"/v1/datasets/ds-grid/versions/1/samples/{sample}/review"
    answer = client.put(path, json={"decision": decision, **more}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("order_by", ["score", "confidence", "name", "dice"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_order_is_that_of_the_list(client: TestClient, job: str, order_by: str, order: str) -> None:
    params = {"order_by": order_by, "order": order}
    listed = client.get(f"{job}/samples", params=params).json()["samples"]
    assert ordinals(client, job, **params) == [row["ordinal"] for row in listed]


def test_what_is_decided_filters_the_order(client: TestClient, job: str) -> None:
    everything = ordinals(client, job)
    assert ordinals(client, job, decision="undecided") == everything
    decide(client, "case 0", "flagged")
    decide(client, "case 1", "accepted")
    decide(client, "case 2", "corrected", job_id="job-grid")
    decide(client, "case 3", "excluded")
    client.post(
        "/v1/datasets/ds-grid/versions/1/samples/case 3/review:undo", headers={"If-Match": "*"}
    ).raise_for_status()
    by_name = {card["sample"]: card["ordinal"] for card in cards(client, job, *everything)}
    for state, name in (("flagged", "case 0"), ("accepted", "case 1"), ("corrected", "case 2")):
        assert ordinals(client, job, decision=state) == [by_name[name]]
    assert ordinals(client, job, decision="excluded") == []
    decided = {by_name["case 0"], by_name["case 1"], by_name["case 2"]}
    assert ordinals(client, job, decision="undecided") == [n for n in everything if n not in decided]
    assert ordinals(client, job, decision="flagged", name_contains="case 1") == []


def test_cards_come_as_they_were_asked_for_with_history_and_decision(client: TestClient, job: str) -> None:
    decide(client, "case 2", "flagged", note="too wide")
    found = cards(client, job, 3, 0, 99, 3)
    assert [card["ordinal"] for card in found] == [3, 0]
    card = found[0]
    assert (card["sample"], card["decision"], card["note"], card["revision"]) == ("case 2", "flagged", "too wide", 1)
    assert card["decided_by"] == "tests"
    assert (card["width"], card["height"], card["depth"]) == (64, 48, None)
    assert (found[1]["decision"], found[1]["decided_by"], found[1]["revision"]) == (None, None, 0)
    for card in found:
        history = client.get(card["links"]["history"]).json()["history"]
        assert card["confidences"] == [point["confidence"] for point in history]
        plain = client.get(card["links"]["self"]).json()
        assert plain.items() <= card.items()


def test_a_decision_about_another_mask_of_the_same_name_is_not_this_ones(
    client: TestClient, context: Context, job: str
) -> None:
    about = {"dataset_id": "ds-grid", "sample": "case 2", "mask_sha256": "f" * 64}
    with context.sessions.begin() as session:
        session.add(Review(**about, revision=4, decision="excluded", key_id="key-1", key_name="Ada"))
    assert (cards(client, job, 3)[0]["decision"], cards(client, job, 3)[0]["revision"]) == (None, 0)
    assert ordinals(client, job, decision="excluded") == []
    assert 3 in ordinals(client, job, decision="undecided")


def test_bounds_of_what_is_asked(client: TestClient, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get(f"{job}/samples:cards").status_code == 422
    many = {"ordinal": list(range(MOST_CARDS + 1))}
    assert client.get(f"{job}/samples:cards", params=many).status_code == 422
    assert client.get(f"{job}/samples:cards", params={"ordinal": 1 << 63}).status_code == 422
    monkeypatch.setattr(grid_api, "MOST_ORDINALS", 2)
    answer = client.get(f"{job}/samples:order").json()
    assert (len(answer["ordinals"]), answer["total"]) == (2, SAMPLES)


def test_masks_are_numbers_of_classes(client: TestClient, job: str) -> None:
    base = f"{job}/samples/case 2/masks"
    label = client.get(f"{base}/label")
    stored = client.get("/v1/datasets/ds-grid/versions/1/samples/case 2/mask").content
    assert np.array_equal(pixels(label.content), (pixels(stored) == 255).astype(np.uint8))
    prediction = pixels(client.get(f"{base}/prediction").content)
    assert set(np.unique(prediction)) == {0, 1}
    assert not np.array_equal(prediction, pixels(label.content))  # its label is a spoilt one
    assert client.get(f"{base}/correction").status_code == 404
    decide(client, "case 2", "corrected", job_id="job-grid")
    assert np.array_equal(pixels(client.get(f"{base}/correction").content), prediction)
    again = client.get(f"{base}/label", headers={"If-None-Match": label.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_values_become_their_places_in_the_list() -> None:
    mask = np.array([[0, 80], [255, 80]], np.uint8)
    assert class_numbers(mask, [0, 80, 255]).tolist() == [[0, 1], [2, 1]]
    assert png(class_numbers(mask, [0, 80, 255]))


def test_masks_of_volumes_come_by_the_slice(client: TestClient, context: Context, scripted: ModuleType) -> None:
    job_id = finish_volumes(context, scripted, upload_volumes(client)["id"])
    answer = client.get(f"/v1/jobs/{job_id}/samples/case_000/masks/label")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "slice"
    assert cards(client, f"/v1/jobs/{job_id}", 0)[0]["depth"] == 10
