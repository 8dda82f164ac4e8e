"""DICOM segmentations (SEG): frames of single segments, drawn into one label on the grid of their series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import Archive, Extracted, Member, MemberFault
from service.datasets.formats.dicom_files import Header, numbers
from service.datasets.formats.dicom_series import DIRECTION, Grid
from service.datasets.packing import Volume, pack

MAX_LABEL = 200


@dataclass(frozen=True)
class Frame:
    """One segment on one slice: where it lies, as a slice of a series does."""

    segment: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Segmentation:
    """A SEG file.

    Attributes:
        member: the file.
        series: UIDs of the series that it says it is of.
        sources: UIDs of the images that it says it was drawn on.
        labels: of the segments, by their numbers.
        frames: in the order of the file.
        rows: of each frame.
        columns: of each frame.
        fractional: the value of a pixel that is wholly inside; None where pixels are bits.
        start: where in the file the pixels begin.
    """

    member: Member
    series: frozenset[str]
    sources: frozenset[str]
    labels: Mapping[int, str]
    frames: tuple[Frame, ...]
    rows: int
    columns: int
    fractional: int | None
    start: int


def read_segmentation(member: Member, header: Header) -> Segmentation:
    """A SEG file; raises `MemberFault` where it is none that can be drawn."""
    try:
        return _read(member, header)
    except MemberFault:
        raise
    except Exception as error:  # values of the wrong kind anywhere in its sequences
        raise MemberFault("is a segmentation that cannot be read", "export it again") from error


def _read(member: Member, header: Header) -> Segmentation:
    rows, columns, count = header.count("Rows"), header.count("Columns"), header.count("NumberOfFrames")
    per_frame = header.value("PerFrameFunctionalGroupsSequence") or []
    shared = header.value("SharedFunctionalGroupsSequence") or []
    if count < 1 or rows < 1 or columns < 1 or len(per_frame) != count:
        raise MemberFault(f"has {count} frames, and places of {len(per_frame)}", "export it again")
    frames = [_frame(groups, shared[0] if shared else {}) for groups in per_frame]
    labels = {int(one.SegmentNumber): _label(one) for one in header.value("SegmentSequence") or []}
    for frame in frames:
        if frame.segment not in labels:
            raise MemberFault(f"has a frame of segment {frame.segment}, which it does not describe", "export it again")
    fractional = _fractional(header)
    pixels = rows * columns * count
    return Segmentation(
        member=member,
        series=frozenset(str(one.SeriesInstanceUID) for one in header.value("ReferencedSeriesSequence") or []),
        sources=frozenset(_sources([*per_frame, *shared])),
        labels=labels,
        frames=tuple(frames),
        rows=rows,
        columns=columns,
        fractional=fractional,
        start=header.plain_pixels(pixels if fractional else (pixels + 7) // 8),
    )


def _frame(groups: Any, shared: Any) -> Frame:
    def first(name: str, tag: str) -> Any:
        found = groups.get(name) or shared.get(name)
        if not found or tag not in found[0]:
            raise MemberFault(f"has a frame without {tag}", "export it again")
        return found[0].get(tag)

    position = first("PlanePositionSequence", "ImagePositionPatient")
    orientation = first("PlaneOrientationSequence", "ImageOrientationPatient")
    return Frame(
        segment=int(first("SegmentIdentificationSequence", "ReferencedSegmentNumber")),
        position=numbers(position, 3, "ImagePositionPatient"),
        orientation=numbers(orientation, 6, "ImageOrientationPatient"),
        spacing=numbers(first("PixelMeasuresSequence", "PixelSpacing"), 2, "PixelSpacing"),
    )


def _label(segment: Any) -> str:
    label = str(segment.get("SegmentLabel") or "").strip()
    if not label.isprintable() or not 1 <= len(label) <= MAX_LABEL:
        raise MemberFault(f"has a segment without a usable SegmentLabel: {label[:40]!r}", "name every segment")
    return label


def _sources(groups: list[Any]) -> Iterator[str]:
    for group in groups:
        for derivation in group.get("DerivationImageSequence") or []:
            for source in derivation.get("SourceImageSequence") or []:
                yield str(source.ReferencedSOPInstanceUID)


def _fractional(header: Header) -> int | None:
    kind, bits = header.text("SegmentationType"), header.count("BitsAllocated")
    if (kind, bits) == ("BINARY", 1):
        return None
    largest = header.count("MaximumFractionalValue", 255)
    if (kind, bits) == ("FRACTIONAL", 8) and 1 <= largest <= 255:
        return largest
    raise MemberFault(f"is {kind[:20] or 'of no type'} with {bits} bits a pixel", "export it as BINARY")


def numbers_on(grid: Grid, segmentation: Segmentation) -> dict[int, list[tuple[int, int]]]:
    """By the numbers of slices: segment and frame of what lies there, in the order of the segments.

    Raises:
        MemberFault: a frame does not lie on the grid; nothing is resampled.
    """
    first = grid.slices[0]
    if (segmentation.rows, segmentation.columns) != (first.rows, first.columns):
        mine, theirs = f"{segmentation.columns} x {segmentation.rows}", f"{first.columns} x {first.rows}"
        raise MemberFault(f"has frames of {mine}, its series of {theirs} pixels", "export it on the grid of its series")
    placed: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for number, frame in enumerate(segmentation.frames):
        same = np.allclose(
            [*frame.orientation, *frame.spacing], [*first.orientation, *first.spacing], rtol=0, atol=DIRECTION
        )
        place = grid.place_of(frame.position) if same else None
        if place is None:
            what = "lies on no slice of its series" if same else "is not oriented or spaced as its series"
            raise MemberFault(f"has a frame (number {number + 1}) that {what}", "export it on the grid of its series")
        if frame.segment in placed[place]:
            raise MemberFault(f"has segment {frame.segment} twice in one place", "export it again")
        placed[place][frame.segment] = number
    return {place: sorted(there.items()) for place, there in placed.items()}


@dataclass(frozen=True)
class DicomLabel:
    """A segmentation as the `.nii.gz` that is stored; `values` of the classes are by their labels."""

    segmentation: Segmentation
    grid: Grid
    placed: Mapping[int, list[tuple[int, int]]]
    values: Mapping[str, int]

    @property
    def path(self) -> str:
        """The SEG file."""
        return self.segmentation.member.path

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Write the label, slice by slice; where segments overlap the later number lies above."""
        volume = Volume(self.grid.shape, np.dtype("<u1"), self.grid.affine)
        volume.check(archive.limits)
        came = target.with_name(target.name + ".dcm")
        seen = _Seen()
        try:
            archive.extract(self.segmentation.member, came)
            with came.open("rb") as file:
                extracted = pack(target, volume, self._planes(file, seen))
        finally:
            came.unlink(missing_ok=True)
        notes = []
        if self.segmentation.fractional:
            notes.append("is FRACTIONAL: what is inside by half or more was taken")
        if seen.hidden:
            notes.append(f"has segments over each other ({seen.hidden / seen.drawn:.1%} of what is segmented)")
        return Extracted(extracted.size, extracted.sha256, tuple(notes))

    def _planes(self, file: IO[bytes], seen: _Seen) -> Iterator[bytes]:
        one = self.segmentation
        for place in range(len(self.grid.slices)):
            plane = np.zeros(one.rows * one.columns, dtype=np.uint8)
            for segment, frame in self.placed.get(place, ()):
                value = self.values[one.labels[segment]]
                inside = self._inside(file, frame)
                seen.hidden += int(np.count_nonzero(inside & (plane != 0) & (plane != value)))
                plane[inside] = value
            seen.drawn += int(np.count_nonzero(plane))
            yield plane.tobytes()

    def _inside(self, file: IO[bytes], frame: int) -> NDArray[np.bool_]:
        """Which pixels of a frame are inside of its segment; frames of bits need not begin with a byte."""
        one = self.segmentation
        pixels = one.rows * one.columns
        if one.fractional:
            file.seek(one.start + frame * pixels)
            parts = np.frombuffer(file.read(pixels), np.uint8)
            return parts.astype(np.uint16) * 2 >= one.fractional
        byte, bit = divmod(frame * pixels, 8)
        file.seek(one.start + byte)
        packed = np.frombuffer(file.read((bit + pixels + 7) // 8), np.uint8)
        return np.unpackbits(packed, bitorder="little")[bit : bit + pixels].astype(bool)


@dataclass
class _Seen:
    """Voxels that were drawn, and those where one class hid another."""

    drawn: int = 0
    hidden: int = 0
