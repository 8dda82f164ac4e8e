"""The pages: who gets in, what they show, and that they show it as text."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from urllib.parse import parse_qs

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from service.web.charts import points

from_conftest = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    """Somebody who has signed in on the page."""
    answer = stranger.post("/login", data={"key": from_conftest, "next": "/"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    return stranger


@pytest.mark.parametrize("path", ["/", "/jobs/job-pages", "/jobs/job-pages/samples/case%201"])
def test_without_a_session_every_page_asks_for_the_key(stranger: TestClient, finished_job: str, path: str) -> None:
    answer = stranger.get(path, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=/")


def test_a_wrong_key_stays_outside(stranger: TestClient) -> None:
    answer = stranger.post("/login", data={"key": "wrong"})
    assert answer.status_code == 401
    assert "not valid here" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(stranger: TestClient, target: str) -> None:
    answer = stranger.post("/login", data={"key": from_conftest, "next": target}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_signing_in_leads_back_to_filter_and_sample(stranger: TestClient, finished_job: str) -> None:
    here = f"/jobs/{finished_job}/review?sort=name&at=3&view=large"
    asked = stranger.get(here)
    assert asked.status_code == 200
    target = parse_qs(asked.url.query.decode())["next"][0]
    assert target == here
    answer = stranger.post("/login", data={"key": from_conftest, "next": target}, follow_redirects=False)
    assert answer.headers["location"] == here
    page = stranger.get(here)
    assert "<script>alert" not in page.text
    settings = json.loads(unescape(page.text.partition("data-settings='")[2].partition("'")[0]))
    assert (settings["job"], settings["values"], settings["review"]) == (finished_job, [0, 255], True)


def test_signing_out_ends_the_session(browser: TestClient) -> None:
    token = browser.cookies["dale_session"]
    browser.post("/logout", follow_redirects=False)
    browser.cookies.set("dale_session", token)
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_the_most_doubted_come_first(browser: TestClient, client: TestClient, finished_job: str) -> None:
    listed = [row["rank"] for row in client.get(f"/v1/jobs/{finished_job}/samples").json()["samples"]]
    page = browser.get(f"/jobs/{finished_job}").text
    assert [int(rank) for rank in re.findall(r'title="rank">#(\d+)<', page)] == listed == sorted(listed)
    assert "prediction of the network" in page


def test_names_are_text_not_markup(browser: TestClient, finished_job: str) -> None:
    for path in ("/", f"/jobs/{finished_job}", f"/jobs/{finished_job}/samples/%3Cb%3Ebold%20%26%20%22x%22"):
        page = browser.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<b>bold" not in page.text
        assert (
            "script-src" in page.headers["content-security-policy"]
            or "default-src 'self'" in page.headers["content-security-policy"]
        )


def test_unknown_things_get_a_page_of_their_own(browser: TestClient, finished_job: str) -> None:
    for path in ("/jobs/job-none", f"/jobs/{finished_job}/samples/none"):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "Not found" in answer.text


def test_filter_and_order(browser: TestClient, finished_job: str) -> None:
    page = browser.get(f"/jobs/{finished_job}?name=CASE&sort=name").text
    assert re.findall(r'class="name">([^<]*)<', page) == [f"case {number}" for number in range(5)]
    assert "No sample matches" in browser.get(f"/jobs/{finished_job}?name=zebra").text


def test_pictures_are_revalidated(client: TestClient, finished_job: str) -> None:
    base = f"/v1/jobs/{finished_job}/samples/case%201"
    for url in (f"{base}/image", f"{base}/overlay?size=128"):
        first = client.get(url)
        assert first.status_code == 200
        assert max(Image.open(io.BytesIO(first.content)).size) == (64 if url.endswith("image") else 128)
        again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{base}/overlay?size=128").headers["dale-prediction"] == "shown"
    assert client.get(f"{base}/overlay?size=12").status_code == 422


def test_pictures_need_a_key(app: FastAPI, finished_job: str) -> None:
    answer = TestClient(app).get(f"/v1/jobs/{finished_job}/samples/case%201/overlay")
    assert answer.status_code == 401


def test_charts_put_the_top_at_zero() -> None:
    assert points([1, 0, 0.5], 100, 40) == "0.0,0.0 50.0,40.0 100.0,20.0"
    assert points([7], 100, 40) == "0.0,0.0"


@pytest.mark.parametrize(
    ("origin", "status"), [("http://testserver", 202), ("http://testserver:9999", 401), ("null", 401)]
)
def test_a_session_changes_things_only_from_our_own_pages(
    browser: TestClient, finished_job: str, origin: str, status: int
) -> None:
    answer = browser.post(f"/v1/jobs/{finished_job}:cancel", headers={"Origin": origin})
    assert answer.status_code == status
