"""Who may use the API: keys of 256 random bits, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from service.db.tables import ApiKey, now

FROM_ENVIRONMENT = "environment"  # id of the key that DALE_API_KEY names
SESSION_PREFIX = "session-"
SESSION_LIFETIME = timedelta(hours=12)


def fingerprint(key: str) -> str:
    """What is stored of a key. Keys are random, so a plain hash cannot be guessed back."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """A key that nobody can guess."""
    return "dale_" + secrets.token_urlsafe(32)


def find_key(session: Session, key: str, at: datetime | None = None) -> str | None:
    """The id of a key that is valid now, or None."""
    return session.scalar(
        select(ApiKey.id).where(
            ApiKey.sha256 == fingerprint(key),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > (at or now())),
        )
    )


def has_keys(session: Session) -> bool:
    """Whether anybody can get in at all."""
    lasting = select(ApiKey.id).where(ApiKey.expires_at.is_(None)).limit(1)
    return session.scalar(lasting) is not None


def add_key(session: Session, key: str, *, key_id: str, name: str, expires_at: datetime | None = None) -> None:
    """Let a key in; a key of the same id is replaced, a key that is let in already stays as it is."""
    known = session.scalar(select(ApiKey).where(ApiKey.sha256 == fingerprint(key)))
    if known is not None and known.expires_at is None:
        return
    session.execute(delete(ApiKey).where(or_(ApiKey.id == key_id, ApiKey.sha256 == fingerprint(key))))
    session.add(ApiKey(id=key_id, sha256=fingerprint(key), name=name, expires_at=expires_at))
    session.flush()


def sign_in(session: Session) -> str:
    """A token for a browser's cookie, which ends by itself: browsers send cookies to every port of a host."""
    token = new_key()
    session.execute(delete(ApiKey).where(ApiKey.expires_at < now()))
    add_key(
        session,
        token,
        key_id=SESSION_PREFIX + secrets.token_hex(8),
        name="browser session",
        expires_at=now() + SESSION_LIFETIME,
    )
    return token


def sign_out(session: Session, token: str) -> None:
    """End a browser's session; a lasting key is left alone."""
    session.execute(delete(ApiKey).where(ApiKey.sha256 == fingerprint(token), ApiKey.id.startswith(SESSION_PREFIX)))
