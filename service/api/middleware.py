"""What surrounds every request: an id, a line in the log, and a limit on the body."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logging
from service.api.problems import respond, unexpected
from service.errors import PayloadTooLarge

log = logging.get(__name__)
QUIET_PATHS = {"/healthz", "/readyz"}


class RequestLog:
    """Gives every request an id, in the log and in the answer, and writes one line when it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        began = time.perf_counter()
        status = 500
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                # Here and not in FastAPI's handler, which is called outside of this context and without the id.
                log.exception("request failed", path=scope["path"])
                if started:
                    raise
                await unexpected(Request(scope))(scope, receive, send_with_id)
            finally:
                write = log.debug if scope["path"] in QUIET_PATHS else log.info
                write(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    seconds=round(time.perf_counter() - began, 4),
                )


class BodyLimit:
    """Refuses a body that is too large: unread if its length is announced, else where it passes the limit.

    FastAPI's own `max_body_size` answers in plain text; ours is a problem like every other refusal.
    """

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[str, int]) -> None:
        """`larger` gives the limit of paths that start with a prefix, for example of uploads."""
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for prefix, size in self._larger.items() if scope["path"].startswith(prefix)), self._limit)
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
