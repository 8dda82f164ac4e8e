"""What somebody decided and drew in CVAT: its "CVAT for images 1.1", as zip or as the XML in it.

The XML is read as a stream by expat, and nothing of it is kept but what is used. A document type is refused, since
entities live there.
"""

from __future__ import annotations

from functools import partial
from typing import IO
from xml.parsers import expat

import numpy as np

from service import rle
from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid
from service.exports.as_cvat import PREDICTED, TAG
from service.exports.drawn import Area, Bools, Drawn, class_value, said
from service.exports.kinds import Source
from service.exports.members import chunks
from service.exports.rows import unreadable

MAX_TEXT = 10_000
HINT = "export the task as CVAT for images 1.1, and send the zip or its annotations.xml"
SHAPES = {"box", "ellipse", "polygon", "polyline", "points", "cuboid", "skeleton"}


def read(file: IO[bytes], limits: ImportLimits) -> list[Drawn]:
    """The images that somebody has decided about or that have masks.

    Raises:
        Invalid: it is no such file; names every image that cannot be used.
    """
    found = _Reading()
    try:
        for chunk in chunks(file, limits, "annotations.xml", HINT):
            found.parser.Parse(chunk, False)
        found.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Invalid("The file cannot be read.", [unreadable(f"is no XML: {error}", HINT)]) from error
    if found.root != "annotations":
        raise Invalid("The file cannot be read.", [unreadable("has no annotations of CVAT", HINT)])
    if found.faults:
        raise Invalid(f"{len(found.faults)} entries cannot be used; nothing was changed.", found.faults[:1000])
    return found.drawn


class _Reading:
    """The images as their elements come; one at a time is open."""

    def __init__(self) -> None:
        self.drawn: list[Drawn] = []
        self.faults: list[FieldError] = []
        self.root: str | None = None
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self._place: str | None = None  # of the image that is open
        self._facts: list[dict[str, str]] = []  # of its tags
        self._groups: dict[str, list[Area]] = {}
        self._in_tag = False
        self._attribute: str | None = None
        self._said: list[str] = []

    def _doctype(self, *_: object) -> None:
        raise Invalid("The file cannot be read.", [unreadable("declares a document type", HINT)])

    def _start(self, name: str, given: dict[str, str]) -> None:
        self.root = self.root or name
        if name == "track":
            self._refuse("track", "is of a video", "export it as CVAT for images 1.1")
        elif name == "image":
            self._place = f"image {given.get('name', given.get('id', '?'))[:300]!r}"
            self._facts, self._groups = [], {}
        elif self._place is None:
            return
        elif name == "tag" and given.get("label") == TAG:
            self._facts.append({})
            self._in_tag = True
        elif name == "attribute" and self._in_tag:
            self._attribute, self._said = given.get("name", ""), []
        elif name == "mask":
            self._mask(given)
        elif name in SHAPES:
            self._refuse(self._place, f"has a {name}", "only masks come back: draw it with the brush")

    def _text(self, text: str) -> None:
        if self._attribute is not None and sum(map(len, self._said)) < MAX_TEXT:
            self._said.append(text)

    def _end(self, name: str) -> None:
        if name == "attribute" and self._attribute is not None:
            self._facts[-1][self._attribute] = "".join(self._said)
            self._attribute = None
        elif name == "tag":
            self._in_tag = False
        elif name == "image" and self._place is not None:
            self._close(self._place)
            self._place = None

    def _close(self, place: str) -> None:
        if not self._facts and not self._groups:
            return  # nobody said anything here
        if len(self._facts) != 1:
            self._refuse(place, f"has {len(self._facts)} tags {TAG!r}", "keep the one of the export")
        elif (one := said(place, dict(self._facts[0]), self._groups, self.faults)) is not None:
            self.drawn.append(one)

    def _mask(self, given: dict[str, str]) -> None:
        assert self._place is not None  # noqa: S101 - an image is open
        label = given.get("label", "")
        source = Source.PREDICTION if label.endswith(PREDICTED) else Source.LABEL
        try:
            value = class_value(label.removesuffix(PREDICTED))
            box = (int(given["left"]), int(given["top"]), int(given["width"]), int(given["height"]))
        except (KeyError, ValueError) as error:
            self._refuse(self._place, f"has a mask that cannot be read: {error}", HINT)
            return
        self._groups.setdefault(source, []).append(Area(value, partial(_pixels, given.get("rle", ""), box)))

    def _refuse(self, place: str, reason: str, hint: str) -> None:
        self.faults.append(FieldError(file=place, reason=reason, hint=hint))


def _pixels(text: str, box: tuple[int, int, int, int], height: int, width: int) -> Bools:
    """The pixels of a mask, (H, W), of its runs row by row in its box."""
    left, top, across, down = box
    if min(left, top) < 0 or min(across, down) < 1 or left + across > width or top + down > height:
        raise ValueError(f"a mask's box {box} is not within {width} x {height} pixels")
    where = rle.fill([int(run) for run in text.split(",")], across, down).T
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + down, left : left + across] = where
    return mask
