"""Checks masks that come without images, against the stored images that they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from service.datasets.archive import Archive, MemberFault
from service.datasets.checked import Findings
from service.datasets.checking import sha256
from service.datasets.limits import ImportLimits
from service.datasets.nifti import MEDIA_TYPES
from service.datasets.pairs import ENDINGS, NAMED, Half, Media, split_ending
from service.datasets.pixels import inspect_mask
from service.datasets.sources import Source
from service.datasets.volumes import VolumeCheck

FOLDER = "masks"
Fetch = Callable[[str, Path], None]  # writes the stored image of this sha256 to that file


@dataclass(frozen=True)
class CheckedMask:
    """A mask that has passed, for a sample that is there."""

    member: Source
    sha256: str
    media_type: str
    foreground: float
    encoded: bool = False  # the stored mask is not the file that came, but one written from it


class MaskCheck:
    """Checks the masks of one archive; one at a time is unpacked, so that memory does not grow with their number.

    Args:
        archive: holds `masks/<sample>.<ending>` and nothing else.
        limits: what is accepted.
        media: what the files of the dataset are.
        scratch: a folder for what is unpacked.
        fetch: gives the stored image, with which the mask of a volume must agree.
    """

    def __init__(self, archive: Archive, limits: ImportLimits, media: Media, scratch: Path, fetch: Fetch) -> None:
        self._archive, self._limits, self._media, self._scratch, self._fetch = archive, limits, media, scratch, fetch
        self._volumes = VolumeCheck(archive, limits, scratch)

    def check(
        self, samples: Mapping[str, Mapping[str, Any]], mask_values: list[int], found: Findings
    ) -> dict[str, CheckedMask]:
        """The masks by the names of their samples; whatever is wrong goes to `found`, file by file.

        Args:
            samples: the rows that may be corrected, by name.
            mask_values: the only values that a mask may have.
            found: takes faults and warnings.
        """
        half = self._named()
        found.faults += half.faults
        checked = {}
        for name, member in sorted(half.files.items()):
            if name not in samples:
                hint = "name it as its sample; new samples come as a new dataset"
                found.refuse(member.path, f"is of no sample: the version has none named {name!r}", hint)
                continue
            is_volume = self._media is Media.VOLUME
            mask = (self._volume if is_volume else self._image)(member, samples[name], found)
            foreign = sorted(set(found.values.get(member.path, ())) - set(mask_values))
            if foreign:
                listed = ", ".join(map(str, foreign[:12]))
                hint = f"the masks of this dataset have the values {', '.join(map(str, mask_values))}"
                found.refuse(member.path, f"has the values {listed}", hint)
            elif mask:
                checked[name] = mask
                if mask.foreground == 0:
                    found.warn(member.path, "is empty", "fine if there is nothing to see")
        return checked

    def _named(self) -> Half:
        """The masks by what they are called."""
        half = Half("mask")
        for member in self._archive.members:
            path = PurePosixPath(member.path)
            name, ending = split_ending(path)
            if len(path.parts) != 2 or path.parts[0] != FOLDER:
                hint = "a correction holds masks of samples that are there; new samples come as a new dataset"
                half.refuse(member, f"is not directly in {FOLDER}/", hint)
            elif ending not in ENDINGS[self._media]:
                half.refuse(member, f"is not {NAMED[self._media]} by its name ({ending or 'no ending'})", "convert it")
            else:
                half.add(member, name)
        return half

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
        return CheckedMask(member, digest, media_type, facts.foreground, facts.encoded)

    def _volume(self, member: Source, row: Mapping[str, Any], found: Findings) -> CheckedMask | None:
        image = self._scratch / "image"
        self._fetch(row["image_sha256"], image)
        passed = self._volumes.check_label(member, image, found)
        if passed is None:
            return None
        label, foreground = passed
        return CheckedMask(member, label.file.sha256, MEDIA_TYPES[label.packed], foreground)
