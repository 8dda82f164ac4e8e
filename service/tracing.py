"""OpenTelemetry traces of requests and their statements, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where to send them.

Without it nothing of OpenTelemetry is imported. What else can be set (headers, sampling, the service's name) has the
standard's own variables, which its SDK reads itself.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import structlog

from service.db.session import Database, Statement

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
UNTRACED = "/healthz$,/readyz$,/metrics$"  # asked every few seconds, by machines


class TracingNotInstalledError(ValueError):
    """Traces are asked for and the packages behind them are missing."""


def open_provider() -> TracerProvider | None:
    """What collects spans and sends them away; None where nobody asked for traces.

    Raises:
        TracingNotInstalledError: somebody did, and the extra `tracing` is not installed.
    """
    if not os.environ.get(ENDPOINT):
        return None
    try:
        import opentelemetry.instrumentation.fastapi  # noqa: F401, PLC0415 - missing is said here, not at the first request
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracingNotInstalledError(
            f"{ENDPOINT} asks for traces, but {error.name} is not installed: "
            "pip install 'dale-service[tracing]', or unset the variable."
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "dale")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def trace(app: FastAPI, database: Database, provider: TracerProvider) -> None:
    """Make a span of every request, with those of its statements beneath, and put the trace's id into its log lines."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span  # noqa: PLC0415

    def bind_trace_id(span: Span, _scope: dict[str, Any]) -> None:
        if span.get_span_context().is_valid:
            structlog.contextvars.bind_contextvars(trace_id=f"{span.get_span_context().trace_id:032x}")

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        server_request_hook=bind_trace_id,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
    )
    tracer = provider.get_tracer(__name__)
    system = database.engine.dialect.name

    def add_statement(statement: Statement) -> None:
        # Only beneath a request: the reconciler asks every second, and each statement would be a trace of its own.
        if not get_current_span().is_recording():
            return
        ended = time.time_ns()
        span = tracer.start_span(
            statement.text.split(None, 1)[0].upper(),
            kind=SpanKind.CLIENT,
            start_time=ended - int(statement.seconds * 1e9),
            # The text holds places for values, never the values.
            attributes={"db.system.name": system, "db.query.text": statement.text},
        )
        if statement.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    database.watch(add_statement)
