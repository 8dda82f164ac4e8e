"""The log as whoever collects it sees it: whole processes, their standard error read line by line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.settings import Settings

ROOT = Path(__file__).parents[3]
KEY = "dale_3f9Qm2Lr8Vx0Zk5Wc7Yd1uTb"
WRONG = "dale_wrong-7Bq1Xn4Ks9Jd2Wp6"
PASSWORD = "vT5-hK8.pQ2_zR7"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DALE_", "OTEL_"))}
    ours = {"DALE_DATA_DIR": str(folder), "DALE_NETWORK_CHECK": "0", "DALE_LOG_LEVEL": "DEBUG", "PYTHONPATH": str(ROOT)}
    return {**kept, **ours, **variables}


def parsed(stderr: str) -> list[dict[str, Any]]:
    """Every line as JSON; one that is not fails."""
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert lines and all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    return lines


def run(script: str, folder: Path, *arguments: str, code: int = 0, **variables: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment(folder, **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return parsed(done.stderr)


# --- ids of requests


REQUESTS = """
import logging as library, warnings
warnings.simplefilter("ignore")  # of the test client's own import
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse
from service import logging
from service.main import create_app
from service.settings import Settings

logging.configure("DEBUG")
warnings.simplefilter("always")
app = create_app(Settings())

@app.get("/in-a-thread")
def in_a_thread():
    library.getLogger("some.library").info("said by a %s", "library")
    logging.get("service.some").info("said by us")
    warnings.warn("said by Python")

@app.get("/on-the-loop")
async def on_the_loop():
    library.getLogger("some.library").info("said on the loop")

@app.get("/stream")
def stream():
    def parts():
        yield b"a"
        library.getLogger("some.library").info("said while streaming")
    return StreamingResponse(parts())

@app.get("/crash")
def crash():
    raise RuntimeError("a mistake")

with TestClient(app, raise_server_exceptions=False) as client:
    for number, path in enumerate(("/in-a-thread", "/on-the-loop", "/stream", "/crash", "/nothing", "/v1/jobs")):
        answer = client.get(path, headers={"X-Request-ID": f"mine-{number}"})
        assert answer.headers["x-request-id"] == f"mine-{number}"
"""


def test_every_line_of_a_request_has_its_id(tmp_path: Path) -> None:
    lines = [line for line in run(REQUESTS, tmp_path) if not line["logger"].startswith(("asyncio", "alembic"))]
    by_request: dict[str, list[str]] = {}
    for line in lines:
        by_request.setdefault(line["request_id"], []).append(line["event"])
    # The last line of each request is that of the request itself.
    assert {request: events[-1] for request, events in by_request.items()} == {
        f"mine-{number}": "request" for number in range(6)
    }
    assert by_request["mine-0"][:2] == ["said by a library", "said by us"]
    assert "said by Python" in by_request["mine-0"][2]
    assert by_request["mine-1"][0] == "said on the loop"
    assert by_request["mine-2"][0] == "said while streaming"
    (crash,) = [line for line in lines if line["event"] == "request failed"]
    assert crash["request_id"] == "mine-3"
    assert "RuntimeError: a mistake" in crash["exception"], "the traceback is a field, not lines of its own"


@pytest.mark.parametrize("given", ["mine-17", "0af7651916cd43dd8448eb211c80319c", "a.b_c-D", "x" * 64])
def test_an_id_of_the_callers_own_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/v1/jobs", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", 'quote"', "tab\tbed", "a,b", "é", "<b>", "{}"])
def test_an_id_that_could_be_mistaken_for_something_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/v1/jobs", headers=[("X-Request-ID", given.encode())])  # type: ignore[arg-type]
    made = answer.headers.get_list("x-request-id")
    assert len(made) == 1
    assert re.fullmatch(r"[0-9a-f]{16}", made[0])


TRACED = """
import warnings
warnings.simplefilter("ignore")
from fastapi.testclient import TestClient
from service import logging
from service.main import create_app
from service.settings import Settings

logging.configure("INFO")
with TestClient(create_app(Settings())) as client:
    client.get("/v1/jobs", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
"""


def test_lines_of_a_traced_request_have_the_id_of_its_trace(tmp_path: Path) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    (request,) = [line for line in run(TRACED, tmp_path, **nowhere) if line["event"] == "request"]
    assert request["trace_id"] == "ab" * 16
    (request,) = [line for line in run(TRACED, tmp_path) if line["event"] == "request"]
    assert "trace_id" not in request


# --- ids of jobs


RECONCILER = """
import sys
from service import logging
from service.jobs.reconciler import Reconciler
from service.main import open_context
from service.settings import Settings
from tests.unit.service.fake_ray import FakeRay
from workers.contract import keys

logging.configure("INFO")
context = open_context(Settings())
ray = FakeRay()
context.cluster.found(ray.endpoint)
reconciler = Reconciler(context)
reconciler.round()
reconciler.round()
context.store.put(keys.epoch_manifest(sys.argv[2], 0), b"torn")
ray.runs[sys.argv[1] + "-1"]["status"] = "FAILED"
reconciler.round()
ray.broken = True
reconciler.round()
"""


def test_every_line_about_a_job_has_its_id(settings: Settings, queue: Callable[..., str]) -> None:
    failed, damaged = queue(), queue()
    lines = run(RECONCILER, settings.data_dir, failed, damaged)
    lines = [line for line in lines if line["logger"].startswith("service.jobs")]
    about = {name: [line["event"] for line in lines if line.get("job_id") == name] for name in (failed, damaged)}
    assert sum(map(len, about.values())) == len(lines), lines
    assert about[failed][0] == "job submitted"
    assert "the run starts again" in about[failed]
    assert about[damaged][:2] == ["job submitted", "damaged object"]
    for events in about.values():
        assert events[-1] == "job is looked at again later"


# --- whole services


def test_every_line_of_a_service_is_json_and_none_has_a_key(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "deploy/serve_api.py"],
        env=environment(tmp_path, DALE_API_KEY=KEY, DALE_RAY_ADDRESS="http://127.0.0.1:1", DALE_PORT="0"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"running on (http://[\d.:]+)", line):
                url = found[1]
                break
        for key, status in ((KEY, 200), (WRONG, 401)):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{url}/v1/jobs", headers=headers).status_code == status
            assert httpx.get(f"{url}/v1/jobs", headers={"Cookie": f"dale_session={key}"}).status_code in {200, 401}
        assert httpx.post(f"{url}/login", data={"key": WRONG}).status_code >= 400
        assert httpx.post(f"{url}/login", data={"key": KEY}).status_code < 400
        assert httpx.get(f"{url}/readyz").status_code == 503
    finally:
        process.send_signal(signal.SIGTERM)
        said += process.stderr.readlines()
        process.wait(timeout=30)
    lines = parsed("".join(said))
    assert {"uvicorn.error", "service.api.middleware"} <= {line["logger"] for line in lines}
    assert {line["status"] for line in lines if line["event"] == "request"} >= {200, 401}
    for secret in (KEY, WRONG, "Bearer"):
        assert secret not in "".join(said)


UNREACHABLE = [
    f"postgresql://dale:{PASSWORD}@127.0.0.1:1/dale",
    f"postgresql://dale:{PASSWORD}@no-such-host.invalid:5432/dale",
    f"postgresql://dale:{PASSWORD}@127.0.0.1:port/dale",
    f"postgresql:/dale:{PASSWORD}@127.0.0.1/dale",
    f"nosuchdatabase://dale:{PASSWORD}@127.0.0.1/dale",
    f"postgresql://dale:{PASSWORD}@127.0.0.1:1/dale?connect_timeout=often",
]


@pytest.mark.parametrize("url", UNREACHABLE)
def test_a_database_that_cannot_be_opened_is_one_line_without_its_password(tmp_path: Path, url: str) -> None:
    script = "from service.jobs.reconciler import main; main()"
    lines = run(script, tmp_path, code=1, DALE_DATABASE_URL=url, DALE_RAY_ADDRESS="http://127.0.0.1:1")
    assert lines[-1]["event"] == "nobody caught this"
    assert "Traceback" in lines[-1]["exception"]
    assert PASSWORD not in json.dumps(lines)


THREAD = """
import threading
from service import logging
logging.configure()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
"""


def test_a_thread_that_dies_leaves_one_line(tmp_path: Path) -> None:
    (line,) = run(THREAD, tmp_path)
    assert line["level"] == "critical"
    assert "ZeroDivisionError" in line["exception"]
