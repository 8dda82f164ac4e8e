"""Objects as files of a local folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from workers.contract.store import CHUNK, ObjectMissing, StoreUnavailable, check_key, check_prefix

WRITING = ".writing"  # unfinished files; no key can begin with a dot, so they are never listed


class LocalStore:
    """One file per object, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object; the content type is not kept, whoever serves it knows it."""

        def write(file: BinaryIO) -> None:
            file.write(data)

        self._write(key, write)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Copy a file into the store."""
        with path.open("rb") as source:
            self._write(key, lambda file: shutil.copyfileobj(source, file, CHUNK))

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        with self._faults(key), self._path(key).open("rb") as file:
            return file.read()

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"impossible range: start {start}, length {length}")
        with self._faults(key):
            file = self._path(key).open("rb")
        return self._chunks(key, file, start, length)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(key)
        with self._faults(key):
            return path.stat().st_size

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with the prefix, sorted as S3 sorts them."""
        folder = self.root / check_prefix(prefix).rpartition("/")[0]
        found: list[str] = []
        with self._faults(prefix):
            for parent, names, files in os.walk(folder):
                if Path(parent) == self.root and WRITING in names:
                    names.remove(WRITING)
                found += [(Path(parent) / name).relative_to(self.root).as_posix() for name in files]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        """Remove an object, and the folders that it leaves empty."""
        path = self._path(key)
        with self._faults(key):
            path.unlink(missing_ok=True)
            for folder in path.relative_to(self.root).parents:
                if not folder.parts or not _remove_if_empty(self.root / folder):
                    break

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str | None:
        """None: a folder has no server of its own, the service streams the object."""
        return None

    def presigned_put(self, key: str, expires_s: int) -> str | None:
        """None, as with `presigned_get`."""
        return None

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _write(self, key: str, write: Callable[[BinaryIO], object]) -> None:
        """Write beside, flush to the disk, rename: a reader sees the old object or the whole new one."""
        path = self._path(key)
        unfinished = self.root / WRITING / uuid4().hex
        with self._faults(key):
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                _rename(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)

    def _chunks(self, key: str, file: BinaryIO, start: int, length: int | None) -> Iterator[bytes]:
        with file, self._faults(key):
            file.seek(start)
            left = length
            while left is None or left > 0:
                chunk = file.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissing(key) from error
        except OSError as error:
            raise StoreUnavailable(f"store folder {self.root}: {error.strerror or error} (key {key!r})") from error


def _rename(unfinished: Path, path: Path) -> None:
    """Move into place; a concurrent `delete` may remove the folder at any moment, also while it is being made."""
    for attempt in range(10):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(path)
        except (FileNotFoundError, FileExistsError):
            if attempt == 9:
                raise
            continue
        with suppress(FileNotFoundError):
            _sync_folder(path.parent)
        return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # not empty, or already gone: both are as wanted
        return False
    return True
