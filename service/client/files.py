"""Files on the client's side: counted as they are read, named safely, written whole."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class CountedFile(io.FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path, "rb")
        self._size = path.stat().st_size
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        data: bytes = super().read(-1 if size is None else size) or b""
        if self._progress:
            self._progress(self.tell(), self._size)
        return data


def sha256_of(path: Path) -> str:
    """Checksum of a file, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_name(sample: str) -> str:
    """A name may be anything; that of the file leads nowhere else."""
    return re.sub(r"[^\w. +-]", "_", sample).lstrip(".") or "sample"


def written(folder: Path, name: str, content: bytes) -> Path:
    """The file appears only whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    partial.write_bytes(content)
    return partial.replace(folder / name)


def stem(path: Path) -> str:
    """A file's name without its ending, `.nii.gz` being one."""
    return re.sub(r"(\.nii)?\.[^.]+$", "", path.name) or path.name


def cases(paths: Iterable[Path], files: int) -> dict[str, list[Path]]:
    """The files of each image by its name, in the order of its channels.

    Args:
        paths: all files.
        files: how many an image has: one has the image's name, several `<name>_0000`, `<name>_0001`, ….

    Raises:
        ValueError: an image has others, or two have one name; says which.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        name = stem(path)
        found.setdefault(name if files == 1 else re.sub(r"_\d{4}$", "", name), []).append(path)
    for name, some in found.items():
        listed = ", ".join(str(path) for path in some)
        if files == 1 and len(some) > 1:
            raise ValueError(f"{listed}: their masks would have the same name; predict them into folders of their own")
        wanted = [name] if files == 1 else [f"{name}_{number:04}" for number in range(files)]
        if [stem(path) for path in some] != wanted:
            raise ValueError(f"{name} has the files {listed}; the model needs {wanted[0]} to {wanted[-1]}")
    return found
