"""Who may use the API: keys of 256 random bits, of which only the SHA-256 is kept, and browsers' sessions of them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_, select, tuple_, update
from sqlalchemy.orm import Session

from service.db.base import now
from service.db.tables import ApiKey, BrowserSession
from service.errors import NotFound
from service.roles import Caller, Role

# `created_by` of the keys that no other key made.
BY_ENVIRONMENT = "environment"  # DALE_API_KEY names it
BY_SERVICE = "service"  # made at the first start
SESSION_LIFETIME = timedelta(hours=12)
USE_NOTED_EVERY = timedelta(minutes=1)


def fingerprint(key: str) -> str:
    """What is stored of a key. Keys are random, so a plain hash cannot be guessed back."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A key that nobody can guess."""
    return "dale_" + secrets.token_urlsafe(32)


def find_key(session: Session, key: str, at: datetime | None = None) -> Caller | None:
    """Whose key this is, if it is good now."""
    found = session.scalar(select(ApiKey).where(ApiKey.sha256 == fingerprint(key), *_good(at or now())))
    return None if found is None else _caller(found)


def find_session(session: Session, token: str, at: datetime | None = None) -> Caller | None:
    """Whose browser this is, if both its session and the key that it was made from are good now."""
    at = at or now()
    query = (
        select(ApiKey, BrowserSession.expires_at)
        .join(BrowserSession, BrowserSession.key_id == ApiKey.id)
        .where(BrowserSession.sha256 == fingerprint(token), BrowserSession.expires_at > at, *_good(at))
    )
    found = session.execute(query).one_or_none()
    return None if found is None else _caller(found[0], expires_at=found[1])


def still_good(session: Session, key_id: str) -> bool:
    """Whether a key that was good is so still: for whoever answers for longer than a moment."""
    return session.scalar(select(ApiKey.id).where(ApiKey.id == key_id, *_good(now()))) is not None


def note_use(session: Session, key_id: str) -> None:
    """Put down that a key was used, once a minute at most."""
    at = now()
    due = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < at - USE_NOTED_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, due).values(last_used_at=at))


def has_operator(session: Session) -> bool:
    """Whether anybody can get in who may do everything, and for good."""
    lasting = select(ApiKey.id).where(ApiKey.project_id.is_(None), ApiKey.expires_at.is_(None), *_good(now()))
    return session.scalar(lasting.limit(1)) is not None


def add_key(
    session: Session,
    key: str,
    *,
    name: str,
    role: Role,
    project_id: str | None,
    created_by: str,
    expires_at: datetime | None = None,
) -> ApiKey:
    """Let a key in; of no project, it is the operator's."""
    added = ApiKey(
        id=f"key-{secrets.token_hex(8)}",
        sha256=fingerprint(key),
        name=name,
        role=role,
        project_id=project_id,
        created_by=created_by,
        expires_at=expires_at,
    )
    session.add(added)
    session.flush()
    return added


def known(session: Session, key: str) -> bool:
    """Whether there is such a key, good or not."""
    return session.scalar(select(ApiKey.id).where(ApiKey.sha256 == fingerprint(key))) is not None


def made_by(session: Session, creator: str) -> Sequence[ApiKey]:
    """The keys of one creator that are not revoked."""
    return session.scalars(select(ApiKey).where(ApiKey.created_by == creator, ApiKey.revoked_at.is_(None))).all()


def get_key(session: Session, project_id: str | None, key_id: str) -> ApiKey:
    """A key of a project (None: of the operator), locked against change by others; raises `NotFound`."""
    found = session.get(ApiKey, key_id, with_for_update=True, populate_existing=True)
    if found is None or found.project_id != project_id:
        where = "the operator" if project_id is None else f"project {project_id}"
        raise NotFound(f"There is no key {key_id!r} of {where}.")
    return found


def page(session: Session, project_id: str | None, size: int, after: tuple[datetime, str] | None) -> Sequence[ApiKey]:
    """The keys of a project (None: of the operator), newest first, from behind `after` on; revoked ones as well."""
    query = select(ApiKey).where(ApiKey.project_id == project_id)
    if after:
        query = query.where(tuple_(ApiKey.created_at, ApiKey.id) < after)
    return session.scalars(query.order_by(ApiKey.created_at.desc(), ApiKey.id.desc()).limit(size)).all()


def revoke(session: Session, key: ApiKey) -> bool:
    """End a key, and with it the browsers' sessions of it; whether it was not ended before."""
    if key.revoked_at is not None:
        return False
    key.revoked_at = now()
    session.execute(delete(BrowserSession).where(BrowserSession.key_id == key.id))
    session.flush()
    return True


def sign_in(session: Session, caller: Caller) -> str:
    """A token for a browser's cookie, which ends by itself: browsers send cookies to every port of a host."""
    token = new_key()
    at = now()
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at < at))
    ends = min(at + SESSION_LIFETIME, caller.expires_at or at + SESSION_LIFETIME)
    session.add(BrowserSession(sha256=fingerprint(token), key_id=caller.key_id, expires_at=ends))
    session.flush()
    return token


def sign_out(session: Session, token: str) -> None:
    """End a browser's session; its key is left alone."""
    session.execute(delete(BrowserSession).where(BrowserSession.sha256 == fingerprint(token)))


def _good(at: datetime) -> tuple[ColumnElement[bool], ...]:
    return ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > at)


def _caller(key: ApiKey, expires_at: datetime | None = None) -> Caller:
    return Caller(key.id, key.name, Role(key.role), key.project_id, expires_at or key.expires_at, key.last_used_at)
