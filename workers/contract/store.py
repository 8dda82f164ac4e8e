"""The object store: a local folder or any S3, behind one small interface.

`open_store` is the only place that knows which one a URL means. Objects are written whole or not at all, so
whoever can read an object reads all of it; that is what makes a manifest a commit mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

CHUNK = 1024 * 1024
MAX_KEY_BYTES = 900  # S3 allows 1024, the rest is room for the prefix of the store's URL


class ObjectMissing(KeyError):
    """There is no object under this key."""

    def __str__(self) -> str:
        return f"no object under {self.args[0]!r}" if self.args else "no such object"


class StoreUnavailable(Exception):
    """The store cannot be reached, or refuses to serve; says why and what to do."""


class StoreRefuses(StoreUnavailable):
    """The store answers, but will not serve us as we are set up: waiting does not help."""


class ObjectStore(Protocol):
    """What service and workers need of a store.

    Every method raises `ValueError` for a key that `check_key` refuses and `StoreUnavailable` where the store
    fails.
    """

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object, whole or not at all; an older object under the key is replaced."""

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Write an object from a file, streamed; whole or not at all."""

    def get(self, key: str) -> bytes:
        """Read a whole object; raises `ObjectMissing`."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream `length` bytes from `start` (all of the rest without it); a range past the end is cut short.

        Raises `ObjectMissing` at once, not at the first chunk.
        """

    def size(self, key: str) -> int:
        """Bytes of an object; raises `ObjectMissing`."""

    def exists(self, key: str) -> bool:
        """Whether there is an object under the key."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is fine."""

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str | None:
        """A URL that downloads the object without credentials; None where the store has no such thing."""

    def presigned_put(self, key: str, expires_s: int) -> str | None:
        """A URL to which an object can be sent by PUT without credentials; None where the store has no such thing."""


def check_key(key: str) -> str:
    """Return the key unchanged if it is one that every store can hold.

    Raises:
        ValueError: it is empty, too long, absolute, has a `.`, `..` or empty part, a backslash or a control
            character, or begins with a dot.
    """
    parts = key.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or parts[0].startswith(".")
        or "\\" in key
        or any(ord(character) < 32 or ord(character) == 127 for character in key)
    ):
        raise ValueError(f"not a valid object key: {key!r}")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"object key of {len(key.encode())} bytes, at most {MAX_KEY_BYTES} are allowed")
    return key


def check_prefix(prefix: str) -> str:
    """Return a listing prefix unchanged if keys can begin with it; it may be empty or end in a slash."""
    if prefix:
        check_key(prefix + "x" if prefix.endswith("/") else prefix)
    return prefix


def open_store(url: str) -> ObjectStore:
    """Open the store that a URL names; nothing is contacted before its first use.

    `file:///absolute/folder`, or `s3://bucket/prefix?endpoint=http://host:port&region=us-east-1` with the
    credentials in `DALE_S3_ACCESS_KEY` and `DALE_S3_SECRET_KEY` (never in the URL, which ends up in logs).

    Raises:
        ValueError: the URL is of another kind, or incomplete.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from workers.contract.store_local import LocalStore  # noqa: PLC0415 - each store imports only what it needs

        if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
            raise ValueError(f"store URL {url!r} must look like file:///absolute/folder")
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from workers.contract.store_s3 import S3Store  # noqa: PLC0415

        return S3Store.from_url(url)
    raise ValueError(
        f"store URL has scheme {parts.scheme!r}; use file:///absolute/folder or s3://bucket/prefix?endpoint=…"
    )
