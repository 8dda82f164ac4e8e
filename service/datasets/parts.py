"""An upload in parts: what each must be, and all of them together as one file."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from service.datasets.part_sizes import part_count, part_length
from service.errors import FieldError, Invalid
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore


def received(store: ObjectStore, upload_id: str, size: int, part_size: int) -> list[int]:
    """Numbers of the parts that are here, whole."""
    prefix = keys.upload(upload_id)
    there = sorted(int(key.removeprefix(prefix)) for key in store.list(prefix))
    return [number for number in there if _whole(store, upload_id, number, part_length(size, part_size, number))]


def _whole(store: ObjectStore, upload_id: str, number: int, length: int) -> bool:
    try:
        return store.size(keys.upload_part(upload_id, number)) == length
    except ObjectMissing:
        return False


@contextmanager
def assembled(store: ObjectStore, upload_id: str, size: int, part_size: int, sha256: str) -> Iterator[IO[bytes]]:
    """All parts as one temporary file, a chunk at a time in memory.

    Raises:
        Invalid: the disk has no room for it, a part is missing, or the sha256 is another.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < size:
        raise Invalid(
            "The server has no room to unpack this upload.",
            [FieldError(field="size", reason=f"is {size} bytes, {free} are free", hint="free some, or set TMPDIR")],
        )
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(prefix="dale-upload-") as file:
        for number in range(1, part_count(size, part_size) + 1):
            try:
                # No more than the part may have: whoever has its address can put anything there.
                for chunk in store.read(keys.upload_part(upload_id, number), 0, part_length(size, part_size, number)):
                    digest.update(chunk)
                    file.write(chunk)
            except ObjectMissing as error:
                fault = FieldError(field=f"parts/{number}", reason="is missing", hint="send it again")
                raise Invalid("A part is missing.", [fault]) from error
        if digest.hexdigest() != sha256:
            reason = f"of what arrived is {digest.hexdigest()}, not {sha256}"
            hint = "send the parts again; a file that changes while it is sent does this, too"
            fault = FieldError(field="sha256", reason=reason, hint=hint)
            raise Invalid("What arrived is not what was sent.", [fault])
        file.seek(0)
        yield file


def discard(store: ObjectStore, upload_id: str) -> None:
    """Remove all parts."""
    for key in list(store.list(keys.upload(upload_id))):
        store.delete(key)
