"""Reviews through the API: decisions, undo, two people at once, masks, and the version that comes of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import access, jobs
from service.db.tables import DEFAULT_PROJECT
from service.jobs.lifecycle import State
from service.roles import Role
from workers.contract import keys
from workers.contract.request import JobSpec

NAMES = ["a 1", "b", "c", "d", "e"]
SIZE = 16


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


def png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def square(begin: int, end: int, value: int = 255) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[begin:end, begin:end] = value
    return mask


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def version(client: TestClient) -> str:
    """Path of version 1 of a dataset of five samples, each with a square of its own as label."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number, name in enumerate(NAMES):
            image = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
            archive.writestr(f"images/{name}.png", png(image))
            archive.writestr(f"masks/{name}.png", png(square(2, 6 + number)))
    answer = client.post("/v1/datasets", data={"name": "lesions"}, files={"file": ("l.zip", sink.getvalue())})
    assert answer.status_code == 201, answer.text
    return f"/v1/datasets/{answer.json()['id']}/versions/1"


@pytest.fixture
def person(app: FastAPI, context: Context) -> Callable[[str], TestClient]:
    """Somebody with a key that may review: `person(name)`."""

    def person(name: str, role: Role = Role.REVIEW) -> TestClient:
        key = access.new_key()
        with context.sessions.begin() as session:
            access.add_key(session, key, name=name, role=role, project_id=DEFAULT_PROJECT, created_by="tests")
        client = TestClient(app, raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {key}"
        return client

    return person


def review(client: TestClient, version: str, sample: str) -> dict[str, Any]:
    answer = client.get(f"{version}/samples/{sample}/review")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    return dict(answer.json())


def decide(
    client: TestClient, version: str, sample: str, seen: int | str, decision: str, **more: Any
) -> httpx.Response:
    return client.put(
        f"{version}/samples/{sample}/review",
        json={"decision": decision, **more},
        headers={"If-Match": f'"{seen}"' if isinstance(seen, int) else seen},
    )


def draw(client: TestClient, version: str, sample: str, seen: int, mask: np.ndarray | bytes) -> httpx.Response:
    content = mask if isinstance(mask, bytes) else png(mask)
    return client.put(f"{version}/samples/{sample}/review/mask", content=content, headers={"If-Match": f'"{seen}"'})


def undo(client: TestClient, version: str, sample: str, seen: int) -> httpx.Response:
    return client.post(f"{version}/samples/{sample}/review:undo", headers={"If-Match": f'"{seen}"'})


def test_a_decision_is_there_with_who_and_when(client: TestClient, version: str, person: Any) -> None:
    ada = person("Ada")
    assert review(ada, version, "b")["decision"] is None
    answer = decide(ada, version, "b", 0, "flagged", note="too wide?")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"1"'
    seen = review(client, version, "b")
    assert (seen["decision"], seen["note"], seen["by"], seen["revision"]) == ("flagged", "too wide?", "Ada", 1)
    assert [event["decision"] for event in seen["history"]] == ["flagged"]
    listed = client.get(f"{version}/reviews").json()
    assert [row["sample"] for row in listed["reviews"]] == ["b"]
    assert listed["counts"] == {"accepted": 0, "flagged": 1, "corrected": 0, "excluded": 0}
    assert listed["undecided"] == len(NAMES) - 1
    entries = client.get("/v1/audit", params={"action": "review.decide"}).json()["entries"]
    assert [(entry["key_name"], entry["details"]["sample"]) for entry in entries] == [("Ada", "b")]


def test_pages_and_filters(client: TestClient, version: str) -> None:
    decisions = ["accepted", "flagged", "accepted", "excluded", "accepted"]
    for name, decision in zip(NAMES, decisions, strict=True):
        assert decide(client, version, name, 0, decision).status_code == 200
    found, token = [], None
    while True:
        query = {"decision": "accepted", "page_size": 2} | ({"page_token": token} if token else {})
        page = client.get(f"{version}/reviews", params=query).json()
        found += [row["sample"] for row in page["reviews"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert found == ["a 1", "c", "e"]
    assert page["counts"]["accepted"] == 3 and page["undecided"] == 0


def test_nobody_overwrites_what_they_have_not_seen(client: TestClient, version: str, person: Any) -> None:
    ada, bob = person("Ada"), person("Bob")
    assert decide(ada, version, "b", 0, "accepted").status_code == 200
    late = decide(bob, version, "b", 0, "excluded")
    assert late.status_code == 412 and "meanwhile" in late.json()["detail"]
    assert review(bob, version, "b")["decision"] == "accepted"
    without = bob.put(f"{version}/samples/b/review", json={"decision": "excluded"})
    assert without.status_code == 428
    for nonsense in ("1", 'W/"1"', '"x"', '"99999999999999999999"'):
        assert decide(bob, version, "b", nonsense, "excluded").status_code == 412
    assert decide(bob, version, "b", "*", "excluded").status_code == 200
    assert review(ada, version, "b")["by"] == "Bob"


def test_of_many_at_once_one_is_heard(version: str, person: Any) -> None:
    people = [person(f"p{number}") for number in range(6)]
    with ThreadPoolExecutor(len(people)) as pool:
        answers = list(pool.map(lambda one: decide(one, version, "b", 0, "accepted").status_code, people))
    assert sorted(answers) == [200] + [412] * 5
    assert len(review(people[0], version, "b")["history"]) == 1


def test_undo_goes_back_step_by_step(client: TestClient, version: str) -> None:
    assert decide(client, version, "b", 0, "accepted", note="fine").status_code == 200
    assert draw(client, version, "b", 1, square(3, 9)).status_code == 200
    assert decide(client, version, "b", 2, "excluded").status_code == 200
    back = undo(client, version, "b", 3).json()
    assert (back["decision"], back["revision"]) == ("corrected", 4)
    assert np.array_equal(pixels(client.get(back["new_mask"]).content), square(3, 9))
    back = undo(client, version, "b", 4).json()
    assert (back["decision"], back["note"], back["new_mask"]) == ("accepted", "fine", None)
    back = undo(client, version, "b", 5).json()
    assert (back["decision"], back["revision"]) == (None, 6)
    assert undo(client, version, "b", 6).status_code == 409
    assert client.get(f"{version}/samples/b/review/mask").status_code == 404
    # After an undo a new decision begins a new branch, and its undo leads to what was before it.
    assert decide(client, version, "b", 6, "flagged").status_code == 200
    assert undo(client, version, "b", 7).json()["decision"] is None
    history = review(client, version, "b")["history"]
    assert [event["undo"] for event in history] == [False] * 3 + [True] * 3 + [False, True]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture", "image"),
        (png(square(2, 9, value=7)), "7"),
        (png(np.zeros((8, 8), np.uint8)), "8 x 8"),
        (b"", "image"),
    ],
)
def test_what_is_no_mask_of_the_sample_is_refused(
    client: TestClient, version: str, content: bytes, reason: str
) -> None:
    answer = draw(client, version, "b", 0, content)
    assert answer.status_code == 422, answer.text
    assert reason in str(answer.json()["errors"])
    assert review(client, version, "b")["revision"] == 0


def test_a_correction_that_changes_nothing_is_refused(client: TestClient, version: str) -> None:
    same = client.get(f"{version}/samples/b/mask").content
    assert draw(client, version, "b", 0, same).status_code == 422


def test_the_models_mask_takes_the_labels_place(client: TestClient, context: Context, version: str) -> None:
    dataset_id = version.split("/")[3]
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset_id))
    missing = decide(client, version, "c", 0, "corrected", job_id="job-1")
    assert missing.status_code == 422 and "no prediction" in str(missing.json()["errors"])
    context.store.put(keys.prediction("job-1", 2), png(square(4, 12, value=1)), "image/png")
    answer = decide(client, version, "c", 0, "corrected", job_id="job-1")
    assert answer.status_code == 200, answer.text
    assert np.array_equal(pixels(client.get(answer.json()["new_mask"]).content), square(4, 12))
    assert decide(client, version, "c", 1, "corrected").status_code == 422
    assert decide(client, version, "c", 1, "corrected", job_id="job-none").status_code == 422
    assert decide(client, version, "c", 1, "accepted", job_id="job-1").status_code == 422


def test_the_next_version_has_what_was_decided(client: TestClient, context: Context, version: str) -> None:
    dataset_id = version.split("/")[3]
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset_id, epochs=7, name="first"))
    assert client.post(f"{version}/reviews:finish", json={}).status_code == 409
    assert decide(client, version, "a 1", 0, "accepted").status_code == 200
    assert draw(client, version, "b", 0, square(3, 9)).status_code == 200
    assert decide(client, version, "c", 0, "excluded").status_code == 200
    assert decide(client, version, "d", 0, "flagged").status_code == 200
    twice = {"Idempotency-Key": "once"}
    answers = [client.post(f"{version}/reviews:finish", json={"again": "job-1"}, headers=twice) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
    finished = answers[0].json()
    assert answers[1].json() == finished
    assert (finished["version"]["number"], finished["corrected"], finished["excluded"]) == (2, 1, 1)
    assert finished["verified"] == 2
    assert finished["job"]["spec"] | {"dataset_version": 1} == JobSpec(
        dataset_id=dataset_id, epochs=7, name="first"
    ).model_dump(mode="json")
    assert (finished["job"]["state"], finished["job"]["spec"]["dataset_version"]) == (State.QUEUED, 2)
    second = version.removesuffix("1") + "2"
    kept = client.get(f"{second}/samples").json()["samples"]
    assert [(row["sample"], row["verified"]) for row in kept] == [("a 1", True), ("b", True), ("d", None), ("e", None)]
    assert np.array_equal(pixels(client.get(f"{second}/samples/b/mask").content), square(3, 9))
    # What was decided of labels that stay, stays; the new label was chosen by somebody who looked.
    decided = {row["sample"]: row["decision"] for row in client.get(f"{second}/reviews").json()["reviews"]}
    assert decided == {"a 1": "accepted", "b": "accepted", "d": "flagged"}
    assert review(client, version, "b")["decision"] == "corrected"
    again = client.post(f"{version}/reviews:finish", json={"again": "job-none"})
    assert again.status_code == 422


def test_labels_that_were_found_right_make_a_version_too(client: TestClient, version: str) -> None:
    assert decide(client, version, "a 1", 0, "accepted").status_code == 200
    done = client.post(f"{version}/reviews:finish", json={})
    assert (done.status_code, done.json()["verified"]) == (201, 1), done.text
    second = version.removesuffix("1") + "2"
    assert client.post(f"{second}/reviews:finish", json={}).status_code == 422  # they are known to be already
    # Of another mask nobody has said so.
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("masks/a 1.png", png(square(3, 9)))
    answer = client.post(second.removesuffix("/2"), files={"file": ("m.zip", sink.getvalue())})
    assert answer.status_code == 201, answer.text
    third = version.removesuffix("1") + "3"
    assert client.get(f"{third}/samples").json()["samples"][0]["verified"] is None


def test_two_people_are_compared(client: TestClient, version: str, person: Any) -> None:
    from sklearn.metrics import cohen_kappa_score

    ada, bob = person("Ada"), person("Bob")
    first = ["accepted", "flagged", "accepted", "excluded", "accepted"]
    second = ["accepted", "accepted", "accepted", "flagged", "excluded"]
    for name, one, other in zip(NAMES, first, second, strict=True):
        assert decide(ada, version, name, "*", one).status_code == 200
        assert decide(bob, version, name, "*", other).status_code == 200
    (found,) = client.get(f"{version}/reviews/agreement").json()["agreements"]
    votes = [[decision == "accepted" for decision in row] for row in (first, second)]
    assert (found["names"], found["both"], found["same"]) == (["Ada", "Bob"], 5, 3)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(*votes))
    assert (found["masks"], found["dice"]) == (0, None)
    assert draw(ada, version, "b", 2, square(2, 8)).status_code == 200
    assert draw(bob, version, "b", 3, square(4, 10)).status_code == 200
    (found,) = client.get(f"{version}/reviews/agreement").json()["agreements"]
    assert (found["masks"], found["dice"]) == (1, pytest.approx(2 * 16 / 72))


def test_readers_look_and_do_not_decide(version: str, person: Any) -> None:
    reader = person("Eve", Role.READ)
    assert review(reader, version, "b")["decision"] is None
    assert decide(reader, version, "b", 0, "accepted").status_code == 403
    assert draw(reader, version, "b", 0, square(2, 4)).status_code == 403
    reviewer = person("Ada")
    assert decide(reviewer, version, "b", 0, "excluded").status_code == 200
    assert reviewer.post(f"{version}/reviews:finish", json={}).status_code == 403


def test_a_deleted_dataset_takes_its_reviews_along(client: TestClient, version: str) -> None:
    assert decide(client, version, "b", 0, "excluded").status_code == 200
    assert client.delete(version.removesuffix("/versions/1")).status_code in {200, 204}
    assert client.get(f"{version}/samples/b/review").status_code == 404
