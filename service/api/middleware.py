"""What surrounds every request: an id, a line in the log, a measurement, and a limit on the body."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logging, tracing
from service.api.problems import respond, unexpected
from service.errors import PayloadTooLarge
from service.metrics import Metrics

log = logging.get(__name__)
QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestLog:
    """Gives every request an id, in the log and in the answer, and writes one line when it is over.

    A caller's own `X-Request-ID` is kept, so that one id leads through everything that served one click. Only a short
    token is: anything else could be made to look like something in the log or in a header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("x-request-id", "")
        request_id = wanted if SAFE_ID.fullmatch(wanted) else secrets.token_hex(8)
        began = time.perf_counter()
        status = 500
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id, **tracing.current_ids()):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                # Here and not in FastAPI's handler, which is called outside of this context and without the id.
                log.exception("request failed", path=scope["path"])
                if started:
                    raise
                await unexpected(Request(scope))(scope, receive, send_with_id)
            finally:
                write = log.debug if scope["path"] in QUIET_PATHS and status < 400 else log.info
                write(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.perf_counter() - began, 4),
                )


class RequestMetrics:
    """Measures every request under the template of its route: paths hold ids, and every id would be a new series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.requests_in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_seen)
            finally:
                # The router leaves the route in the scope; without one nothing of the API was asked for.
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in METHODS else "other"
                seconds = time.perf_counter() - began
                self._metrics.requests.labels(method, route, str(status)).observe(seconds)


class BodyLimit:
    """Refuses a body that is too large: unread if its length is announced, else where it passes the limit.

    FastAPI's own `max_body_size` answers in plain text; ours is a problem like every other refusal.
    """

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int]) -> None:
        """`larger` gives the limit of paths that fit a pattern (*: anything), for example of uploads."""
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for paths, size in self._larger.items() if fnmatchcase(scope["path"], paths)), self._limit)
        detail = f"The body is larger than the {limit} bytes that are accepted here."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            response = respond(Request(scope), PayloadTooLarge.status, PayloadTooLarge.title, detail)
            await response(scope, receive, send)
            return
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                # Not our own exception: FastAPI lets only this one through while it parses a body.
                raise HTTPException(PayloadTooLarge.status, detail)
            return message

        await self._app(scope, receive_limited, send)
