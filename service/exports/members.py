"""What a tool sends as one file, or in a zip with others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

from service.datasets.archive import Archive, MemberFault
from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid
from service.exports.rows import unreadable

ZIP = b"PK"
CHUNK = 1 << 20
MAX_JSON = 128 << 20


def chunks(file: IO[bytes], limits: ImportLimits, name: str, hint: str) -> Iterator[bytes]:
    """The file, or where it is a zip the one member that is called `name`, in whichever folder.

    Raises:
        Invalid: the zip cannot be read, or has no such member or several; or there is too much of it.
    """
    head = file.read(len(ZIP))
    file.seek(0)
    if head == ZIP:
        archive = Archive(file, limits)
        found = [member for member in archive.members if PurePosixPath(member.path).name == name]
        if len(found) != 1:
            raise Invalid("The file cannot be read.", [unreadable(f"has {len(found)} files {name}", hint)])
        try:
            yield from archive.stream(found[0])
        except MemberFault as error:
            fault = FieldError(file=found[0].path, reason=error.reason, hint=error.hint or hint)
            raise Invalid("The file cannot be read.", [fault]) from error
        return
    size = 0
    while chunk := file.read(CHUNK):
        size += len(chunk)
        if size > limits.max_member_bytes:
            reason = f"has more than {limits.max_member_bytes} bytes"
            raise Invalid("The file is too large.", [unreadable(reason, "send it in parts")])
        yield chunk


def json_of(file: IO[bytes], limits: ImportLimits, name: str, hint: str) -> Any:
    """What the JSON of `chunks` holds; raises `Invalid` as that does, and for no JSON or one above `MAX_JSON` bytes."""
    content = bytearray()
    for chunk in chunks(file, limits, name, hint):
        content += chunk
        if len(content) > MAX_JSON:
            raise Invalid("The file is too large.", [unreadable(f"has more than {MAX_JSON} bytes", "send it in parts")])
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Invalid("The file cannot be read.", [unreadable(f"is no JSON: {error}", hint)]) from error
