"""The one filter of a job's samples, against the same conditions in Python; and how many samples each choice leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from service.api.dependencies import Context
from service.db import datasets, jobs
from service.db.listed import listed, unlisted
from service.db.tables import DEFAULT_PROJECT, Dataset, JobSample, Review
from service.jobs.lifecycle import State
from workers.contract.request import JobSpec

COUNT = 40
JOB = "/v1/jobs/job-filter"
VALUES = [0, 80, 255]
Fact = dict[str, Any]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def facts(context: Context) -> Iterator[list[Fact]]:
    """A job over samples of all kinds, put straight into the database; what is true of each."""
    draw = np.random.default_rng(3)
    found: list[Fact] = []
    for ordinal in range(COUNT):
        classes = sorted({int(one) for one in draw.integers(0, 3, 2)} - {0})
        found.append(
            {
                "ordinal": ordinal,
                "name": f"case_{ordinal:02}%",
                "confidence": float(draw.random()),
                "score": float(draw.random()),
                "reason": str(draw.choice(["wide", "none", "missing"])),
                "decision": str(draw.choice(["undecided", "flagged", "accepted", "excluded"])),
                "annotator": [None, "Ada", "Bob, Jr."][int(draw.integers(3))],
                "verified": [None, True, False][int(draw.integers(3))],
                "label": classes if ordinal % 7 else None,
                "predicted": sorted({int(one) for one in draw.integers(0, 3, 2)} - {0}),
                "note": "Too WIDE, 100% sure" if ordinal % 5 == 0 else "",
            }
        )
    with context.sessions.begin() as session:
        rows = [
            {
                "ordinal": one["ordinal"],
                "name": one["name"],
                "image_sha256": f"{one['ordinal']:064x}",
                "mask_sha256": f"{one['ordinal']:064x}",
                "width": 8,
                "height": 8,
                "foreground": 0.1,
                "annotator": one["annotator"],
                "verified": one["verified"],
                "label_values": None if one["label"] is None else listed(VALUES[k] for k in one["label"]),
            }
            for one in found
        ]
        dataset = Dataset(id="ds-filter", project_id=DEFAULT_PROJECT, name="filter")
        datasets.add(session, dataset, mask_values=VALUES, warnings=[], samples=rows)
        job = jobs.add_job(session, "job-filter", JobSpec(dataset_id="ds-filter"))
        jobs.begin_attempt(session, job, "job-filter-1")
        jobs.set_state(session, job, State.RUNNING)
        job.epochs_done = 1
        session.add_all(
            JobSample(
                job_id=job.id,
                ordinal=one["ordinal"],
                name=one["name"],
                epoch=0,
                rank=1,
                reason_kind=one["reason"],
                reason="…",
                predicted_classes=listed(one["predicted"]),
                confidence=one["confidence"],
                score=one["score"],
                dice=0.5,
                expected_dice=0.5,
            )
            for one in found
        )
        session.add_all(
            Review(
                dataset_id="ds-filter",
                sample=one["name"],
                mask_sha256=f"{one['ordinal']:064x}",
                revision=1,
                decision=one["decision"],
                note=one["note"],
                key_id="key-1",
                key_name="Ada",
            )
            for one in found
            if one["decision"] != "undecided"
        )
    yield found


def noted(one: Fact, part: str) -> bool:
    note = one["note"] if one["decision"] != "undecided" else ""
    return part.lower() in one["name"].lower() or part.lower() in note.lower()


# Arguments of a request, and what they mean.
TESTS: list[tuple[dict[str, Any], Callable[[Fact], bool]]] = [
    ({"name_contains": "CASE_1"}, lambda one: "case_1" in one["name"]),
    ({"name_contains": "_0"}, lambda one: "_0" in one["name"]),
    ({"text": "too wide"}, lambda one: noted(one, "too wide")),
    ({"text": "0%"}, lambda one: noted(one, "0%")),
    ({"confidence_min": 0.25}, lambda one: one["confidence"] >= 0.25),
    ({"confidence_max": 0.5}, lambda one: one["confidence"] <= 0.5),
    ({"score_min": 0.1, "score_max": 0.7}, lambda one: 0.1 <= one["score"] <= 0.7),
    ({"reason": "wide"}, lambda one: one["reason"] == "wide"),
    ({"decision": "undecided"}, lambda one: one["decision"] == "undecided"),
    ({"decision": "flagged"}, lambda one: one["decision"] == "flagged"),
    ({"annotator": "Bob, Jr."}, lambda one: one["annotator"] == "Bob, Jr."),
    ({"verified": True}, lambda one: one["verified"] is True),
    ({"verified": False}, lambda one: not one["verified"]),
    ({"label_class": 2}, lambda one: 2 in (one["label"] or ())),
    ({"predicted_class": 1}, lambda one: 1 in one["predicted"]),
]


def test_each_filters_as_it_says_everywhere(client: TestClient, facts: list[Fact]) -> None:
    for asked, holds in TESTS:
        wanted = {fact["ordinal"] for fact in facts if holds(fact)}
        assert wanted and len(wanted) < COUNT, asked
        page = client.get(f"{JOB}/samples", params=asked).json()
        assert ({row["ordinal"] for row in page["samples"]}, page["total"]) == (wanted, len(wanted)), asked
        lines = client.get(f"{JOB}/export", params={"format": "jsonl", **asked}).text.splitlines()
        assert len(lines) == len(wanted), asked
        answer = client.get(f"{JOB}/samples:order", params=asked).json()
        assert (set(answer["ordinals"]), answer["total"]) == (wanted, len(wanted)), asked
        assert client.get(f"{JOB}/samples:facets", params=asked).json()["total"] == len(wanted), asked


def test_two_filters_hold_together(client: TestClient, facts: list[Fact]) -> None:
    for place, (one, first) in enumerate(TESTS):
        other, second = TESTS[(place + 4) % len(TESTS)]
        wanted = {fact["ordinal"] for fact in facts if first(fact) and second(fact)}
        assert set(client.get(f"{JOB}/samples:order", params=one | other).json()["ordinals"]) == wanted, one | other


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"reason": "wide"},
        {"reason": "wide", "annotator": "Ada"},
        {"decision": "flagged", "label_class": 1},
        {"confidence_max": 0.6, "predicted_class": 2, "verified": False},
    ],
)
def test_a_facet_counts_what_exchanging_its_choice_would_leave(
    client: TestClient, facts: list[Fact], asked: dict[str, Any]
) -> None:
    def left(**choice: Any) -> int:
        """How many samples there are with this choice in the place of the one of its kind."""
        return int(client.get(f"{JOB}/samples:order", params={**asked, **choice}).json()["total"])

    found = client.get(f"{JOB}/samples:facets", params=asked).json()
    assert found["total"] == left()
    for decision, count in found["decisions"].items():
        assert count == left(decision=decision), decision
    for reason, count in found["reasons"].items():
        assert count == left(reason=reason), reason
    assert [row["annotator"] for row in found["annotators"]] == sorted(
        {fact["annotator"] for fact in facts if fact["annotator"] and left(annotator=fact["annotator"])}
    )
    for row in found["annotators"]:
        assert row["samples"] == left(annotator=row["annotator"])
    assert (found["verified"], found["not_verified"]) == (left(verified=True), left(verified=False))
    assert [(row["number"], row["value"]) for row in found["classes"]] == [(1, 80), (2, 255)]
    for row in found["classes"]:
        assert row["labels"] == left(label_class=row["number"])
        assert row["predictions"] == left(predicted_class=row["number"])
    if not asked:
        assert found["label_class_unknown"] == sum(fact["label"] is None for fact in facts)
        assert found["reasons"]["wide"] == Counter(fact["reason"] for fact in facts)["wide"]


def test_what_cannot_be_asked_is_refused(client: TestClient, facts: list[Fact]) -> None:
    for wrong in ({"label_class": 3}, {"predicted_class": 9}):
        answer = client.get(f"{JOB}/samples:order", params=wrong)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == next(iter(wrong))
        assert "from 1 to 2" in answer.json()["errors"][0]["hint"]
    for odd in ({"reason": "odd"}, {"decision": "odd"}, {"label_class": 0}, {"text": "a\0b"}, {"annotator": "\0"}):
        assert client.get(f"{JOB}/samples:facets", params=odd).status_code == 422, odd
    token = client.get(f"{JOB}/samples", params={"reason": "wide", "page_size": 1}).json()["next_page_token"]
    other = {"reason": "none", "page_size": 1, "page_token": token}
    assert client.get(f"{JOB}/samples", params=other).status_code == 400  # the token was given for another question


def test_lists_of_numbers() -> None:
    assert (listed([3, 1, 3]), listed([])) == (",1,3,", ",")
    assert unlisted(listed(range(12))) == list(range(12))


def test_one_and_eleven_are_two_numbers(client: TestClient, facts: list[Fact], context: Context) -> None:
    with context.sessions.begin() as session:
        session.execute(text("UPDATE job_samples SET predicted_classes = ',11,12,'"))
    assert client.get(f"{JOB}/samples:order", params={"predicted_class": 1}).json()["ordinals"] == []
