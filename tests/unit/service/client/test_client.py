from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.cli.packing import as_archive
from service.client import Client, DamagedFile, Event, JobSpec, Refused, Unreachable
from service.client.files import CountedFile, file_name
from service.client.sse import EventParser
from service.client.transfer import download
from service.jobs.lifecycle import State

CONTENT = bytes(range(256)) * 8000 + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_upload_tells_its_progress_and_arrives(dale: Client, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    with as_archive(folder) as archive:
        size = archive.stat().st_size
        dataset = dale.upload(archive, name="lesions & more", progress=lambda *pair: told.append(pair))
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert dataset.newest.sample_count == 4
    assert dale.dataset(dataset.id) == dataset
    assert list(dale.datasets()) == [dataset]


def test_maps_lie_in_the_folder_whatever_a_sample_is_called(dale: Client, finished_job: str, tmp_path: Path) -> None:
    folder, before = tmp_path / "maps", set(tmp_path.iterdir())
    named = dale.fetch_map(finished_job, '<b>bold & "x"', folder)
    assert named == folder / "_b_bold _ _x_.png"
    assert dale.fetch_picture(finished_job, '<b>bold & "x"', folder).read_bytes()[8:12] == b"WEBP"
    assert set(tmp_path.iterdir()) - before == {folder}
    assert sorted(path.suffix for path in folder.iterdir()) == [".png", ".webp"], "nothing in part"
    for name in ("../up", "..", ".", "/etc/x"):
        assert (folder / f"{file_name(name)}.png").parent == folder
        assert not file_name(name).startswith(".")


def test_upload_never_holds_the_file_in_memory(dale: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    original = io.FileIO.read

    archive = tmp_path / "big.zip"
    archive.write_bytes(b"PK" + bytes(8 << 20))

    def read(self: CountedFile, size: int | None = -1, /) -> bytes:
        nonlocal largest
        data = original(self, -1 if size is None else size)
        largest = max(largest, len(data))
        return data

    monkeypatch.setattr(CountedFile, "read", read)
    with pytest.raises(Refused):
        dale.upload(archive)
    assert 0 < largest <= 1 << 20


def test_refusals_carry_every_fault(dale: Client, folder: Path) -> None:
    (folder / "masks/case 1.png").write_bytes(b"no image")
    (folder / "images/case 2.png").unlink()
    with as_archive(folder) as archive, pytest.raises(Refused) as caught:
        dale.upload(archive)
    assert caught.value.status == 422
    files = " ".join(str(error.file) for error in caught.value.errors)
    assert "case 1.png" in files
    assert "case 2.png" in files
    assert all(error.reason for error in caught.value.errors)
    with pytest.raises(Refused, match="404"):
        dale.job("job-none")
    with pytest.raises(Refused, match="no dataset"):
        dale.train(JobSpec(dataset_id="ds-none"))


def test_wrong_key_and_wrong_address(url: str) -> None:
    with Client(url, "wrong") as dale, pytest.raises(Refused) as caught:
        next(dale.jobs())
    assert caught.value.status == 401
    with Client("http://127.0.0.1:9", "key") as dale, pytest.raises(Unreachable, match="dale serve"):
        next(dale.jobs())
    with pytest.raises(ValueError, match="http://127"):
        Client("localhost:8000")


def test_answers_that_are_not_ours_are_still_words() -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(502, text="<html>Bad gateway</html>")

    with Client("http://x", transport=httpx.MockTransport(proxy)) as dale, pytest.raises(Refused, match="502"):
        dale.job("job-1")


def test_jobs_are_posted_listed_and_cancelled(dale: Client, add_dataset: Callable[..., str]) -> None:
    dataset_id = add_dataset()
    posted = [dale.train(JobSpec(dataset_id=dataset_id, name=f"job {i}")) for i in range(5)]
    assert [job.id for job in dale.jobs()] == [job.id for job in reversed(posted)]
    assert dale.job(posted[0].id) == posted[0]
    assert dale.cancel(posted[0].id).state is State.CANCELLED
    assert [job.id for job in dale.jobs(state="CANCELLED")] == [posted[0].id]
    assert dale.wait(posted[0].id).state is State.CANCELLED
    assert dale.logs(posted[0].id) == ""


def test_same_idempotency_key_same_job(dale: Client, add_dataset: Callable[..., str]) -> None:
    spec = JobSpec(dataset_id=add_dataset())
    assert dale.train(spec, idempotency_key="one").id == dale.train(spec, idempotency_key="one").id
    assert dale.train(spec).id != dale.train(spec).id


def test_a_post_whose_answer_was_lost_is_sent_again_and_creates_once(
    url: str, add_dataset: Callable[..., str], app: FastAPI
) -> None:
    real = httpx.HTTPTransport()
    lost = 0

    class Flaky(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal lost
            response = real.handle_request(request)
            if request.method == "POST" and not lost:
                lost += 1
                response.read()
                raise httpx.ReadError("connection reset")
            return response

    with Client(url, "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1", transport=Flaky()) as dale:
        job = dale.train(JobSpec(dataset_id=add_dataset()))
        assert lost == 1
        assert [found.id for found in dale.jobs()] == [job.id]


def test_samples_come_in_pages_as_needed(dale: Client, finished_job: str) -> None:
    everything = list(dale.samples(finished_job))
    assert [sample.rank for sample in everything] == [1, 2, 3, 4, 5, 6]
    assert list(dale.samples(finished_job, page_size=1)) == everything
    assert list(islice(dale.samples(finished_job, page_size=2), 3)) == everything[:3]
    assert [s.sample for s in dale.samples(finished_job, order_by="name")] == sorted(s.sample for s in everything)
    for sample in everything:  # one of them is named '<b>bold & "x"'
        assert dale.sample(finished_job, sample.sample) == sample
        history = dale.history(finished_job, sample.sample)
        assert [point.epoch for point in history] == [0, 1, 2]
        assert history[-1].confidence == sample.confidence
    assert [epoch.epoch for epoch in dale.epochs(finished_job)] == [0, 1, 2]


def test_follow_sees_a_job_to_its_end(
    dale: Client, add_dataset: Callable[..., str], end_job: Callable[[str, State], None]
) -> None:
    job = dale.train(JobSpec(dataset_id=add_dataset()))
    events = dale.follow(job.id)
    first = next(events)
    assert (first.kind, first.data["state"]) == ("state", "QUEUED")
    ending = threading.Thread(target=end_job, args=(job.id, State.SUCCEEDED))
    ending.start()
    assert [event.data["state"] for event in events] == ["STARTING", "RUNNING", "SUCCEEDED"]
    ending.join()
    assert next(dale.follow(job.id, last_event_id=first.id)).data["state"] == "STARTING"


def test_follow_takes_a_broken_stream_up_again_behind_the_last_event(dale: Client, finished_job: str) -> None:
    asked: list[str | None] = []
    document = dale._http.get(f"/v1/jobs/{finished_job}").json()

    def serve(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={**document, "state": "RUNNING" if len(asked) < 2 else "SUCCEEDED"})
        asked.append(request.headers.get("Last-Event-ID"))
        if len(asked) == 1:
            return httpx.Response(200, text='id: 7\nevent: epoch\ndata: {"epoch": 0}\n\nid: 8\nevent: epo')
        return httpx.Response(200, text='id: 8\nevent: epoch\ndata: {"epoch": 1}\n\n')

    with Client("http://x", transport=httpx.MockTransport(serve)) as broken:
        assert [event.data["epoch"] for event in broken.follow(finished_job)] == [0, 1]
    assert asked == [None, "7"]


def test_parse_events_by_the_standard() -> None:
    text = ': hello\n\nid: 1\nevent: a\ndata: {"x":\ndata:  2}\n\nretry: 3\ndata:1\n\nevent: cut\ndata: 1'
    parser = EventParser()
    events = [event for line in text.split("\n") if (event := parser.feed(line))]
    assert events == [Event("a", {"x": 2}, "1"), Event("message", 1, None)]


def test_fetch_verifies_and_names_files(dale: Client, model_job: str, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    files = dale.fetch(model_job, tmp_path / "out", progress=lambda *values: told.append(values))
    (file,) = files
    assert file.read_bytes() == CONTENT
    assert told[-1] == (file.name, len(CONTENT), len(CONTENT))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [file.name]
    assert [model.id for model in dale.models()] == [model_job]


class Ranged(BaseHTTPRequestHandler):
    """Serves CONTENT by range, and hangs up after `cut` bytes as long as there are cuts left."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)  # type: ignore[attr-defined]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0  # type: ignore[attr-defined]
        body = server.content[start:]  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:  # type: ignore[attr-defined]
            body = body[: server.cuts.pop(0)]  # type: ignore[attr-defined]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def ranged(content: bytes, cuts: list[int], *, ranges: bool = True) -> Iterator[tuple[httpx.Client, list[str | None]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranged)
    server.content, server.cuts, server.ranges, server.asked = content, cuts, ranges, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as http:
            yield http, server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    with ranged(CONTENT, [300_000, 500_000]) as (http, asked):
        download(http, "/", target, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert asked[0] is None
    starts = [int(str(range_).removeprefix("bytes=").rstrip("-")) for range_ in asked[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] <= 300_000 < starts[1] <= 800_000
    assert list(tmp_path.iterdir()) == [target]


def test_a_later_call_resumes_too_and_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    with ranged(CONTENT, [400_000, 0, 0, 0, 0, 0]) as (http, asked), pytest.raises(Unreachable, match="broke off"):
        download(http, "/", target, sha256=SHA256, size=len(CONTENT))
    assert not target.exists()
    with ranged(CONTENT, []) as (http, asked):
        download(http, "/", target, sha256=SHA256, size=len(CONTENT))
        assert asked[0] is not None
    assert target.read_bytes() == CONTENT
    target.unlink()
    with ranged(CONTENT, [400_000], ranges=False) as (http, _):
        download(http, "/", target, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_damaged_download_is_not_kept(tmp_path: Path) -> None:
    target = tmp_path / "model.bin"
    target.write_bytes(b"older")
    damaged = CONTENT[:-1] + b"!"
    with ranged(damaged, []) as (http, _), pytest.raises(DamagedFile, match="sha256"):
        download(http, "/", target, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    with ranged(b"", []) as (http, _):
        target = download(http, "/", tmp_path / "empty", sha256=hashlib.sha256().hexdigest(), size=0)
    assert target.read_bytes() == b""
