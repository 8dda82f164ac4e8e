"""The layout `dicom`: series of CT, MR or PET images and the segmentations (SEG) of them, in any folders.

Every image series that has a segmentation becomes a sample. Files are told by their content; of their headers
nothing is stored but what says where voxels lie and what they stand for.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from service.datasets.archive import Archive, Member, MemberFault
from service.datasets.formats.dicom_files import is_dicom, read_header
from service.datasets.formats.dicom_seg import DicomLabel, Segmentation, numbers_on, read_segmentation
from service.datasets.formats.dicom_series import (
    DicomSeries,
    Grid,
    SeriesFault,
    Slice,
    read_grid,
    read_slice,
    short_name,
)
from service.datasets.kinds import LayoutKind, Media
from service.datasets.limits import ImportLimits
from service.datasets.pairs import Layout, Pair, name_fault
from service.errors import FieldError

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
IMAGES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
}
LOOKED_AT = 10_000  # members, to see whether there are DICOM files


@dataclass
class Series:
    """The files of one SeriesInstanceUID."""

    members: list[Member] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    faults: list[FieldError] = field(default_factory=list)


@dataclass
class Found:
    """What the files of an upload are."""

    series: defaultdict[str, Series] = field(default_factory=lambda: defaultdict(Series))
    series_of: dict[str, str] = field(default_factory=dict)  # by the SOPInstanceUID of an image
    segmentations: list[Segmentation] = field(default_factory=list)
    faults: list[FieldError] = field(default_factory=list)
    ignored: Counter[tuple[str, str]] = field(default_factory=Counter)  # by folder and kind


def holds_dicom(archive: Archive) -> bool:
    """Whether there are DICOM files among the first members."""
    return any(is_dicom(archive, member) for member in archive.members[:LOOKED_AT])


def group_of(patient_id: str, salt: str) -> str:
    """The group of a patient's samples, 12 hexadecimal digits, which tell who it is to nobody without the salt.

    Not stored yet, and PatientID is not read: it awaits samples that have groups. The salt is a secret of one dataset.
    """
    return hashlib.sha256(f"{salt}\0{patient_id}".encode()).hexdigest()[:12]


def read_dicom(archive: Archive, limits: ImportLimits, scratch: Path) -> Layout:
    """Pair every series with its segmentation; a series without one is left out, with a warning.

    Args:
        archive: the upload.
        limits: how many classes there may be.
        scratch: a folder for what is unpacked.
    """
    found = _read_files(archive, scratch)
    of_series = _assign(found)
    labels = sorted({label for one in of_series.values() for label in one.labels.values()})
    faults = found.faults
    if len(labels) >= limits.max_classes:
        hint = f"at most {limits.max_classes - 1}, and the background, are accepted"
        faults.append(FieldError(field="file", reason=f"has segments of {len(labels)} labels", hint=hint))
    values = {label: value for value, label in enumerate(labels, start=1)}
    names = _names({uid: found.series[uid] for uid in of_series})
    pairs = []
    for uid, segmentation in of_series.items():
        series = found.series[uid]
        faults += series.faults
        try:
            grid = read_grid(series.slices) if series.slices and not series.faults else None
            if grid:
                pairs.append(_pair(names[uid], grid, segmentation, values))
        except SeriesFault as fault:
            faults.append(FieldError(file=fault.member.path, reason=fault.reason, hint=fault.hint))
        except MemberFault as fault:
            faults.append(FieldError(file=segmentation.member.path, reason=fault.reason, hint=fault.hint))
    warnings = _left_out(found, of_series)
    if not pairs and not faults:
        reason = "has no DICOM segmentation (SEG) of an image series"
        hint = "add SEG files beside the series of CT, MR or PET images; other annotations are not read"
        faults.append(FieldError(field="file", reason=reason, hint=hint))
    classes = {0: "background"} | {value: label for label, value in values.items()}
    pairs.sort(key=lambda pair: pair.name)
    return Layout(LayoutKind.DICOM, Media.VOLUME, pairs, faults, warnings, classes, declared_in="SegmentLabel")


def _pair(name: str, grid: Grid, segmentation: Segmentation, values: dict[str, int]) -> Pair:
    placed = numbers_on(grid, segmentation)
    return Pair(name, DicomSeries(grid), DicomLabel(segmentation, grid, placed, values))


def _read_files(archive: Archive, scratch: Path) -> Found:
    """Look into every file."""
    found = Found()
    for member in archive.members:
        folder = member.path.rpartition("/")[0]
        try:
            if not is_dicom(archive, member):
                found.ignored[folder, "no DICOM files"] += 1
                continue
            archive.extract(member, scratch / "header")
            header = read_header(scratch / "header")
            kind, uid = header.text("SOPClassUID"), header.text("SeriesInstanceUID")
            if kind == SEGMENTATION:
                found.segmentations.append(read_segmentation(member, header))
            elif kind not in IMAGES:
                found.ignored[folder, "neither CT, MR or PET images of one frame nor segmentations"] += 1
            elif not uid:
                raise MemberFault("has no SeriesInstanceUID", "export it again")
            else:
                found.series[uid].members.append(member)
                found.series_of[header.text("SOPInstanceUID")] = uid
                try:
                    found.series[uid].slices.append(read_slice(member, header))
                except MemberFault as fault:
                    found.series[uid].faults.append(FieldError(file=member.path, reason=fault.reason, hint=fault.hint))
        except MemberFault as fault:
            found.faults.append(FieldError(file=member.path, reason=fault.reason, hint=fault.hint))
    return found


def _assign(found: Found) -> dict[str, Segmentation]:
    """The segmentation of each series that has one, by the UID of the series."""
    of_series: dict[str, Segmentation] = {}
    for one in found.segmentations:
        named = {uid for uid in one.series if uid in found.series}
        named = named or {found.series_of[source] for source in one.sources if source in found.series_of}
        if len(named) != 1:
            reason = "is of several series" if named else "is of a series that is not in the upload"
            hint = "export one for each series" if named else "add its series, or leave it out"
            found.faults.append(FieldError(file=one.member.path, reason=reason, hint=hint))
            continue
        (uid,) = named
        if uid in of_series:
            reason = f"is of the same series as {of_series[uid].member.path}"
            found.faults.append(FieldError(file=one.member.path, reason=reason, hint="keep the one that counts"))
        else:
            of_series[uid] = one
    return of_series


def _names(series: dict[str, Series]) -> dict[str, str]:
    """What each sample is called: as its folder, where that is its own, else by a hash of the series' UID."""
    folders = {}
    for uid, one in series.items():
        parents = {PurePosixPath(member.path).parent for member in one.members}
        folders[uid] = parents.pop().name if len(parents) == 1 else ""
    counts = Counter(folders.values())
    return {
        uid: name if counts[name] == 1 and name_fault(name) is None else short_name(uid)
        for uid, name in folders.items()
    }


def _left_out(found: Found, used: Iterable[str]) -> list[FieldError]:
    warnings = [
        FieldError(
            file=one.members[0].path,
            reason=f"is of a series ({len(one.members)} images) without a segmentation, left out",
        )
        for uid, one in found.series.items()
        if uid not in set(used)
    ]
    return warnings + [
        FieldError(file=f"{folder}/" if folder else None, reason=f"files that are {kind}, ignored: {count}")
        for (folder, kind), count in found.ignored.items()
    ]
