"""What endpoints are given: the service's parts, a session, and the certainty that the caller may be here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import BackgroundTasks, Cookie, Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from service import logging
from service.api.admission import Admission
from service.db import access, projects
from service.db.base import now
from service.db.session import Database
from service.errors import FieldError, Forbidden, Unauthorized
from service.jobs.cluster import Cluster
from service.resources.fields import Id
from service.roles import Caller, Role
from service.settings import Settings
from workers.contract.store import ObjectStore

log = logging.get(__name__)
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


def get_admission(request: Request) -> Admission:
    """The budgets of the service that answers this request."""
    admission: Admission = request.app.state.admission
    return admission


AdmissionDep = Annotated[Admission, Depends(get_admission)]


def know_key(
    request: Request,
    context: ContextDep,
    admission: AdmissionDep,
    background: BackgroundTasks,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    dale_session: Annotated[str | None, Cookie(include_in_schema=False)] = None,
) -> Caller:
    """Whose key the caller showed, as a Bearer token or (pages) by the session in the cookie `dale_session`.

    Raises:
        Unauthorized: none, or one that is wrong, revoked or expired.
        TooManyRequests: there were too many of those from this address.
    """
    if bearer is None and request.method not in {"GET", "HEAD"} and not _same_origin(request):
        raise Unauthorized("Another site's page sent this: a browser's session only changes things from these pages.")
    if not bearer and not dale_session:
        admission.count_keyless(request)
        raise Unauthorized("This needs a key: send the header 'Authorization: Bearer <key>'.")
    find, shown = (access.find_key, bearer.credentials) if bearer else (access.find_session, dale_session or "")

    def look() -> Caller | None:
        with context.database.read() as session:
            return find(session, shown)

    caller = admission.look_up(request, shown, look)
    if caller is None:
        raise Unauthorized(
            "This key is not valid here: it is wrong, or was revoked, or has expired. Ask an admin of your project "
            "for another; the operator's is the one that `dale serve` printed at its first start."
        )
    remember_use(context, caller, background)
    return caller


def require_key(caller: Annotated[Caller, Depends(know_key)], admission: AdmissionDep) -> Caller:
    """As `know_key`, and the request counts against the key's budget; raises `TooManyRequests`."""
    admission.count(caller)
    return caller


def remember_use(context: Context, caller: Caller, background: BackgroundTasks) -> None:
    """Have the time of a key's use put down: behind the answer, since a read should not wait for who writes."""
    if caller.last_used_at is None or now() - caller.last_used_at > access.USE_NOTED_EVERY:
        background.add_task(_note_use, context, caller.key_id)


def _note_use(context: Context, key_id: str) -> None:
    try:
        with context.sessions.begin() as session:
            access.note_use(session, key_id)
    except OperationalError as error:  # somebody writes for long; the key's next use puts it down
        log.warning("use of a key not noted", key_id=key_id, error=str(error.orig))


def _same_origin(request: Request) -> bool:
    """Whether a browser sent this from one of our pages; SameSite alone lets pages of other ports through."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


CallerDep = Annotated[Caller, Depends(require_key)]


def get_shown_project(
    session: SessionDep,
    caller: CallerDep,
    project: Annotated[
        Id | None, Query(description="only what is in this project; for the operator, who sees all")
    ] = None,
) -> str | None:
    """Id of the project of which a list shows what there is: the caller's own; None: all.

    Raises:
        NotFound: there is no such project, or it is not the caller's.
    """
    return projects.get(session, project, caller.project_id).id if project else caller.project_id


ShownProjectDep = Annotated[str | None, Depends(get_shown_project, scope="function")]


def require_review(caller: CallerDep) -> Caller:
    """A caller who may decide about labels; raises `Forbidden`."""
    return _at_least(Role.REVIEW, caller)


def require_train(caller: CallerDep) -> Caller:
    """A caller who may upload datasets, and post and cancel jobs; raises `Forbidden`."""
    return _at_least(Role.TRAIN, caller)


def require_admin(caller: CallerDep) -> Caller:
    """A caller who may make keys and read the audit trail; raises `Forbidden`."""
    return _at_least(Role.ADMIN, caller)


def require_operator(caller: CallerDep) -> Caller:
    """A caller of no project; raises `Forbidden`."""
    if not caller.operator:
        raise _forbidden("the operator's key, which is of no project", f"{caller.role}, of {caller.project_id}")
    return caller


def _at_least(needed: Role, caller: Caller) -> Caller:
    if not caller.role.includes(needed):
        raise _forbidden(f"a key with the role {needed}", f"{caller.role}")
    return caller


def _forbidden(needed: str, shown: str) -> Forbidden:
    fault = FieldError(
        field="Authorization", reason=f"the key's role is {shown}", hint="an admin of the project can make another key"
    )
    return Forbidden(f"This needs {needed}; the role of the one shown is {shown}.", [fault])


ReviewDep = Annotated[Caller, Depends(require_review)]
TrainDep = Annotated[Caller, Depends(require_train)]
AdminDep = Annotated[Caller, Depends(require_admin)]
OperatorDep = Annotated[Caller, Depends(require_operator)]
