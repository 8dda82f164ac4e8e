"""MetaImage volumes (`.mha`), converted to `.nii.gz` without trusting what their headers say.

A header of lines `Key = value` is followed by the voxels, packed by zlib or not. The key that ends it may name another
file to read them from, which here would be one of the server's: only `LOCAL`, this very file, is read.
The format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from service.datasets.archive import CHUNK, Archive, Extracted, Member, MemberFault
from service.datasets.kinds import METAIMAGE
from service.datasets.limits import ImportLimits
from service.datasets.packing import LPS_TO_RAS, Volume, pack

MAX_HEADER = 1 << 16  # bytes
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
SAVE_AGAIN = "save it again as one .mha file, or as .nii.gz"


@dataclass(frozen=True)
class MetaImage:
    """A `.mha` file of the archive, as the `.nii.gz` that is stored."""

    member: Member

    @property
    def path(self) -> str:
        """As it is called in the archive."""
        return self.member.path

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Convert it; raises `MemberFault` where it is not what its header says, or larger than the limits."""
        came = target.with_name(target.name + METAIMAGE)
        try:
            archive.extract(self.member, came)
            with came.open("rb") as file:
                header = _read_header(file)
                volume = _volume(header, archive.limits)
                packed = _truth(header, "CompressedData")
                stored = np.dtype((">" if _most_significant_first(header) else "<") + TYPES[header["ElementType"]])
                voxels = _exactly(_unpacked(file) if packed else _chunks(file), volume.size)
                return pack(target, volume, _in_order(voxels, stored))
        finally:
            came.unlink(missing_ok=True)


def _read_header(file: IO[bytes]) -> dict[str, str]:
    """The keys up to the one after which the voxels begin."""
    header: dict[str, str] = {}
    left = MAX_HEADER
    while line := file.readline(left):
        left -= len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        key, value = key.strip(), value.strip()
        if not (equals and line.endswith(b"\n") and key and (key + value).isprintable()):
            break
        if key in header:
            raise MemberFault(f"says {key} twice in its header", SAVE_AGAIN)
        header[key] = value
        if key == "ElementDataFile":
            if value != "LOCAL":
                raise MemberFault("has its voxels in another file", SAVE_AGAIN)
            return header
    raise MemberFault("is not a MetaImage file", "convert it to .nii.gz, or leave it out")


def _volume(header: dict[str, str], limits: ImportLimits) -> Volume:
    """What the voxels are and where they lie, once it is known that they may be read."""
    if header.get("ObjectType", "Image") != "Image":
        raise MemberFault("is a MetaIO object, but not an image", "leave it out")
    if header.get("NDims") != "3":
        raise MemberFault(f"has {header.get('NDims', 'no')} axes, not three", "save each channel or time on its own")
    if header.get("ElementNumberOfChannels", "1") != "1":
        raise MemberFault(f"has {header['ElementNumberOfChannels']} channels", "save each as a volume of its own")
    if not _truth(header, "BinaryData", default=True):
        raise MemberFault("has its voxels as text", SAVE_AGAIN)
    if header.get("HeaderSize", "0") != "0":
        raise MemberFault("says in its header where another header ends", SAVE_AGAIN)
    kind = header.get("ElementType")
    if kind not in TYPES:
        raise MemberFault(f"has voxels of type {kind}", f"one of {', '.join(TYPES)} is needed")
    sizes = _numbers(header, ("DimSize",), 3)
    if not all(size == int(size) and size >= 1 for size in sizes):
        raise MemberFault(f"has the DimSize {header['DimSize']}", SAVE_AGAIN)
    x, y, z = map(int, sizes)
    volume = Volume((x, y, z), np.dtype("<" + TYPES[kind]), _affine(header))
    volume.check(limits)
    return volume


def _affine(header: dict[str, str]) -> NDArray[np.float64]:
    """From voxel numbers to millimetres in RAS+, which NIfTI counts in; MetaImage counts in LPS+."""
    axes = np.array(_numbers(header, ("TransformMatrix", "Rotation", "Orientation"), 9, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    columns = axes.reshape(3, 3).T  # the file tells one axis of the volume after the other
    if not np.allclose(columns.T @ columns, np.eye(3), atol=1e-3):
        raise MemberFault("has axes that are not perpendicular and of length 1", "write its TransformMatrix anew")
    spacing = np.array(_numbers(header, ("ElementSpacing", "ElementSize"), 3, (1, 1, 1)))
    if not (spacing > 0).all():
        raise MemberFault("has voxels without extent", "write its ElementSpacing anew, in mm")
    affine = np.eye(4)
    affine[:3, :3] = columns * spacing
    affine[:3, 3] = _numbers(header, ("Offset", "Position", "Origin"), 3, (0, 0, 0))
    return LPS_TO_RAS @ affine


def _numbers(
    header: dict[str, str], keys: tuple[str, ...], count: int, default: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    """The numbers of the first key that is there; the others are older names of it."""
    key = next((key for key in keys if key in header), None)
    if key is None:
        if default is None:
            raise MemberFault(f"has no {keys[0]} in its header", SAVE_AGAIN)
        return default
    try:
        numbers = tuple(map(float, header[key].split()))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise MemberFault(f"has {key} = {header[key][:80]} in its header", f"{count} numbers are needed")
    return numbers


def _truth(header: dict[str, str], key: str, *, default: bool = False) -> bool:
    value = header.get(key, str(default)).lower()
    if value not in {"true", "false"}:
        raise MemberFault(f"has {key} = {value[:80]} in its header", "True or False is needed")
    return value == "true"


def _most_significant_first(header: dict[str, str]) -> bool:
    return _truth(header, "BinaryDataByteOrderMSB" if "BinaryDataByteOrderMSB" in header else "ElementByteOrderMSB")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """What zlib packed, at most CHUNK bytes at a time however densely it is packed."""
    unpacker = zlib.decompressobj(wbits=47)  # zlib's own frame or gzip's, as ITK reads it
    try:
        for came in _chunks(file):
            some = came
            while some and not unpacker.eof:
                yield unpacker.decompress(some, CHUNK)
                some = unpacker.unconsumed_tail
        if not unpacker.eof:
            raise MemberFault("has voxels that end too early", "check that it is complete")
    except zlib.error as error:
        raise MemberFault(f"has voxels that cannot be unpacked: {error}", "check that it is complete") from error


def _exactly(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The chunks, as long as they may be voxels."""
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if seen > size:
            break
        yield chunk
    if seen != size:
        found = "more" if seen > size else str(seen)
        raise MemberFault(f"has {found} bytes of voxels, not {size} as its header says", "check that it is complete")


def _in_order(chunks: Iterator[bytes], stored: np.dtype[np.generic]) -> Iterator[bytes]:
    """The same numbers with the least significant byte first."""
    if stored.itemsize == 1 or stored.str.startswith("<"):
        yield from chunks
        return
    rest = b""
    for chunk in chunks:
        some = rest + chunk
        whole = len(some) - len(some) % stored.itemsize
        yield np.frombuffer(some[:whole], stored).byteswap().tobytes()
        rest = some[whole:]
