"""`Idempotency-Key`: a creating POST that is sent twice creates once and answers the same twice, for 24 hours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.api.dependencies import CallerDep, Context, ContextDep
from service.db.base import now
from service.db.tables import IdempotencyKey
from service.errors import Conflict, FieldError, Invalid

KEPT = timedelta(hours=24)
# A claim this old belongs to a process that died while answering; no upload takes longer.
ABANDONED = timedelta(hours=2)
UNANSWERED = 0


@dataclass(frozen=True)
class Answer:
    """What a creating POST answers."""

    body: BaseModel
    location: str
    status: int = 201


class Idempotency:
    """The `Idempotency-Key` of one request, or its absence."""

    def __init__(self, context: Context, owner: str, key: str | None, route: str) -> None:
        """`owner` is the id of the caller's API key: what one caller sends never gets another's answer."""
        self._context = context
        self._owner = owner
        self._key = key
        self._route = route

    def answer(self, session: Session, content: str | bytes, create: Callable[[], Answer]) -> JSONResponse:
        """Create, or give the answer that the same request got before.

        The answer is written in `session`, so it is committed with what was created or not at all.

        Args:
            session: the request's session, which `create` writes to; not used before.
            content: what makes the request the same: its body, or the sha256 of an uploaded file with its fields.
            create: does the work; whatever it raises leaves the key free for another try.

        Raises:
            Invalid: the key was used for another request.
            Conflict: the first request with this key is still being answered.
        """
        if self._key is None:
            return _respond(create())
        data = content.encode() if isinstance(content, str) else content
        fingerprint = hashlib.sha256(self._route.encode() + b"\0" + data).hexdigest()
        earlier = self._claim(self._key, fingerprint)
        if earlier is not None:
            return earlier
        try:
            answer = create()
            session.execute(
                update(IdempotencyKey)
                .where(*self._mine())
                .values(status=answer.status, body=answer.body.model_dump(mode="json"), location=answer.location)
            )
            # Committed here and not at the edge: a failing commit must free the key as well.
            session.commit()
        except BaseException:
            session.rollback()
            with self._context.sessions.begin() as other:
                other.execute(delete(IdempotencyKey).where(*self._mine()))
            raise
        return _respond(answer)

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return IdempotencyKey.owner == self._owner, IdempotencyKey.key == self._key

    def _claim(self, key: str, fingerprint: str) -> JSONResponse | None:
        """Make the key ours (None), or give the answer of whoever had it first."""
        try:
            with self._context.sessions.begin() as session:
                known = session.get(IdempotencyKey, (self._owner, key))
                if known is not None and _outdated(known):
                    session.delete(known)
                    session.flush()
                    known = None
                if known is None:
                    claim = IdempotencyKey(owner=self._owner, key=key, request_sha256=fingerprint, status=UNANSWERED)
                    session.add(claim)
                    return None
        except IntegrityError as error:
            raise _still_running() from error
        if known.request_sha256 != fingerprint:
            raise Invalid(
                "This Idempotency-Key was used for another request.",
                [FieldError(field="Idempotency-Key", reason="used before", hint="use a new key for a new request")],
            )
        if known.status == UNANSWERED:
            raise _still_running()
        headers = {"Location": known.location or "", "Idempotency-Replayed": "true"}
        return JSONResponse(known.body, status_code=known.status, headers=headers)


def _outdated(known: IdempotencyKey) -> bool:
    return now() - known.created_at > (ABANDONED if known.status == UNANSWERED else KEPT)


def _still_running() -> Conflict:
    return Conflict("The first request with this Idempotency-Key is still being answered; ask again in a moment.")


def _respond(answer: Answer) -> JSONResponse:
    return JSONResponse(
        answer.body.model_dump(mode="json"), status_code=answer.status, headers={"Location": answer.location}
    )


def get_idempotency(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="any unique text; sent again, it gets the same answer"),
    ] = None,
) -> Idempotency:
    """The key that the request carries."""
    route = f"{request.method} {request.url.path}?{request.url.query}"
    return Idempotency(context, caller.key_id, idempotency_key, route)


IdempotencyDep = Annotated[Idempotency, Depends(get_idempotency)]
