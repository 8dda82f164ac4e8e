"""Labels and predictions as COCO: one JSON with images, categories, and one annotation for each class of a mask.

Each image has the name of its sample and the sha256 of its label, each annotation its `source`. Read back, annotations
of another source (or none) are a new mask; those of a source that differ from what was exported are, too. An image
without any annotation says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from service import rle
from service.datasets.limits import ImportLimits
from service.db.exports import Line
from service.errors import FieldError, Invalid
from service.exports.drawn import Area, Bools, Drawn, Mask, class_name, classes, said
from service.exports.kinds import Source
from service.exports.rows import unreadable
from service.exports.wanted import Wanted
from service.reviews.masks import ENDINGS
from workers.contract import keys
from workers.contract.store import ObjectStore

Kind = TypeVar("Kind", bound=BaseModel)
MAX_BYTES = 64 << 20
HINT = "send a COCO file with images, categories and annotations, as the export writes it"


class _Image(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int


class _Runs(BaseModel):
    size: tuple[int, int]
    counts: str | list[int]


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    image_id: int
    category_id: int
    segmentation: _Runs
    source: str | None = None


def write(wanted: Wanted) -> Iterator[bytes]:
    """The file; the samples are gone through twice, since images come before annotations."""
    categories = [{"id": value, "name": class_name(value)} for value in wanted.mask_values if value]
    head = {"info": {"description": wanted.job_id, "job_id": wanted.job_id}, "categories": categories}
    yield f"{json.dumps(head)[:-1]}, ".encode()
    yield from _array("images", (_image(wanted.store, line) for line in wanted.lines()))
    yield b", "
    annotations = (
        one
        for line in wanted.lines()
        for source, mask in wanted.masks(line[1])
        for one in _annotations(mask, line, source)
    )
    numbered = ({"id": number, **one} for number, one in enumerate(annotations, start=1))
    yield from _array("annotations", numbered)
    yield b"}"


def read(file: IO[bytes], _limits: ImportLimits) -> list[Drawn]:
    """The images that have annotations.

    Raises:
        Invalid: it is no such file; names every entry that cannot be used.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Invalid("The file is too large.", [unreadable(f"has more than {MAX_BYTES} bytes", "send it in parts")])
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Invalid("The file is no COCO.", [unreadable(f"is no JSON: {error}", HINT)]) from error
    if not isinstance(parsed, dict) or not all(isinstance(parsed.get(key), list) for key in ("images", "annotations")):
        raise Invalid("The file is no COCO.", [unreadable("has no lists images and annotations", HINT)])
    faults: list[FieldError] = []
    drawn: dict[int, Drawn] = {}
    for at, entry in enumerate(parsed["images"]):
        if (image := _checked(_Image, entry, f"images[{at}]", faults)) is None:
            continue
        if image.id in drawn:
            faults.append(FieldError(file=f"images[{at}]", reason=f"has the id {image.id} of another"))
        about = {name: entry.get(name) for name in ("sample", "mask_sha256", "revision")}
        if (one := said(f"images[{at}]", about, {}, faults)) is not None:
            drawn[image.id] = one
    for at, entry in enumerate(parsed["annotations"]):
        found = _checked(_Annotation, entry, f"annotations[{at}]", faults)
        if found is not None and found.image_id not in drawn:
            reason = f"is of image {found.image_id}, which is not there"
            faults.append(FieldError(file=f"annotations[{at}]", reason=reason))
        elif found is not None:
            source = found.source if found.source in Source.BOTH.each else ""
            area = Area(found.category_id, partial(_pixels, found.segmentation))
            drawn[found.image_id].groups.setdefault(source or "", []).append(area)
    if faults:
        raise Invalid(f"{len(faults)} entries cannot be used; nothing was changed.", faults[:1000])
    return [one for one in drawn.values() if one.groups]


def _pixels(runs: _Runs, height: int, width: int) -> Bools:
    if runs.size != (height, width):
        raise ValueError(f"an annotation has the size {runs.size}, the image ({height}, {width})")
    return rle.fill(rle.unpack(runs.counts) if isinstance(runs.counts, str) else runs.counts, height, width)


def _checked(kind: type[Kind], entry: Any, place: str, faults: list[FieldError]) -> Kind | None:
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        faults.append(FieldError(file=place, reason=reason, hint="masks as RLE; images with sample and mask_sha256"))
        return None


def _image(store: ObjectStore, line: Line) -> dict[str, Any]:
    believed, sample, review = line
    head = b"".join(store.read(keys.blob(sample.dataset_id, sample.image_sha256), 0, 4))
    ending = next((end for mark, end in ENDINGS.items() if head.startswith(mark)), ".png")
    return {
        "id": sample.ordinal + 1,
        "file_name": f"{sample.name}{ending}",
        "width": sample.width,
        "height": sample.height,
        "sample": sample.name,
        "mask_sha256": sample.mask_sha256,
        "confidence": believed.confidence,
        "sample_score": believed.score,
        "decision": review.decision if review else None,
        "revision": review.revision if review else 0,
    }


def _annotations(mask: Mask, line: Line, source: Source) -> Iterator[dict[str, Any]]:
    believed, sample, _ = line
    for value, where in classes(mask):
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        yield {
            "image_id": sample.ordinal + 1,
            "category_id": value,
            "segmentation": {"size": list(mask.shape), "counts": rle.encode(where)},
            "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            "area": int(where.sum()),
            "iscrowd": 0,
            "score": believed.confidence,
            "source": source,
        }


def _array(name: str, items: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    yield f'"{name}": ['.encode()
    for number, item in enumerate(items):
        yield f"{',' if number else ''}\n{json.dumps(item)}".encode()
    yield b"]"
