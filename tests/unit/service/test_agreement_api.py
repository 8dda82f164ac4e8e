"""Who agrees with whom: on which labels two people differ, and how annotators of one image agree."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sklearn.metrics import cohen_kappa_score, f1_score

from service.api.dependencies import Context
from service.db import access
from service.db.tables import DEFAULT_PROJECT
from service.roles import Role
from tests.conftest import png
from tests.review_jobs import COUNT, JOB, reviewable_job


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def person(app: FastAPI, context: Context) -> Callable[[str], TestClient]:
    def person(name: str) -> TestClient:
        key = access.new_key()
        with context.sessions.begin() as session:
            access.add_key(session, key, name=name, role=Role.REVIEW, project_id=DEFAULT_PROJECT, created_by="tests")
        client = TestClient(app, raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {key}"
        return client

    return person


def test_the_labels_on_which_two_people_disagree_are_found(
    client: TestClient, context: Context, scripted: ModuleType, person: Callable[[str], TestClient]
) -> None:
    version = f"/v1/datasets/{reviewable_job(client, context, scripted)}/versions/1"
    ada, ben = person("Ada"), person("Ben")

    def decide(who: TestClient, number: int, decision: str) -> None:
        path = f"{version}/samples/case {number:02}/review"
        who.put(path, json={"decision": decision}, headers={"If-Match": "*"}).raise_for_status()

    thoughts = {
        0: ("accepted", "accepted"),
        1: ("accepted", "flagged"),
        2: ("excluded", "flagged"),
        3: ("flagged", "accepted"),
    }
    for number, (one, other) in thoughts.items():
        decide(ada, number, one)
        decide(ben, number, other)
    decide(ada, 4, "accepted")  # Ben has not looked at it
    decide(ada, 5, "flagged")
    decide(ben, 5, "accepted")
    ben.post(f"{version}/samples/case 05/review:undo", headers={"If-Match": "*"}).raise_for_status()
    decide(ben, 1, "accepted")  # and changes his mind, twice
    decide(ben, 1, "excluded")

    (pair,) = client.get(f"{version}/reviews/agreement").json()["agreements"]
    believes = [[decision == "accepted" for decision in both] for both in thoughts.values()]
    assert (pair["names"], pair["both"], pair["same"]) == (["Ada", "Ben"], 4, 2)
    assert pair["kappa"] == pytest.approx(cohen_kappa_score(*zip(*believes, strict=True)))

    def differ(*people: str) -> list[int]:
        answer = client.get(f"/v1/jobs/{JOB}/samples:order", params={"disagree": people, "order_by": "name"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == len(answer.json()["ordinals"])
        return list(answer.json()["ordinals"])

    assert differ(*pair["keys"]) == differ(*pair["keys"][::-1]) == [1, 3]
    assert len(differ(*pair["keys"])) == pair["both"] - pair["same"]
    assert differ("key-none", pair["keys"][0]) == differ(pair["keys"][0], pair["keys"][0]) == []
    for wrong in (["one"], ["one", "two", "three"], ["a" * 65, "b"], ["\x00", "b"]):
        assert client.get(f"/v1/jobs/{JOB}/samples:order", params={"disagree": wrong}).status_code == 422


def test_counts_are_of_what_is_asked_for(client: TestClient) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(16):
            disc = np.zeros((16, 16), np.uint8)
            disc[2 : 6 + number % 4, 3 : 9 + number // 4] = 255
            noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            archive.writestr(f"images/{number}.png", png(noise))
            archive.writestr(f"masks/{number}.png", png(disc))
    answer = client.post(
        "/v1/datasets", data={"name": "held out", "test_share": "0.25"}, files={"file": ("x.zip", sink.getvalue())}
    )
    assert answer.status_code == 201, answer.text
    version = f"/v1/datasets/{answer.json()['id']}/versions/1"
    samples = client.get(f"{version}/samples").json()["samples"]
    trained = [row["sample"] for row in samples if row["split"] == "train"]
    held_out = [row["sample"] for row in samples if row["split"] == "test"]
    assert len(held_out) > 0 and len(trained) + len(held_out) == 16
    for name, decision in ((trained[0], "flagged"), (trained[1], "accepted"), (held_out[0], "flagged")):
        path = f"{version}/samples/{name}/review"
        client.put(path, json={"decision": decision}, headers={"If-Match": "*"}).raise_for_status()

    def ask(**params: str) -> tuple[list[str], int, int, int]:
        page = client.get(f"{version}/reviews", params=params).json()
        counts = page["counts"]
        return sorted(r["sample"] for r in page["reviews"]), counts["flagged"], counts["accepted"], page["undecided"]

    assert ask() == (sorted([*trained[:2], held_out[0]]), 2, 1, 13)
    assert ask(split="train") == (sorted(trained[:2]), 1, 1, len(trained) - 2)
    assert ask(split="test") == ([held_out[0]], 1, 0, len(held_out) - 1)
    assert client.get(f"{version}/reviews", params={"split": "other"}).status_code == 422


def test_who_else_drew_an_image(client: TestClient) -> None:
    y, x = np.mgrid[:32, :32]
    masks = {who: (np.hypot(y - 16, x - 16) < radius) for who, radius in (("ada", 8), ("ben", 10), ("cyd", 5))}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in ("one", "one@x", "two"):
            image = np.full((32, 32, 3), 20 + y[..., None] + {"one": 0, "one@x": 60, "two": 120}[name], np.uint8)
            archive.writestr(f"images/{name}.png", png(image))
            for who, mask in masks.items():
                if (name, who) != ("two", "cyd"):
                    archive.writestr(f"masks/{who}/{name}.png", png(mask.astype(np.uint8) * 255))
    answer = client.post("/v1/datasets", data={"name": "several"}, files={"file": ("x.zip", sink.getvalue())})
    assert answer.status_code == 201, answer.text
    base = f"/v1/datasets/{answer.json()['id']}/versions/1/samples"
    found = client.get(f"{base}/one@ada/annotations").json()
    assert (found["annotator"], [(one["sample"], one["annotator"]) for one in found["others"]]) == (
        "ada",
        [("one@ben", "ben"), ("one@cyd", "cyd")],
    )
    for one in found["others"]:
        assert one["dice"] == pytest.approx(f1_score(masks["ada"].ravel(), masks[one["annotator"]].ravel()))
    assert found["agreement"] == pytest.approx(np.mean([one["dice"] for one in found["others"]]), abs=1e-6)
    assert [one["sample"] for one in client.get(f"{base}/two@ben/annotations").json()["others"]] == ["two@ada"]
    with_at = client.get(f"{base}/one@x@cyd/annotations").json()["others"]
    assert [one["sample"] for one in with_at] == ["one@x@ada", "one@x@ben"]
    ordinals = {row["sample"]: row["ordinal"] for row in client.get(base).json()["samples"]}
    assert all(one["ordinal"] == ordinals[one["sample"]] for one in found["others"])
    assert client.get(f"{base}/three@ada/annotations").status_code == 404


def test_where_nobody_is_named_nobody_else_drew(client: TestClient, context: Context, scripted: ModuleType) -> None:
    dataset = reviewable_job(client, context, scripted)
    assert client.get(f"/v1/datasets/{dataset}/versions/1/samples/case 03/annotations").json()["others"] == []
    assert client.get(f"/v1/datasets/{dataset}/versions/1/reviews").json()["undecided"] == COUNT
