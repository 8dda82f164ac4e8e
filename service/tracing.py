"""OpenTelemetry traces of requests and their statements, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where to send them.

FastAPI makes the span of a request, and so brings the API of OpenTelemetry, which does nothing by itself. SDK and
exporter are imported only where traces are asked for. What else can be set (headers, sampling, the service's name) has
the standard's own variables, which the SDK reads itself.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from service.db.session import Database, Statement

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
UNTRACED = {"/healthz", "/readyz", "/metrics"}  # asked every few seconds, by machines


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
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TracingNotInstalledError(
            f"{ENDPOINT} asks for traces, but {error.name} is not installed: "
            "pip install 'dale-service[tracing]', or unset the variable."
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME") or "dale"
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def telemetry(provider: TracerProvider | None) -> TelemetryConfig:
    """What FastAPI sends: spans of requests to this provider, and nothing of its own accord.

    Its metrics and logs stay off: we have ours, and its logs would carry what callers sent.
    """
    return {
        "tracer_provider": provider,
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope.get("path") in UNTRACED,
    }


def trace_statements(database: Database, provider: TracerProvider) -> None:
    """Make a span of every statement beneath the request that it serves.

    Only there: the reconciler asks every second, and each of its statements would be a trace of its own.
    """
    tracer = provider.get_tracer(__name__)
    system = database.engine.dialect.name

    def add(statement: Statement) -> None:
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
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    database.watch(add)


def current_ids() -> dict[str, str]:
    """The trace's id for the log, where the present request is traced."""
    trace_id = get_current_span().get_span_context().trace_id
    return {"trace_id": f"{trace_id:032x}"} if trace_id else {}
