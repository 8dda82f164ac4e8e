# Made from asynchronous/transfer.py by `make client`: change that.
"""Files over HTTP for the client: counted on the way up, resumed and verified on the way down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import httpx

from service.client.connection import opened
from service.client.errors import DamagedFile, Unreachable
from service.client.files import Progress, sha256_of
from service.client.waiting import in_thread

PIECE = 1 << 16  # bytes
# A download that breaks off is resumed this often before it counts as failed; any progress starts the count anew.
RESUMES = 5


def download(
    http: httpx.Client, url: str, target: Path, *, sha256: str, size: int, progress: Progress | None = None
) -> Path:
    """Download to `target`, which appears only whole and verified.

    The part that has arrived lies beside it under a name that holds the checksum, so an interrupted download
    goes on where it stopped, now or at the next call, and never continues another file.

    Raises:
        DamagedFile: the bytes that arrived do not have the checksum.
        Unreachable: the connection broke off again and again.
        Refused: the service said no.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{sha256[:16]}.partial")
    have = partial.stat().st_size if partial.exists() else 0
    failures = 0
    while have < size or not partial.exists():
        before = have
        try:
            _receive(http, url, partial, have, size, progress)
        except httpx.TransportError as error:
            have = partial.stat().st_size if partial.exists() else 0
            failures = failures + 1 if have == before else 1
            if failures >= RESUMES:
                raise Unreachable(f"The download of {target.name} broke off {failures} times: {error}") from error
            continue
        have = partial.stat().st_size
        if have < size:
            failures = failures + 1 if have == before else 1
            if failures >= RESUMES:
                raise Unreachable(f"The download of {target.name} ended early: {have} of {size} bytes.")
    found = in_thread(sha256_of, partial)
    if found != sha256:
        partial.unlink()
        raise DamagedFile(f"{target.name} arrived with sha256 {found}, not {sha256}. Nothing was kept; try again.")
    partial.replace(target)
    return target


def _receive(http: httpx.Client, url: str, partial: Path, have: int, size: int, progress: Progress | None) -> None:
    """Append what is missing; begin anew if the server sends the whole file all the same."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with http.stream("GET", url, headers=headers, follow_redirects=True) as response:
        opened(response)
        resumed = have > 0 and response.status_code == 206
        done = have if resumed else 0
        with partial.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():  # as it arrives: what is here is kept
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(min(done, size), size)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file as it is sent."""
    while piece := file.read(PIECE):
        yield piece
