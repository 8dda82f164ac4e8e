"""Many decisions in one request: an answer for each, nobody's decision overwritten unseen, all of it undone at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.api import bulk_reviews
from service.api.dependencies import Context
from service.db import deciding, tables
from service.db.tables import DEFAULT_PROJECT
from service.errors import Unavailable
from service.resources.bulk_reviews import MOST_ITEMS
from workers.contract import keys

JOB = "/v1/jobs/job-many"
VERSION = "/v1/datasets/ds-many/versions/1"
COUNT = 6


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture(autouse=True)
def job(finish_job: Callable[..., str]) -> str:
    return finish_job("ds-many", "job-many", DEFAULT_PROJECT)


def decide(client: TestClient, decision: str, *labels: dict[str, Any], note: str = "") -> dict[str, Any]:
    body = {"decision": decision, "labels": list(labels), "note": note}
    answer = client.post(f"{JOB}/reviews:decide", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def undo(client: TestClient, *labels: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"{JOB}/reviews:undo", json={"labels": list(labels)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def seen(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What an answer said of what it did, as the next request takes it."""
    done = [one for one in answer["labels"] if one["outcome"] == "done"]
    return [{"ordinal": one["ordinal"], "revision": one["revision"]} for one in done]


def states(client: TestClient) -> list[tuple[str | None, int]]:
    cards = client.get(f"{JOB}/samples:cards", params={"ordinal": list(range(COUNT))}).json()["cards"]
    return [(card["decision"], card["revision"]) for card in cards]


def test_many_are_decided_and_undone_as_one_by_one(client: TestClient, context: Context) -> None:
    answer = decide(client, "flagged", *({"ordinal": ordinal} for ordinal in (4, 0, 2)), note="look")
    assert answer["done"] == 3
    assert [(one["ordinal"], one["outcome"]) for one in answer["labels"]] == [(4, "done"), (0, "done"), (2, "done")]
    assert states(client) == [("flagged", 1), (None, 0), ("flagged", 1), (None, 0), ("flagged", 1), (None, 0)]
    detail = client.get(f"{VERSION}/samples/case 1/review").json()
    assert (detail["decision"], detail["note"], detail["by"], len(detail["history"])) == ("flagged", "look", "tests", 1)
    # A second decision over the first, with what was seen; then back step by step.
    second = decide(client, "excluded", *seen(answer), {"ordinal": 5, "revision": 0})
    assert second["done"] == 4
    back = undo(client, *seen(second))
    assert back["done"] == 4
    assert states(client) == [("flagged", 3), (None, 0), ("flagged", 3), (None, 0), ("flagged", 3), (None, 2)]
    assert client.get(f"{VERSION}/samples/case 1/review").json()["note"] == "look"
    assert undo(client, *seen(back))["done"] == 3
    assert [one["outcome"] for one in undo(client, {"ordinal": 0}, {"ordinal": 1})["labels"]] == ["nothing"] * 2
    history = client.get(f"{VERSION}/samples/case 1/review").json()["history"]
    assert [(event["decision"], event["undo"]) for event in history] == [
        ("flagged", False),
        ("excluded", False),
        ("flagged", True),
        (None, True),
    ]
    with context.database.read() as session:  # where nothing was done nothing is left behind
        assert session.scalar(select(func.count()).select_from(tables.Review)) == 4
    actions = [entry["action"] for entry in client.get("/v1/audit?page_size=500").json()["entries"]]
    assert (actions.count("review.decide"), actions.count("review.undo")) == (7, 7)


def test_what_others_decided_meanwhile_stays_and_is_told(client: TestClient) -> None:
    single = client.put(
        f"{VERSION}/samples/case 0/review", json={"decision": "accepted", "note": "fine"}, headers={"If-Match": '"0"'}
    )
    assert single.status_code == 200
    answer = decide(
        client, "excluded", {"ordinal": 0}, {"ordinal": 1}, {"ordinal": 2, "revision": 7}, {"ordinal": 3, "revision": 0}
    )
    assert [one["outcome"] for one in answer["labels"]] == ["done", "conflict", "conflict", "done"]
    told = answer["labels"][1]
    assert (told["sample"], told["decision"], told["by"], told["note"]) == ("case 0", "accepted", "tests", "fine")
    assert states(client)[:4] == [("excluded", 1), ("accepted", 1), (None, 0), ("excluded", 1)]
    # Sent again it changes nothing; told apart by the revision, it replaces.
    assert decide(client, "excluded", {"ordinal": 0}, {"ordinal": 3, "revision": 0})["done"] == 0
    assert decide(client, "flagged", {"ordinal": 1, "revision": told["revision"]})["done"] == 1
    # An undo does not take back what came after what was seen.
    late = undo(client, {"ordinal": 1, "revision": 1}, {"ordinal": 0, "revision": 1})
    assert [one["outcome"] for one in late["labels"]] == ["conflict", "done"]
    assert states(client)[:2] == [(None, 2), ("flagged", 2)]


def test_an_undone_label_is_free_for_who_has_not_seen_it(client: TestClient) -> None:
    undo(client, *seen(decide(client, "excluded", {"ordinal": 0})))
    assert decide(client, "flagged", {"ordinal": 0})["done"] == 1
    assert states(client)[0] == ("flagged", 3)


def test_predictions_take_the_labels_places_or_it_is_said_why_not(client: TestClient, context: Context) -> None:
    context.store.delete(keys.prediction("job-many", 4))
    labels = [{"ordinal": ordinal} for ordinal in (0, 1, 4, 99)]  # of 1 the label is just what is predicted
    answer = decide(client, "corrected", *labels)
    assert [one["outcome"] for one in answer["labels"]] == ["done", None, None, None]
    faults = [one["fault"] for one in answer["labels"]]
    assert faults[0] is None
    assert "is the label that is there" in faults[1] and "no prediction" in faults[2] and "no sample 99" in faults[3]
    digest = answer["labels"][0]["new_mask_sha256"]
    assert client.get(f"{VERSION}/samples/%3Cb%3Ebold%20&%20%22x%22/review/mask").headers["etag"] == f'"{digest}"'
    assert [state for state, _ in states(client)] == ["corrected", None, None, None, None, None]


def test_bounds(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**body: Any) -> str:
        answer = client.post(f"{JOB}/reviews:decide", json={"decision": "flagged", **body})
        assert answer.status_code == 422
        return str(answer.json())

    assert "labels" in refused(labels=[])
    assert "named twice" in refused(labels=[{"ordinal": 1}, {"ordinal": 1, "revision": 0}])
    assert "labels" in refused(labels=[{"ordinal": number} for number in range(MOST_ITEMS + 1)])
    assert "ordinal" in refused(labels=[{"ordinal": -1}])
    assert "revision" in refused(labels=[{"ordinal": 1, "revision": 10**9}])
    monkeypatch.setattr(bulk_reviews, "MOST_CORRECTIONS", 1)
    assert "name 1 at most" in refused(labels=[{"ordinal": 0}, {"ordinal": 1}], decision="corrected")
    assert states(client) == [(None, 0)] * COUNT


def test_of_two_at_once_each_label_hears_one(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "AT_ONCE", 2)
    orders = [list(range(COUNT)), list(reversed(range(COUNT)))] * 2
    decisions = ["flagged", "accepted", "excluded", "flagged"]

    def ask(number: int) -> int:
        labels = [{"ordinal": ordinal, "revision": 0} for ordinal in orders[number]]
        return int(decide(client, decisions[number], *labels)["done"])

    with ThreadPoolExecutor(len(orders)) as pool:
        done = list(pool.map(ask, range(len(orders))))
    assert sorted(done) == [0, 0, 0, COUNT]
    assert {revision for _, revision in states(client)} == {1}


def test_nothing_is_kept_of_a_request_that_fails(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the audit trail is away")

    monkeypatch.setattr(bulk_reviews.audit, "add", fail)
    body = {"decision": "flagged", "labels": [{"ordinal": 0}, {"ordinal": 1}]}
    assert client.post(f"{JOB}/reviews:decide", json=body).status_code == 503
    assert states(client) == [(None, 0)] * COUNT
