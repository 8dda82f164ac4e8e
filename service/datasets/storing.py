"""The files of samples that have passed, on their way into the store: each is unpacked anew, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from service.datasets.archive import Archive, sha256
from service.datasets.checked import CheckedFile, CheckedSample
from service.datasets.formats.sources import Source
from service.datasets.kinds import Media
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.pixels import inspect_mask
from service.datasets.volumes import write_stored_label


@dataclass(frozen=True)
class Unpacking:
    """Where files come from, and how the masks among them are meant.

    Attributes:
        archive: the upload.
        limits: what is accepted.
        media: what its files are.
        options: how it is meant.
    """

    archive: Archive
    limits: ImportLimits
    media: Media
    options: ImportOptions

    def blobs(self, samples: Iterable[CheckedSample], scratch: Path) -> Iterator[tuple[str, Path, str]]:
        """Every distinct file: its sha256, where it lies until the next is asked for, its media type."""
        seen: set[str] = set()
        for sample in samples:
            for member, file in stored_files(sample):
                if file.sha256 not in seen:
                    seen.add(file.sha256)
                    encoded = member is sample.pair.mask and sample.mask_encoded
                    yield file.sha256, self.unpacked(member, file.sha256, scratch, encoded=encoded), file.media_type

    def unpacked(self, member: Source, expected: str, scratch: Path, *, encoded: bool) -> Path:
        """A file as it is stored.

        Args:
            member: the file in the archive.
            expected: sha256 of what is stored.
            scratch: a folder for it.
            encoded: whether it is a mask that is not stored as it came.
        """
        path = scratch / "member"
        member.extract(self.archive, path)
        if encoded:
            stored = scratch / "stored"
            if self.media is Media.VOLUME:
                write_stored_label(path, self.limits, self.options.mapping, stored)
            else:
                threshold, mapping = self.options.mask_threshold, self.options.mapping
                inspect_mask(path, self.limits.max_pixels, threshold, stored, mapping)
            path = stored
        if sha256(path) != expected:
            raise RuntimeError(f"{member.path} changed between check and storing")
        return path


def stored_files(sample: CheckedSample) -> Iterator[tuple[Source, CheckedFile]]:
    """Every file of a sample, with what is stored of it."""
    pair = sample.pair
    yield pair.image, CheckedFile(sample.image_sha256, sample.media_type)
    yield from zip(pair.channels, sample.channels, strict=True)
    yield pair.mask, CheckedFile(sample.mask_sha256, sample.mask_media_type)
