"""Every refusal as RFC 9457 `application/problem+json`: what, where, what to do; never a stack trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from service import errors, logging
from service.errors import FieldError, ServiceError
from service.resources.problems import Problem
from workers.contract.store import StoreUnavailable

log = logging.get(__name__)
MEDIA_TYPE = "application/problem+json"
_CLASSES = (
    errors.BadRequest,
    errors.Unauthorized,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.PreconditionFailed,
    errors.PayloadTooLarge,
    errors.RangeNotSatisfiable,
    errors.Invalid,
    errors.PreconditionRequired,
    errors.TooManyRequests,
    errors.Unavailable,
)
_MEANING = {cls.status: (cls.__doc__ or "").strip() for cls in _CLASSES}
_TITLES = {cls.status: cls.title for cls in _CLASSES}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can be refused with these statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANING[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }
    for status in answers.keys() & {429, 503}:
        answers[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "in seconds"}}
    return answers


def respond(
    request: Request,
    status: int,
    title: str,
    detail: str,
    *,
    faults: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """The answer that says what went wrong."""
    problem = Problem(
        type="urn:dale:problem:" + title.lower().replace(" ", "-"),
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
        errors=faults or [],
    )
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every refusal of `app` leave as a problem; `middleware.RequestLog` does so with what nobody expected."""
    app.add_exception_handler(StoreUnavailable, _store_unavailable)
    app.add_exception_handler(DataError, _not_for_the_database)
    app.add_exception_handler(ServiceError, _service_error)  # type: ignore[arg-type]  # Starlette's type allows only Exception
    app.add_exception_handler(RequestValidationError, _validation_error)  # type: ignore[arg-type]  # Starlette's type allows only Exception
    app.add_exception_handler(HTTPException, _http_exception)  # type: ignore[arg-type]  # Starlette's type allows only Exception


def _service_error(request: Request, error: ServiceError) -> Response:
    headers = {}
    if error.status == errors.Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == errors.Unavailable.status:
        headers["Retry-After"] = "5"
        log.warning("unavailable", detail=error.detail)
    return respond(request, error.status, error.title, error.detail, faults=error.errors, headers=headers)


def _store_unavailable(request: Request, error: Exception) -> Response:
    # Where the store is and why it fails is for the log; the client can only come back later.
    log.error("object store unavailable", path=request.url.path, error=str(error))
    return _service_error(request, errors.Unavailable("The object store does not answer now; try again later."))


def _not_for_the_database(request: Request, error: Exception) -> Response:
    # PostgreSQL has no NUL in a text: it is refused here once, and not by every parameter of every path.
    log.warning("value not for the database", path=request.url.path, error=str(error))
    return _service_error(request, errors.Invalid("A value that was given is none that the database can hold."))


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    faults = field_errors(error.errors())
    if any(fault["type"] == "json_invalid" for fault in error.errors()):
        return respond(request, 400, "Bad request", "The body is not valid JSON.", faults=faults)
    detail = f"{len(faults)} of the values given cannot be used." if len(faults) > 1 else faults[0].reason
    return respond(request, errors.Invalid.status, errors.Invalid.title, detail, faults=faults)


def field_errors(faults: Any) -> list[FieldError]:
    """Pydantic's faults in our words: the field by its path, the reason, and the value that was given."""
    result = []
    for fault in faults:
        place = [str(part) for part in fault["loc"]]
        field = ".".join(place[1:] if place and place[0] in {"body", "query", "path", "header", "cookie"} else place)
        reason = fault["msg"].removeprefix("Value error, ")
        given = fault.get("input")
        hint = f"given: {given!r}"[:200] if isinstance(given, str | int | float | bool) else ""
        result.append(FieldError(field=field or None, reason=reason, hint=hint))
    return result


def _http_exception(request: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    detail = str(error.detail)
    if error.status_code == 404 and detail == phrase:
        detail = f"There is nothing at {request.url.path}; the API is described at /docs."
    headers = dict(error.headers or {})
    if error.status_code == 405:
        detail = f"{request.method} is not possible at {request.url.path}."
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
    title = _TITLES.get(error.status_code, phrase[0] + phrase[1:].lower())
    return respond(request, error.status_code, title, detail, headers=headers)


def _allowed(request: Request) -> set[str]:
    """The methods of every route at a path: the framework names only those of the first that it came to."""
    path = request.scope["path"]
    here = (
        route for route in iter_route_contexts(request.app.routes) if route.methods and route.path_regex.match(path)
    )
    return {method for route in here for method in route.methods or ()}


def unexpected(request: Request) -> Response:
    """The answer to our own mistake: the log has the traceback, the client gets the id that finds it there."""
    return respond(
        request, 500, ServiceError.title, "The service made a mistake; its log has the details under this request_id."
    )
