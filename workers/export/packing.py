"""Folders as zip files."""

from __future__ import annotations

import zipfile
from pathlib import Path

SAME_MOMENT = (1980, 1, 1, 0, 0, 0)  # zip's first; so equal contents make equal files


def pack(folder: Path, path: Path, below: str = "") -> None:
    """Write all files of a folder into a zip file.

    Args:
        folder: what to pack.
        path: of the zip file.
        below: a folder in the zip file that all of it comes into; empty: none.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(item for item in folder.rglob("*") if item.is_file()):
            entry = zipfile.ZipInfo(str(Path(below) / file.relative_to(folder)), SAME_MOMENT)
            entry.external_attr = 0o644 << 16
            # Weights do not shrink.
            entry.compress_type = zipfile.ZIP_DEFLATED if file.stat().st_size < 2**20 else zipfile.ZIP_STORED
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(2**20):
                    sink.write(chunk)
