"""A dataset folder as one zip, the shape that the service takes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PARTS = ("images", "masks")
NNUNET = ("imagesTr", "labelsTr")
DESCRIPTION = "dataset.json"  # of nnU-Net's raw format
ABOUT = "samples.csv"  # what is known of the samples


@contextmanager
def as_archive(source: Path, packed: Callable[[int, int], None] | None = None) -> Iterator[Path]:
    """The zip to upload: `source` itself, or a folder's images and masks packed into a temporary file.

    Images are compressed already, so packing stores them as they are. What nnU-Net keeps beside its training data is
    left out.

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
    parts = NNUNET if (source / NNUNET[0]).is_dir() and not (source / PARTS[0]).is_dir() else PARTS
    missing = [part for part in parts if not (source / part).is_dir()]
    if missing:
        raise ValueError(f"{source} has no folder {' and no folder '.join(missing)}; files are paired by name.")
    files = [path for part in parts for path in sorted((source / part).iterdir()) if path.is_file()]
    if parts is NNUNET and (source / DESCRIPTION).is_file():
        files.append(source / DESCRIPTION)
    if (source / ABOUT).is_file():
        files.append(source / ABOUT)
    with _packed(source, {path: str(path.relative_to(source)) for path in files}, packed) as archive:
        yield archive


@contextmanager
def masks_as_archive(source: Path | None) -> Iterator[Path | None]:
    """The zip of corrected masks to send: `source` itself, or the files of a folder as `masks/…`; None without any.

    Raises:
        ValueError: there are no masks at `source`.
    """
    if source is None or source.is_file():
        yield source
        return
    files = (
        {path: f"masks/{path.name}" for path in sorted(source.iterdir()) if path.is_file()} if source.is_dir() else {}
    )
    if not files:
        raise ValueError(f"{source} holds no masks. Give a folder of masks named as their samples, or a zip of masks/.")
    with _packed(source, files) as archive:
        yield archive


@contextmanager
def _packed(
    source: Path, files: Mapping[Path, str], packed: Callable[[int, int], None] | None = None
) -> Iterator[Path]:
    """A temporary zip of files, under the names given."""
    with tempfile.TemporaryDirectory(prefix="dale-upload-") as scratch:
        archive = Path(scratch) / f"{source.resolve().name}.zip"
        # Times before 1980, which zip cannot tell, are no reason to refuse a file.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as pack:
            for done, (path, name) in enumerate(files.items(), start=1):
                pack.write(path, name)
                if packed:
                    packed(done, len(files))
        yield archive
