"""What endpoints are given: the service's parts, a session, and the certainty that the caller may be here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Cookie, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session, sessionmaker

from service.db import access
from service.db.session import Database
from service.errors import Unauthorized
from service.jobs.cluster import Cluster
from service.settings import Settings
from workers.contract.store import ObjectStore

SESSION_COOKIE = "dale_session"
_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="the key that `dale serve` printed")


@dataclass(frozen=True)
class Context:
    """The parts of a running service, made once by whoever starts it."""

    settings: Settings
    database: Database
    store: ObjectStore
    cluster: Cluster
    bell: threading.Event = field(default_factory=threading.Event)  # rung after each change, for the reconciler beside

    @property
    def sessions(self) -> sessionmaker[Session]:
        """Sessions that may write, for work outside a request: `with context.sessions.begin() as session`."""
        return self.database.write


def get_context(request: Request) -> Context:
    """The parts of the service that answers this request."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]


def get_session(request: Request, context: ContextDep) -> Iterator[Session]:
    """One session for the request, committed once: after the endpoint returned, before the answer leaves.

    An endpoint that raises commits nothing. GET and HEAD get a session that must not write. Any other method
    gets one that takes SQLite's write lock with its first statement, so do slow work (unpacking, hashing)
    before it.
    """
    reads = request.method in {"GET", "HEAD"}
    sessions = context.database.read if reads else context.database.write
    with sessions.begin() as session:
        yield session
    if not reads:
        context.bell.set()


# scope="function": the commit comes before the answer, so that a client who got it can rely on it.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def require_key(
    request: Request,
    context: ContextDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    dale_session: Annotated[str | None, Cookie(include_in_schema=False)] = None,
) -> str:
    """The id of the key that the caller showed, as a Bearer token or (pages) in the cookie `dale_session`.

    Raises:
        Unauthorized: none, or a wrong one.
    """
    if bearer is None and request.method not in {"GET", "HEAD"} and not _same_origin(request):
        raise Unauthorized("Another site's page sent this: a browser's session only changes things from these pages.")
    shown = bearer.credentials if bearer else dale_session
    if not shown:
        raise Unauthorized("This needs a key: send the header 'Authorization: Bearer <key>'.")
    with context.database.read() as session:
        key_id = access.find_key(session, shown)
    if key_id is None:
        raise Unauthorized("This key is not valid here. Use the one that `dale serve` printed at its first start.")
    return key_id


def _same_origin(request: Request) -> bool:
    """Whether a browser sent this from one of our pages; SameSite alone lets pages of other ports through."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


KeyDep = Annotated[str, Depends(require_key)]
