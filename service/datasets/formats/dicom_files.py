"""One DICOM file, read without trusting it: what is needed of its header, and where its pixels begin.

pydicom reads the header, through a file that ends where no honest header would go on; pixels are read here, and plain
ones only. Of a patient nothing is looked at: the tags below are all that is kept in memory.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from service.datasets.archive import Archive, Member, MemberFault
from service.datasets.kinds import DICOM_MAGIC

if TYPE_CHECKING:
    from pydicom import Dataset


MAX_HEADER = 8 << 20  # bytes; a segmentation of some thousand frames has one of 3 MB
MAX_ITEMS = 200_000  # of sequences; each takes more than a kilobyte once it is read
LARGEST = 1e9  # number that means anything here; what is no number is not below it
ITEM = b"\xfe\xff\x00\xe0"
PIXEL_DATA = b"\xe0\x7f\x10\x00"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PACKED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")  # JPEG and its kin, RLE: headers as EXPLICIT has them
MAX_META = 1 << 16  # bytes before the header proper
META_KINDS = {b"UL": 2, b"UI": 2, b"SH": 2, b"AE": 2, b"OB": 4, b"UR": 4}  # bytes of the length, by kind of value
TRANSFER_SYNTAX = 0x0010  # number of the element, in group 2
PLAIN_HINT = "unpack it, as with gdcmconv --raw or dcmdjpeg"
TAGS = (  # noqa: SIM905 - a line for each subject
    "SOPClassUID SOPInstanceUID SeriesInstanceUID Modality "
    "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation "
    "BitsAllocated BitsStored HighBit PixelRepresentation "
    "RescaleSlope RescaleIntercept ModalityLUTSequence "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing "
    "SegmentSequence SegmentationType MaximumFractionalValue ReferencedSeriesSequence "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()


@dataclass(frozen=True)
class Header:
    """What is needed of a header.

    Attributes:
        values: the tags above, as far as they are there.
        syntax: the transfer syntax.
        pixels: where the value of PixelData begins, and how many bytes it has; None where there is none.
    """

    values: Dataset
    syntax: str
    pixels: tuple[int, int] | None

    def value(self, tag: str) -> Any:
        """A value as pydicom gives it, None where it is not there; raises `MemberFault` where it cannot be read."""
        try:
            return self.values.get(tag)
        except Exception as error:  # values are decoded when they are asked for; as below
            raise MemberFault(f"has a {tag} that cannot be read", "export it again, or leave it out") from error

    def text(self, tag: str) -> str:
        """A value as text, "" where it is not there."""
        return str(self.value(tag) or "").strip()

    def number(self, tag: str, default: float | None = None) -> float:
        """A single number; raises `MemberFault` where it is none."""
        value = self.value(tag)
        return default if value is None and default is not None else numbers(value, 1, tag)[0]

    def count(self, tag: str, default: int | None = None) -> int:
        """A whole number from 0 on; raises `MemberFault` where it is none."""
        value = self.number(tag, default)
        if value < 0 or value != int(value):
            raise MemberFault(f"has the {tag} {value:g}", "export it again")
        return int(value)

    def plain_pixels(self, size: int) -> int:
        """Where `size` bytes of unpacked pixels begin; raises `MemberFault` where they are not there."""
        if self.syntax not in (IMPLICIT, EXPLICIT):
            raise MemberFault(f"has packed pixels (transfer syntax {self.syntax[:64]})", PLAIN_HINT)
        if self.pixels is None:
            raise MemberFault("has no PixelData", "export it again, or leave it out")
        start, length = self.pixels
        if not size <= length <= size + 1:  # one byte makes it even
            raise MemberFault(f"has {length} bytes of pixels, not {size}", "check that it is complete")
        return start


def is_dicom(archive: Archive, member: Member) -> bool:
    """Whether a member is a DICOM file, told from its content."""
    start, magic = DICOM_MAGIC
    return archive.peek(member, start + len(magic))[start:] == magic


def read_header(path: Path) -> Header:
    """The header of a DICOM file.

    Raises:
        MemberFault: it cannot be read.
    """
    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE  # what is used of it is checked where it is used
    with path.open("rb") as file:
        try:
            syntax = _transfer_syntax(file.read(MAX_META))
            if syntax not in (IMPLICIT, EXPLICIT) and not syntax.startswith(PACKED):
                raise MemberFault(f"is in the transfer syntax {syntax[:64]}", PLAIN_HINT)
            file.seek(0)
            guard = _Guard(file)
            values = pydicom.dcmread(guard, stop_before_pixels=True, specific_tags=TAGS)
            pixels = _pixels(file, path.stat().st_size, implicit=syntax == IMPLICIT)
        except MemberFault:
            raise
        except Exception as error:  # pydicom raises anything on hostile bytes; each becomes a fault
            raise MemberFault("is a DICOM file that cannot be read", "export it again, or leave it out") from error
    return Header(values, syntax, pixels)


def numbers(value: Any, count: int, what: str) -> tuple[float, ...]:
    """A value of `count` finite numbers; raises `MemberFault` where it is none."""
    try:
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = tuple(float(number) for number in several)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != count or not all(abs(number) <= LARGEST for number in found):
        raise MemberFault(f"has no usable {what}", "export it again, or leave it out")
    return found


def _transfer_syntax(head: bytes) -> str:
    """The transfer syntax, of which there is one; raises `MemberFault` where the beginning of the file is unusual.

    It is looked up before pydicom sees the file, since that unpacks a deflated one whole, however large it becomes.
    """
    at, before, syntax = DICOM_MAGIC[0] + len(DICOM_MAGIC[1]), -1, ""
    while head[at : at + 2] == b"\2\0":
        element, kind = int.from_bytes(head[at + 2 : at + 4], "little"), head[at + 4 : at + 6]
        if element <= before or kind not in META_KINDS:
            raise MemberFault("is a DICOM file with an unusual beginning", "export it again, or leave it out")
        size = META_KINDS[kind]
        start = at + (8 if size == 2 else 12)
        length = int.from_bytes(head[start - size : start], "little")
        if element == TRANSFER_SYNTAX:
            syntax = head[start : start + length].rstrip(b"\0 ").decode("latin-1")
        at, before = start + length, element
    if at > len(head):
        raise MemberFault("is a DICOM file with an unusual beginning", "export it again, or leave it out")
    return syntax


def _pixels(file: IO[bytes], size: int, *, implicit: bool) -> tuple[int, int] | None:
    """Where the value begins whose tag comes next, if that is PixelData, and its bytes as far as they are there."""
    head = file.read(8 if implicit else 12)
    if not head.startswith(PIXEL_DATA) or len(head) < (8 if implicit else 12):
        return None
    length = int.from_bytes(head[-4:], "little")
    start = file.tell()
    return start, min(length, size - start)


class _Guard(io.RawIOBase):
    """A file of which no more is read than an honest header has."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._left, self._items = MAX_HEADER, MAX_ITEMS

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        self._items -= data.count(ITEM)
        if self._left < 0 or self._items < 0:
            raise MemberFault("has a header without end", f"at most {MAX_HEADER} bytes and {MAX_ITEMS} items are read")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
