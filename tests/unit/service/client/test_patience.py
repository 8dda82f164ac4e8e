"""The client waits where it is told to, and for no longer."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.api.admission import Admission
from service.cli.packing import as_archive
from service.client import Client, Refused
from service.client.patience import WAITS, PatientClient
from service.metrics import Metrics
from tests.unit.service.test_buckets import Clock

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


def client(answers: list[httpx.Response]) -> tuple[PatientClient, list[float]]:
    slept: list[float] = []
    transport = httpx.MockTransport(lambda _request: answers.pop(0))
    return PatientClient(sleep=slept.append, transport=transport, base_url="http://x"), slept


def limited(after: str) -> httpx.Response:
    return httpx.Response(429, headers={"Retry-After": after})


def test_it_waits_as_it_is_told() -> None:
    http, slept = client([limited("3"), limited("1"), httpx.Response(200)])
    assert http.post("/", content=b"x").status_code == 200
    assert slept == [3, 1]


def test_a_bounded_number_of_times() -> None:
    http, slept = client([limited("1")] * 20)
    assert http.get("/").status_code == 429
    assert len(slept) == WAITS


@pytest.mark.parametrize("after", ["3600", "Fri, 31 Dec 1999 23:59:59 GMT", "-1", ""])
def test_not_for_long_and_not_for_what_it_cannot_read(after: str) -> None:
    http, slept = client([limited(after)])
    assert http.get("/").status_code == 429
    assert slept == []


def test_an_upload_is_sent_again_whole(app: FastAPI, url: str, folder: Path, metrics: Metrics) -> None:
    clock = Clock()
    slept: list[float] = []
    app.state.admission = Admission(2, 2, metrics, clock=clock)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    with Client(url, KEY) as dale, as_archive(folder) as archive:
        http = dale._http
        assert isinstance(http, PatientClient)
        http._sleep = sleep
        list(dale.datasets())
        list(dale.datasets())
        made = dale.upload(archive)
        assert made.newest.sample_count == 4
        assert slept == [30]
        http._sleep = slept.append  # time stands: it gives up
        with pytest.raises(Refused, match="Too many requests"):
            dale.dataset(made.id)
    assert len(slept) == 1 + WAITS


def test_a_repeated_delete_that_finds_nothing_has_done_it() -> None:
    answers: list[httpx.Response | None] = [None, httpx.Response(404, json={"title": "Not found"})]

    def answer(request: httpx.Request) -> httpx.Response:
        given = answers.pop(0)
        if given is None:
            raise httpx.ReadError("the answer was lost", request=request)
        return given

    with Client("http://x", KEY, transport=httpx.MockTransport(answer)) as dale:
        dale.delete("job-a")
        assert answers == []
        answers[:] = [httpx.Response(404, json={"title": "Not found"})]
        with pytest.raises(Refused, match="404"):
            dale.delete("job-a")
        answers[:] = [None, httpx.Response(409, json={"title": "Conflict"})]
        with pytest.raises(Refused, match="409"):
            dale.delete_dataset("ds-a")
        answers[:] = [None, httpx.Response(404, json={"title": "Not found"})]
        with pytest.raises(Refused, match="404"):
            dale.job("job-a")
