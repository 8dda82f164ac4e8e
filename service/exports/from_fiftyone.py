"""What somebody decided and drew in FiftyOne: its own export, as zip or as the `samples.json` in it.

Tags decide; the fields `label`, `prediction` and `correction` are masks, in files of the zip or in the JSON itself.
"""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from service.datasets.archive import Archive, Member, MemberFault
from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid
from service.exports.as_fiftyone import SAMPLES
from service.exports.drawn import EMPTY, Area, Drawn, said
from service.exports.kinds import Source
from service.exports.members import ZIP, json_of
from service.exports.rows import unreadable
from service.reviews.decisions import Decision

HINT = "export it with dataset_type=fo.types.FiftyOneDataset, and send the zip of that folder"
FACTS = ("sample", "mask_sha256", "revision", "note")
MASKS = {str(Source.LABEL): str(Source.LABEL), str(Source.PREDICTION): str(Source.PREDICTION), "correction": ""}
ITEM = 8  # bytes of a value in memory, at most
Fetch = Callable[[str], bytes]


def read(file: IO[bytes], limits: ImportLimits) -> list[Drawn]:
    """The samples.

    Raises:
        Invalid: it is no such file; names every sample that cannot be used.
    """
    fetch = _fetch(file, limits)
    parsed = json_of(file, limits, SAMPLES, HINT)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("samples"), list):
        raise Invalid("The file cannot be read.", [unreadable("has no list of samples", HINT)])
    faults: list[FieldError] = []
    drawn: list[Drawn] = []
    for at, entry in enumerate(parsed["samples"]):
        place = f"samples[{at}]"
        try:
            one = _drawn(place, entry, fetch, faults)
        except ValueError as error:
            faults.append(FieldError(file=place, reason=str(error), hint=HINT))
        else:
            drawn += [one] if one is not None else []
    if faults:
        raise Invalid(f"{len(faults)} samples cannot be used; nothing was changed.", faults[:1000])
    return drawn


def _drawn(place: str, entry: Any, fetch: Fetch, faults: list[FieldError]) -> Drawn | None:
    if not isinstance(entry, dict):
        raise ValueError("is no sample")
    facts = {name: entry.get(name) for name in FACTS}
    tags = entry.get("tags") or []
    if not isinstance(tags, list):
        raise ValueError("has tags that are no list")
    decided = sorted({str(tag) for tag in tags} & {*Decision, EMPTY})
    if len(decided) > 1:
        raise ValueError(f"has the tags {' and '.join(decided)}: keep one of them")
    groups = {}
    for field, source in MASKS.items():
        mask = entry.get(field)
        if mask is None:
            continue
        if not isinstance(mask, dict):
            raise ValueError(f"has a field {field} that is no Segmentation")
        if mask.get("mask") is not None or mask.get("mask_path") is not None:
            groups[source] = [Area(None, partial(_values, mask, fetch))]
    return said(place, facts | {"decision": decided[0] if decided else None}, groups, faults)


def _values(given: Mapping[str, Any], fetch: Fetch, height: int, width: int) -> NDArray[Any]:
    """The values of a Segmentation, (H, W); raises `ValueError`."""
    if given.get("mask") is not None:
        return _inline(given["mask"], height, width)
    content = fetch(str(given["mask_path"]))
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise ValueError(f"has a mask of {image.height} x {image.width} pixels, not {height} x {width}")
            if image.mode not in {"1", "L", "P", "I;16", "I"}:
                raise ValueError(f"has a mask in the colours {image.mode}: classes are numbers")
            return np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"has a mask that is no PNG: {error}") from error


def _inline(given: Any, height: int, width: int) -> NDArray[Any]:
    """An array as FiftyOne keeps it in its database: what `numpy.save` writes, in zlib, in base64."""
    binary = given.get("$binary") if isinstance(given, dict) else given
    text = binary.get("base64") if isinstance(binary, dict) else binary
    try:
        unpacking = zlib.decompressobj()
        most = height * width * ITEM + npy.MAGIC_LEN + 10_000
        plain = unpacking.decompress(base64.b64decode(str(text), validate=True), most)
        source = io.BytesIO(plain)
        if npy.read_magic(source) != (1, 0):
            raise ValueError("its numpy header is of another version")
        shape, columns_first, kind = npy.read_array_header_1_0(source)
        if shape != (height, width) or kind.kind not in "bui" or kind.itemsize > ITEM:
            raise ValueError(f"it has the shape {shape} and numbers of {kind}, not {(height, width)} and whole ones")
        values = np.frombuffer(plain, kind, count=height * width, offset=source.tell())
        return values.reshape(shape, order="F" if columns_first else "C")
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"has a mask that cannot be read: {error}") from error


def _fetch(file: IO[bytes], limits: ImportLimits) -> Fetch:
    """What gives the files that the samples name, by their paths beside `samples.json`."""
    head = file.read(len(ZIP))
    file.seek(0)
    archive = Archive(file, limits) if head == ZIP else None
    members: dict[str, Member] = {member.path: member for member in archive.members} if archive else {}
    root = next((PurePosixPath(path).parent for path in members if PurePosixPath(path).name == SAMPLES), None)

    def fetch(path: str) -> bytes:
        member = members.get(str(root / path)) if root is not None else None
        if archive is None or member is None:
            raise ValueError(
                f"has its mask in {path[:300]!r}, which is not in the file: send the zip of the whole export"
            )
        try:
            return b"".join(archive.stream(member))
        except MemberFault as error:
            raise ValueError(f"has a mask that cannot be unpacked: {error.reason}") from error

    return fetch
