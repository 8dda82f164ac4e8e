"""A dataset folder as one zip, the shape that the service takes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PARTS = ("images", "masks")


@contextmanager
def as_archive(source: Path, packed: Callable[[int, int], None] | None = None) -> Iterator[Path]:
    """The zip to upload: `source` itself, or `images/` and `masks/` of a folder packed into a temporary file.

    Images are compressed already, so packing stores them as they are.

    Raises:
        ValueError: there is nothing to upload at `source`.
    """
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise ValueError(f"{source} is no zip archive. Give a zip, or a folder with images/ and masks/.")
        yield source
        return
    if not source.is_dir():
        raise ValueError(f"{source} does not exist. Give a zip, or a folder with images/ and masks/.")
    missing = [part for part in PARTS if not (source / part).is_dir()]
    if missing:
        raise ValueError(f"{source} has no folder {' and no folder '.join(missing)}; files are paired by name.")
    files = [path for part in PARTS for path in sorted((source / part).iterdir()) if path.is_file()]
    with tempfile.TemporaryDirectory(prefix="dale-upload-") as scratch:
        archive = Path(scratch) / f"{source.resolve().name}.zip"
        # Times before 1980, which zip cannot tell, are no reason to refuse a file.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as pack:
            for done, path in enumerate(files, start=1):
                pack.write(path, f"{path.parent.name}/{path.name}")
                if packed:
                    packed(done, len(files))
        yield archive
