"""Checks what a correction sends: masks of stored images, against these, and new samples, as an upload does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.datasets.archive import Archive, MemberFault, sha256
from service.datasets.checked import CheckedSample, Findings
from service.datasets.checking import check_pair
from service.datasets.formats.nifti import MEDIA_TYPES
from service.datasets.formats.sources import Source
from service.datasets.kinds import Media
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Pair
from service.datasets.pixels import inspect_mask
from service.datasets.volumes import VolumeCheck

Fetch = Callable[[str, Path], None]  # writes the stored image of this sha256 to that file


@dataclass(frozen=True)
class CheckedMask:
    """A mask that has passed, for a sample that is there."""

    member: Source
    sha256: str
    media_type: str
    foreground: float
    label_values: tuple[int, ...]  # without 0
    encoded: bool = False  # the stored mask is not the file that came, but one written from it


class MaskCheck:
    """Checks the masks and new samples of one archive; one is unpacked at a time, so that memory stays flat.

    Args:
        archive: holds them.
        limits: what is accepted.
        media: what the files of the dataset are.
        scratch: a folder for what is unpacked.
        fetch: gives the stored image, with which the mask of a volume must agree.
    """

    def __init__(self, archive: Archive, limits: ImportLimits, media: Media, scratch: Path, fetch: Fetch) -> None:
        self._archive, self._limits, self._media, self._scratch, self._fetch = archive, limits, media, scratch, fetch
        self._volumes = VolumeCheck(archive, limits, scratch)

    def check(
        self,
        masks: Mapping[str, Source],
        samples: Mapping[str, Mapping[str, Any]],
        mask_values: list[int],
        found: Findings,
    ) -> dict[str, CheckedMask]:
        """The masks by the names of their samples; whatever is wrong goes to `found`, file by file.

        Args:
            masks: the files, by the names of their samples.
            samples: the rows that may be corrected, by name.
            mask_values: the only values that a mask may have.
            found: takes faults and warnings.
        """
        checked = {}
        for name, member in sorted(masks.items()):
            is_volume = self._media is Media.VOLUME
            mask = (self._volume if is_volume else self._image)(member, samples[name], found)
            if not has_foreign_values(member, mask_values, found) and mask:
                checked[name] = mask
                if mask.foreground == 0:
                    found.warn(member.path, "is empty", "fine if there is nothing to see")
        return checked

    def check_new(self, pairs: Sequence[Pair], mask_values: list[int], found: Findings) -> list[CheckedSample]:
        """The new samples that have passed, as an upload checks them.

        Args:
            pairs: their files.
            mask_values: the only values that a mask may have.
            found: takes faults and warnings.
        """
        checked = []
        for pair in pairs:
            if self._media is Media.VOLUME:
                sample = self._volumes.check(pair, found)
            else:
                sample = check_pair(self._archive, pair, self._limits, None, {}, self._scratch, found)
            if not has_foreign_values(pair.mask, mask_values, found) and sample:
                checked.append(sample)
        return checked

    def _image(self, member: Source, row: Mapping[str, Any], found: Findings) -> CheckedMask | None:
        stored = self._scratch / "stored"
        try:
            file = member.extract(self._archive, self._scratch / "mask")
            facts = inspect_mask(self._scratch / "mask", self._limits.max_pixels, None, stored)
        except MemberFault as fault:
            found.refuse(member.path, fault.reason, fault.hint)
            return None
        found.values[member.path] = facts.values
        if (facts.width, facts.height) != (row["width"], row["height"]):
            reason = f"is {facts.width} x {facts.height}, its image {row['width']} x {row['height']} pixels"
            found.refuse(member.path, reason, "a mask must have the size of its image")
            return None
        digest, media_type = (sha256(stored), "image/png") if facts.encoded else (file.sha256, facts.media_type)
        values = tuple(value for value in facts.values if value)
        return CheckedMask(member, digest, media_type, facts.foreground, values, facts.encoded)

    def _volume(self, member: Source, row: Mapping[str, Any], found: Findings) -> CheckedMask | None:
        image = self._scratch / "image"
        self._fetch(row["image_sha256"], image)
        passed = self._volumes.check_label(member, image, found)
        if passed is None:
            return None
        label, foreground = passed
        values = tuple(value for value in found.values[member.path] if value)
        return CheckedMask(member, label.file.sha256, MEDIA_TYPES[label.packed], foreground, values)


def has_foreign_values(mask: Source, mask_values: list[int], found: Findings) -> bool:
    """Whether a mask has values that the dataset has not; that is a fault."""
    foreign = sorted(set(found.values.get(mask.path, ())) - set(mask_values))
    if foreign:
        listed = ", ".join(map(str, foreign[:12]))
        hint = f"the masks of this dataset have the values {', '.join(map(str, mask_values))}"
        found.refuse(mask.path, f"has the values {listed}", hint)
    return bool(foreign)
