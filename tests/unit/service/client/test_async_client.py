"""The asynchronous client against a real server, and its agreement with the synchronous one, which is made from it."""

from __future__ import annotations

import hashlib
import inspect
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx
import numpy as np
import pytest
from PIL import Image

from service.cli.packing import as_archive
from service.client import AsyncClient, Client, JobSpec, Refused, SampleQuery, Unreachable, from_async
from service.client.asynchronous import sending
from service.datasets.part_sizes import SMALLEST_PART
from service.exports.kinds import Format
from service.jobs.lifecycle import State
from tests.unit.service.client.conftest import CONTENT, KEY

T = TypeVar("T")
ROOT = Path(__file__).parents[4]


def awaited(work: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(work)


async def every(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


def test_the_synchronous_client_is_what_is_made_from_it() -> None:
    command = [sys.executable, "-P", str(ROOT / "service/client/from_async.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_maker_takes_out_what_is_asynchronous(tmp_path: Path) -> None:
    source = tmp_path / "some.py"
    source.write_text(
        '''"""Some."""\n\nfrom collections.abc import AsyncIterator, Awaitable, Callable\n\nimport httpx\n\n
async def some(http: httpx.AsyncClient, then: Callable[[], Awaitable[int]]) -> AsyncIterator[str]:
    """Some."""
    async with http.stream("GET", "/") as answer:
        yield str((await answer.aread())[(await then()) :].strip())
        yield check(await http.get("(/")).text + (await http.get("/")).text
        async for line in answer.aiter_lines():
            yield line
'''
    )
    made = from_async.synchronous(source)
    assert "async" not in made.lower().replace("asynchronous/some.py", "") and "await" not in made.lower()
    assert 'check(http.get("(/")).text + http.get("/").text' in made
    assert "from collections.abc import Callable, Iterator\n" in made


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, Any]:
        return {name: one for name, one in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    mine, theirs = methods(AsyncClient), methods(Client)
    assert mine.keys() == theirs.keys() and len(mine) > 60
    for name, method in mine.items():
        asked, answers = inspect.signature(method), inspect.signature(theirs[name])
        assert [str(one).partition(" = ")[0] for one in asked.parameters.values()] == [
            str(one).partition(" = ")[0] for one in answers.parameters.values()
        ], name
        many = "AsyncIterator[" in asked.return_annotation
        assert asked.return_annotation.removeprefix("Async") == answers.return_annotation, name
        assert many or inspect.iscoroutinefunction(method), f"{name} is neither awaited nor looped over"


def test_from_dataset_to_model(url: str, folder: Path, model_job: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    async def work() -> None:
        async with AsyncClient(url, KEY) as dale:
            with as_archive(folder) as archive:
                size = archive.stat().st_size
                dataset = await dale.upload(archive, name="lesions", progress=lambda *pair: told.append(pair))
            assert told[-1] == (size, size) and dataset.newest.sample_count == 4
            assert dataset in await every(dale.datasets())
            job = await dale.train(JobSpec(dataset_id=dataset.id, workers=2))
            assert (await dale.job(job.id)).state is State.QUEUED
            assert (await dale.cancel(job.id)).state is State.CANCELLED
            assert (await dale.wait(job.id)).state is State.CANCELLED
            (model,) = await dale.fetch(model_job, tmp_path / "model")
            assert hashlib.sha256(model.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
            out = await dale.export(model_job, Format.CSV, tmp_path / "out.csv")
            taken = await dale.import_decisions(model_job, Format.CSV, out)
            assert (taken.decided, taken.undecided) == (0, len(await every(dale.samples(model_job))))

    awaited(work)


def test_pages_come_as_they_are_asked_for(url: str, finished_job: str) -> None:
    with Client(url, KEY) as dale:
        expected = [sample.sample for sample in dale.samples(finished_job)]
    asked: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        asked.append(request)

    async def work() -> None:
        async with AsyncClient(url, KEY) as dale:
            dale._http.event_hooks = {"request": [note]}
            found = [one.sample async for one in dale.samples(finished_job, page_size=1)]
            assert found == expected and len(asked) == len(expected)
            asked.clear()
            async with aclosing(dale.samples(finished_job, page_size=1)) as samples:
                async for _ in samples:
                    break
            assert len(asked) == 1
            assert not await every(dale.samples(finished_job, SampleQuery(name_contains="no such name")))

    awaited(work)


def test_refusals_carry_the_fields_of_the_problem(url: str) -> None:
    async def work() -> None:
        async with AsyncClient(url, KEY) as dale:
            with pytest.raises(Refused) as refused:
                await dale.train(JobSpec(dataset_id="ds-none"))
            assert refused.value.status in (404, 422) and refused.value.request_id
            with pytest.raises(Refused) as refused:  # the answer to a stream is read too
                await every(dale.follow("job-none"))
            assert refused.value.status == 404 and "job-none" in refused.value.detail
            with pytest.raises(Refused, match="404"):
                await dale.export("job-none", Format.CSV, Path("never"))
        async with AsyncClient("http://127.0.0.1:1") as dale:
            with pytest.raises(Unreachable, match="Nobody answers"):
                await dale.me()

    awaited(work)
    assert not Path("never").exists()


def test_many_wait_at_once(url: str, queue: Callable[..., str], end_job: Callable[..., None]) -> None:
    job = queue()
    seen = threading.Event()

    async def watch(dale: AsyncClient, kinds: list[str]) -> None:
        async for event in dale.follow(job):
            kinds.append(event.kind)
            seen.set()

    async def work() -> None:
        async with AsyncClient(url, KEY) as dale, anyio.create_task_group() as group:
            heard: list[list[str]] = [[], [], []]
            for kinds in heard:
                group.start_soon(watch, dale, kinds)
            await anyio.to_thread.run_sync(partial(seen.wait, 30))
            await anyio.to_thread.run_sync(end_job, job, State.FAILED)
        assert all(kinds[-1] == "state" for kinds in heard) and heard[0] == heard[1] == heard[2]

    awaited(work)


def test_what_broke_off_goes_on(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DEFAULT_PART", SMALLEST_PART)
    monkeypatch.setattr(sending, "POLL_S", 0.05)
    noise = np.random.default_rng(0)
    for image in (folder / "images").iterdir():
        Image.fromarray(noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(image)
    for mask in (folder / "masks").iterdir():
        Image.fromarray(np.eye(512, dtype=np.uint8) * 255).save(mask)
    begun: list[str] = []
    sent: list[str] = []

    async def note(request: httpx.Request) -> None:
        if request.method == "PUT":
            sent.append(re.sub(r".*/", "", request.url.path))
            if sent == ["1", "2"]:
                raise RuntimeError("pulled the plug")

    async def work(archive: Path) -> None:
        async with AsyncClient(url, KEY) as dale:
            dale._http.event_hooks = {"request": [note]}
            with pytest.raises(RuntimeError, match="plug"):
                await dale.upload_in_parts(archive, name="big", begun=begun.append)
            dataset = await dale.upload_in_parts(archive, name="big", resume=begun[0])
            assert dataset.newest.sample_count == 4

    with as_archive(folder) as archive:
        awaited(partial(work, archive))
    assert sent == ["1", "2", "2", "3", "4"]


def test_the_example_of_the_guide_runs(
    url: str, finished_job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DALE_API_KEY", KEY)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/commands.md").read_text(), re.DOTALL)
    example = example.replace("http://127.0.0.1:8000", url).replace("RUNNING", "SUCCEEDED")
    names: dict[str, Any] = {}
    exec(compile(example, "docs/commands.md", "exec"), names)  # noqa: S102
    anyio.run(names["main"])
    said = capsys.readouterr().out
    assert said.startswith(f"{finished_job} ") and "404" in said
