"""What can go wrong between the client and the service.

ClientError
 ├─ Unreachable     nobody answers at that address, or the answer broke off
 ├─ Refused         the service said no; carries the fields of its problem
 └─ DamagedFile     a download does not have the checksum that it should have
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from pydantic import BaseModel, ValidationError

from service.errors import FieldError


class ClientError(Exception):
    """Anything that the client raises on purpose."""


class Unreachable(ClientError):
    """Nobody answers at that address, or the answer broke off."""


class DamagedFile(ClientError):
    """A download does not have the checksum that it should have."""


class Refused(ClientError):
    """The service said no; the fields are those of its RFC 9457 problem."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        errors: list[FieldError] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{title} ({status}): {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors or []
        self.request_id = request_id


class _Problem(BaseModel):
    title: str
    detail: str = ""
    errors: list[FieldError] = []
    request_id: str | None = None


def check(response: httpx.Response) -> httpx.Response:
    """Pass an answer that is none of an error on; one of an error must have been read.

    Raises:
        Refused: it is an error.
    """
    if response.status_code < 400:
        return response
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:  # not from the service: a proxy, or another server altogether
        text = response.text.strip()[:300]
        detail = text if text and not text.startswith("<") else f"no problem description from {response.url}"
        raise Refused(response.status_code, response.reason_phrase or "Error", detail) from None
    raise Refused(response.status_code, problem.title, problem.detail, problem.errors, problem.request_id)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what the transport raises into `Unreachable`."""
    try:
        yield
    except httpx.ConnectError as error:
        raise Unreachable(f"Nobody answers at {url}: {error}. Is `dale serve` running there?") from error
    except httpx.TransportError as error:
        kind = type(error).__name__
        raise Unreachable(f"The connection to {url} failed: {str(error) or kind}.") from error
