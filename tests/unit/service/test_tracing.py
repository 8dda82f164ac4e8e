"""Traces, sent to a stand-in for a collector; and nothing of them where nobody asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.api.dependencies import Context
from service.main import create_app
from service.metrics import Metrics
from service.settings import Settings
from service.tracing import ENDPOINT, TracingNotInstalledError


class Collector:
    """Receives OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.services |= {
                        one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
                    }
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def request(self, name: str) -> tuple[Span, list[Span]]:
        """The one span of this name, and those beneath it."""
        (span,) = [span for span in self.spans if span.name == name]
        return span, [other for other in self.spans if other.parent_span_id == span.span_id]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    monkeypatch.setenv(ENDPOINT, collector.url)
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_request_is_a_span_with_its_statements_beneath(
    collector: Collector, client: TestClient, context: Context
) -> None:
    assert client.get("/v1/jobs/job-17").status_code == 404
    assert client.get("/healthz").status_code == 200
    assert client.get("/metrics").status_code == 200
    client.__exit__()  # the service ends, and sends what it has

    assert collector.services == {"dale"}
    span, beneath = collector.request("GET /v1/jobs/{job_id}")
    assert span.kind == Span.SPAN_KIND_SERVER
    assert attributes(span)["http.route"] == "/v1/jobs/{job_id}"
    texts = [attributes(child)["db.query.text"] for child in beneath]
    assert len([text for text in texts if "FROM api_keys" in text]) == 1
    assert len([text for text in texts if "FROM jobs" in text]) == 1
    for child in beneath:
        assert child.trace_id == span.trace_id
        assert child.kind == Span.SPAN_KIND_CLIENT
        assert child.name in {"BEGIN", "SELECT"}
        assert attributes(child)["db.system.name"] == "sqlite"
        assert span.start_time_unix_nano <= child.end_time_unix_nano <= span.end_time_unix_nano
        assert child.start_time_unix_nano <= child.end_time_unix_nano
    assert {span.name.partition(" ")[2] for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER} == {
        "/v1/jobs/{job_id}"
    }


def test_spans_hold_no_values(collector: Collector, client: TestClient) -> None:
    key = client.headers["Authorization"].removeprefix("Bearer ")
    client.get("/v1/jobs/job-that-is-secret")
    client.get("/v1/jobs", headers={"Authorization": "Bearer wrong-9f8e7d6c"})
    client.__exit__()
    statements = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert statements
    assert "job-that-is-secret" not in str(statements)
    assert key not in str(collector.spans)
    assert "wrong-9f8e7d6c" not in str(collector.spans)


def test_a_caller_who_traces_finds_our_spans_in_the_own_trace(collector: Collector, client: TestClient) -> None:
    client.get("/v1/jobs", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"})
    client.__exit__()
    span, _ = collector.request("GET /v1/jobs")
    assert span.trace_id.hex() == "ab" * 16
    assert span.parent_span_id.hex() == "cd" * 8


def test_statements_outside_of_requests_are_no_traces(
    collector: Collector, client: TestClient, context: Context
) -> None:
    with context.database.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    client.__exit__()
    assert collector.spans == []


def test_a_collector_that_is_away_stops_nobody(
    settings: Settings, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with TestClient(create_app(settings, context, Metrics())) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/jobs").status_code == 401


def test_without_the_packages_the_start_is_refused(
    collector: Collector, settings: Settings, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingNotInstalledError, match=r"pip install 'dale-service\[tracing\]'"):
        create_app(settings, context, Metrics())


SERVE_AND_LOOK = """
import json, sys
from pathlib import Path
from fastapi.testclient import TestClient
from service.main import create_app
from service.settings import Settings

with TestClient(create_app(Settings(data_dir=Path(sys.argv[1]), network_check=False))) as client:
    client.get("/healthz")
print(json.dumps([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]))
"""


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_is_imported_unless_traces_are_asked_for(tmp_path: Path, asked: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["FASTAPI_OTEL_AUTO_CONFIGURE"] = "true"  # not ours, and of no effect
    if asked:
        environment[ENDPOINT] = "http://127.0.0.1:1"
    done = subprocess.run(
        [sys.executable, "-c", SERVE_AND_LOOK, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert bool(json.loads(done.stdout.splitlines()[-1])) is asked
