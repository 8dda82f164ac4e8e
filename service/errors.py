"""Everything the service refuses, one class and one status each; `problem` turns them into RFC 9457 answers.

ServiceError
 ├─ BadRequest 400             the request contradicts itself
 ├─ Unauthorized 401           no key, or a wrong one
 ├─ Forbidden 403              the key's role is too low for that
 ├─ NotFound 404               no such thing, or not yours
 ├─ Conflict 409               the thing is not in a state for that
 ├─ PreconditionFailed 412     somebody changed it meanwhile
 ├─ PayloadTooLarge 413        larger than the limit
 ├─ RangeNotSatisfiable 416    the range lies outside the file
 ├─ Invalid 422                well-formed but impossible; `errors` lists every fault
 ├─ PreconditionRequired 428   say which state of it you have seen
 ├─ TooManyRequests 429        more than the key or the address may ask
 └─ Unavailable 503            a part that is needed is not there now
"""

from __future__ import annotations

from pydantic import BaseModel


class FieldError(BaseModel):
    """One fault of a request: a field or a file, what is wrong with it, and what to do."""

    file: str | None = None
    field: str | None = None
    reason: str
    hint: str = ""


class ServiceError(Exception):
    """A request that cannot be served; carries what the client needs to act on it."""

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []


class BadRequest(ServiceError):
    """The request contradicts itself."""

    status = 400
    title = "Bad request"


class Unauthorized(ServiceError):
    """No key, or a wrong one."""

    status = 401
    title = "Unauthorized"


class Forbidden(ServiceError):
    """The key's role is too low for that."""

    status = 403
    title = "Forbidden"


class NotFound(ServiceError):
    """No such thing, or not yours."""

    status = 404
    title = "Not found"


class Conflict(ServiceError):
    """The thing is not in a state for that."""

    status = 409
    title = "Conflict"


class PreconditionFailed(ServiceError):
    """Somebody changed it meanwhile; look at it again."""

    status = 412
    title = "Changed meanwhile"


class PayloadTooLarge(ServiceError):
    """Larger than the limit."""

    status = 413
    title = "Payload too large"


class RangeNotSatisfiable(ServiceError):
    """The range lies outside the file."""

    status = 416
    title = "Range not satisfiable"


class Invalid(ServiceError):
    """Well-formed but impossible; `errors` lists every fault."""

    status = 422
    title = "Invalid request"


class PreconditionRequired(ServiceError):
    """The request must say which state of the thing it has seen (If-Match)."""

    status = 428
    title = "Precondition required"


class TooManyRequests(ServiceError):
    """More than the key or the address may ask; `Retry-After` says when to come back."""

    status = 429
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        """`retry_after` is in seconds."""
        super().__init__(detail)
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """A part that is needed is not there now."""

    status = 503
    title = "Unavailable"
