"""Series of DICOM images as volumes: slices in the order of their places, on one grid, in the units that they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import Archive, Extracted, Member, MemberFault
from service.datasets.formats.dicom_files import Header, numbers
from service.datasets.packing import LPS_TO_RAS, Volume, pack

PLACE = 0.05  # mm: so far may a slice lie from where it should; files give places with few decimals
DIRECTION = 1e-4  # so much may the numbers of two orientations, or mm of two spacings, differ
STORED = (np.dtype("<i2"), np.dtype("<u2"), np.dtype("<i4"))


class SeriesFault(Exception):
    """A series that is no volume; says which file shows it, and why."""

    def __init__(self, member: Member, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.member, self.reason, self.hint = member, reason, hint


@dataclass(frozen=True)
class Slice:
    """An image of a series: where it lies (mm, LPS+), and where its pixels are in its file."""

    member: Member
    rows: int
    columns: int
    position: tuple[float, ...]  # of the middle of the first pixel
    orientation: tuple[float, ...]  # direction of rows, direction of columns
    spacing: tuple[float, ...]  # between rows, between columns
    stored: np.dtype[Any]
    bits: int
    slope: float
    intercept: float
    start: int

    def range(self) -> tuple[int, int]:
        """The lowest and highest number that may be stored."""
        signed = self.stored.kind == "i"
        return (-(1 << self.bits - 1), (1 << self.bits - 1) - 1) if signed else (0, (1 << self.bits) - 1)


def read_slice(member: Member, header: Header) -> Slice:
    """An image of one frame; raises `MemberFault` where it is no slice of a volume."""
    if header.count("NumberOfFrames", 1) != 1 or header.count("SamplesPerPixel", 1) != 1:
        raise MemberFault("has several frames or colours", "export each slice as a file of its own, in grey")
    if (shown := header.text("PhotometricInterpretation")) != "MONOCHROME2":
        raise MemberFault(f"is {shown[:40] or 'of no PhotometricInterpretation'}, not MONOCHROME2", "convert it")
    if "ModalityLUTSequence" in header.values:
        raise MemberFault("has its units in a table (ModalityLUTSequence)", "convert it to RescaleSlope and -Intercept")
    rows, columns = header.count("Rows"), header.count("Columns")
    if rows < 1 or columns < 1:
        raise MemberFault("has no rows or columns", "leave it out")
    allocated, bits = header.count("BitsAllocated"), header.count("BitsStored")
    if allocated not in (8, 16, 32) or not 1 <= bits <= allocated or header.count("HighBit", bits - 1) != bits - 1:
        raise MemberFault(f"has {bits} of {allocated} bits a pixel", "export it with 8, 16 or 32")
    stored = np.dtype(f"<{'i' if header.count('PixelRepresentation', 0) else 'u'}{allocated // 8}")
    return Slice(
        member=member,
        rows=rows,
        columns=columns,
        position=numbers(header.value("ImagePositionPatient"), 3, "ImagePositionPatient"),
        orientation=numbers(header.value("ImageOrientationPatient"), 6, "ImageOrientationPatient"),
        spacing=numbers(header.value("PixelSpacing"), 2, "PixelSpacing"),
        stored=stored,
        bits=bits,
        slope=header.number("RescaleSlope", 1.0),
        intercept=header.number("RescaleIntercept", 0.0),
        start=header.plain_pixels(rows * columns * stored.itemsize),
    )


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a series lie; `slices` in the order of their places along the normal."""

    slices: tuple[Slice, ...]
    step: NDArray[np.float64]  # mm from slice to slice, LPS+

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices: the order of the axes in the stored file."""
        return self.slices[0].columns, self.slices[0].rows, len(self.slices)

    @property
    def affine(self) -> NDArray[np.float64]:
        """4 x 4, from voxel numbers to mm in RAS+."""
        first = self.slices[0]
        affine = np.eye(4)
        affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing[1]
        affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
        affine[:3, 2] = self.step
        affine[:3, 3] = first.position
        return LPS_TO_RAS @ affine

    def place_of(self, position: Sequence[float]) -> int | None:
        """The number of the slice that begins at a position; None where none does."""
        first = np.array(self.slices[0].position)
        number = round(float((np.array(position) - first) @ self.step / (self.step @ self.step)))
        apart = np.linalg.norm(np.array(position) - (first + number * self.step))
        return number if apart <= PLACE and 0 <= number < len(self.slices) else None


def read_grid(slices: Sequence[Slice]) -> Grid:
    """The grid that all slices lie on.

    Raises:
        SeriesFault: they lie on none.
    """
    first = min(slices, key=lambda one: one.member.path)
    if len(slices) < 2:
        raise SeriesFault(first.member, "is the only slice of its series", "a volume has several: add the others")
    rows, columns = np.array(first.orientation).reshape(2, 3)
    if not np.allclose([rows @ rows, columns @ columns, rows @ columns], [1, 1, 0], atol=1e-3):
        raise SeriesFault(first.member, "has an ImageOrientationPatient that is no orientation", "export it again")
    if min(first.spacing) <= 0:
        raise SeriesFault(first.member, "has pixels without extent", "export it again")
    for one in slices:
        if reason := _differs(one, first):
            raise SeriesFault(one.member, f"{reason} than {first.member.path} of its series", "split the series")
    normal = np.cross(rows, columns)
    ordered = sorted(slices, key=lambda one: (float(np.array(one.position) @ normal), one.member.path))
    positions = np.array([one.position for one in ordered])
    _check_distances(ordered, positions @ normal)
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    apart = np.linalg.norm(positions - positions[0] - np.arange(len(ordered))[:, None] * step, axis=1)
    if apart.max() > PLACE:
        odd = ordered[int(apart.argmax())].member
        raise SeriesFault(odd, f"lies {apart.max():.2g} mm off the line of its series", "resample the series")
    tilt = float(np.linalg.norm(step - (step @ normal) * normal)) * (len(ordered) - 1)
    if tilt > PLACE:
        reason = f"is of a series whose slices are shifted against each other, by {tilt:.2g} mm in all (gantry tilt)"
        raise SeriesFault(first.member, reason, "resample the series to upright slices")
    return Grid(tuple(ordered), step)


def _differs(one: Slice, first: Slice) -> str | None:
    if (one.rows, one.columns) != (first.rows, first.columns):
        return "has other rows or columns"
    if not np.allclose(one.orientation, first.orientation, rtol=0, atol=DIRECTION):
        return "is oriented otherwise"
    if not np.allclose(one.spacing, first.spacing, rtol=0, atol=DIRECTION):
        return "has pixels of other extent"
    return None


def _check_distances(ordered: Sequence[Slice], along: NDArray[np.float64]) -> None:
    """Slices that lie in one place, or are missing, by their places along the normal (mm)."""
    distances = np.diff(along)
    usual = float(np.median(distances))
    for before, after, distance in zip(ordered, ordered[1:], distances.tolist(), strict=False):
        if distance < PLACE:
            reason = f"lies where {before.member.path} lies"
            raise SeriesFault(after.member, reason, "keep one time or phase of the series")
        if abs(distance - usual) > max(PLACE, usual / 100):
            reason = f"lies {distance:.4g} mm after {before.member.path}, the others {usual:.4g} mm after each other"
            raise SeriesFault(after.member, reason, "add the slices that are missing, or resample the series")


@dataclass(frozen=True)
class DicomSeries:
    """A series as the `.nii.gz` that is stored, in Hounsfield units or what its slopes and intercepts say."""

    grid: Grid

    @property
    def path(self) -> str:
        """Its first slice, and of how many."""
        return f"{self.grid.slices[0].member.path} (series of {len(self.grid.slices)})"

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Write the volume, one slice after the other."""
        volume = Volume(self.grid.shape, self._dtype(), self.grid.affine)
        volume.check(archive.limits)
        came = target.with_name(target.name + ".dcm")
        try:
            return pack(target, volume, self._planes(archive, came, volume.dtype))
        finally:
            came.unlink(missing_ok=True)

    def _dtype(self) -> np.dtype[Any]:
        """The smallest whole numbers that hold what may come; floats where slopes make parts of it."""
        slices = self.grid.slices
        if all(one.slope == 1 and one.intercept == int(one.intercept) for one in slices):
            low = min(one.range()[0] + one.intercept for one in slices)
            high = max(one.range()[1] + one.intercept for one in slices)
            for dtype in STORED:
                if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                    return dtype
        return np.dtype("<f4")

    def _planes(self, archive: Archive, came: Path, dtype: np.dtype[Any]) -> Iterator[bytes]:
        for one in self.grid.slices:
            archive.extract(one.member, came)
            pixels = np.fromfile(came, one.stored, one.rows * one.columns, offset=one.start)
            low, high = one.range()
            if pixels.min() < low or pixels.max() > high:
                raise MemberFault(f"has pixels beyond {one.bits} bits in {one.member.path}", "export it again")
            if dtype.kind == "f":
                yield (pixels * one.slope + one.intercept).astype(dtype).tobytes()
            else:
                yield (pixels.astype(np.int64) + int(one.intercept)).astype(dtype).tobytes()


def short_name(series_uid: str) -> str:
    """What a series is called that has no folder of its own; its UID cannot be read from it."""
    return "series-" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]
