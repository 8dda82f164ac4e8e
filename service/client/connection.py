# ruff: noqa: SIM117, UP028
# Made from asynchronous/connection.py by `make client`: change that.
"""The connection under the client: what is sent, sent again, and paged through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from service.client.errors import check, reaching
from service.client.patience import PatientClient
from service.client.wire import given

Answer = TypeVar("Answer", bound=BaseModel)
PageOf = TypeVar("PageOf", bound=BaseModel)
PAGE = 500
TIMEOUT = httpx.Timeout(30, connect=5)
PATIENT = httpx.Timeout(None, connect=5)  # how long it takes depends on the number of samples
TRIES = 3


class Connection:
    """A connection to the service; close it, or let `with` do that.

    Args:
        url: where the service is, for example http://127.0.0.1:8000.
        key: the API key.
        timeout: seconds to wait for answers that take no time by their nature; None: 30, and 5 to connect.
        transport: for tests; else real HTTP.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a service; it looks like http://127.0.0.1:8000")
        self._timeout = TIMEOUT if timeout is None else httpx.Timeout(timeout)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = PatientClient(base_url=self.url, headers=headers, timeout=self._timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _get(self, kind: type[Answer], url: str) -> Answer:
        return kind.model_validate_json(self._send("GET", url).content)

    def _pages(
        self, kind: type[PageOf], url: str, parameters: Mapping[str, Any], items: Callable[[PageOf], list[Answer]]
    ) -> Iterator[Answer]:
        asked = {"page_size": PAGE, **given(parameters)}
        while True:
            page = kind.model_validate_json(self._send("GET", url, parameters=asked).content)
            for item in items(page):
                yield item
            token = getattr(page, "next_page_token", None)
            if not token:
                return
            asked["page_token"] = token

    def _send(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> httpx.Response:
        """Send what may be sent again: where the connection breaks it is, where nobody answers it is not."""
        left = TRIES
        with reaching(self.url):
            while True:
                left -= 1
                try:
                    answer = self._http.request(
                        method, url, json=body, headers=headers, params=parameters, timeout=timeout or self._timeout
                    )
                    gone = method == "DELETE" and answer.status_code == httpx.codes.NOT_FOUND
                    # Of a repeated DELETE, "no such thing" says that the first one did it and its answer was lost.
                    return answer if gone and left < TRIES - 1 else check(answer)
                except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                    if isinstance(error, httpx.ConnectError) or not left:
                        raise

    def _write(self, url: str, out: Path, parameters: Mapping[str, Any]) -> str:
        """Write an answer of any length to a file, which appears only whole; gives its media type."""
        partial = out.with_name(f".{out.name}.partial")
        try:
            with reaching(self.url):
                with self._http.stream("GET", url, params=parameters, timeout=PATIENT) as response:
                    opened(response)
                    out.parent.mkdir(parents=True, exist_ok=True)
                    with partial.open("wb") as sink:
                        for chunk in response.iter_bytes():
                            sink.write(chunk)
            partial.replace(out)
            return str(response.headers.get("content-type", "")).partition(";")[0]
        finally:
            partial.unlink(missing_ok=True)


def opened(response: httpx.Response) -> httpx.Response:
    """The answer of a stream, passed on if it is none of an error.

    Raises:
        Refused: it is an error.
    """
    if response.status_code >= 400:
        response.read()  # what went wrong is in the body
    return check(response)
