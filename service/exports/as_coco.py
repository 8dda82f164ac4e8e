"""Labels and predictions as COCO: one JSON with images, categories, and one annotation for each class of a mask.

Each image has the name of its sample and the sha256 of its label, each annotation its `source`. Read back, annotations
of another source (or none) are a new mask; those of a source that differ from what was exported are, too. An image
without any annotation says nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service import imaging, rle
from service.db.exports import Line
from service.db.tables import Sample
from service.errors import FieldError, Invalid
from service.exports.kinds import Source
from service.exports.rows import unreadable
from service.reviews.masks import ENDINGS
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore

Mask = NDArray[np.uint8]
Kind = TypeVar("Kind", bound=BaseModel)
MAX_BYTES = 64 << 20
HINT = "send a COCO file with images, categories and annotations, as the export writes it"


class _Image(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: int
    sample: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")
    mask_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    revision: int | None = Field(default=None, ge=0, lt=10**9)


class _Runs(BaseModel):
    size: tuple[int, int]
    counts: str | list[int]


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    image_id: int
    category_id: int
    segmentation: _Runs
    source: str | None = None


class Drawn(BaseModel):
    """The annotations of one image."""

    place: str
    sample: str
    mask_sha256: str
    revision: int | None
    groups: dict[str, list[_Annotation]]  # by source; "" is a new mask


def read_mask(store: ObjectStore, sample: Sample, job_id: str, mask_values: list[int], source: Source) -> Mask | None:
    """A label or prediction of a sample, (H, W), in the dataset's own values; None: there is no prediction."""
    if source is Source.LABEL:
        return imaging.decode_mask(io.BytesIO(store.get(keys.blob(sample.dataset_id, sample.mask_sha256))))
    try:
        classes = imaging.decode_mask(io.BytesIO(store.get(keys.prediction(job_id, sample.ordinal))))
    except ObjectMissing:
        return None
    return np.array(mask_values)[classes].astype(np.uint8)


def write(
    store: ObjectStore,
    job_id: str,
    mask_values: list[int],
    source: Source,
    batches: Callable[[], Iterable[list[Line]]],
) -> Iterator[bytes]:
    """The file; the samples are gone through twice, since images come before annotations."""
    categories = [{"id": value, "name": f"class-{value}"} for value in mask_values if value]
    head = {"info": {"description": job_id, "job_id": job_id}, "categories": categories}
    yield f"{json.dumps(head)[:-1]}, ".encode()
    images = (_image(store, line) for batch in batches() for line in batch)
    yield from _array("images", images)
    yield b", "
    annotations = (
        one
        for batch in batches()
        for line in batch
        for each in source.each
        for one in _annotations(read_mask(store, line[1], job_id, mask_values, each), line, each)
    )
    numbered = ({"id": number, **one} for number, one in enumerate(annotations, start=1))
    yield from _array("annotations", numbered)
    yield b"}"


def read(file: IO[bytes]) -> list[Drawn]:
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
        if (image := _checked(_Image, entry, f"images[{at}]", faults)) is not None:
            if image.id in drawn:
                faults.append(FieldError(file=f"images[{at}]", reason=f"has the id {image.id} of another"))
            about = image.model_dump(exclude={"id"})
            drawn[image.id] = Drawn(place=f"images[{at}]", groups={}, **about)
    for at, entry in enumerate(parsed["annotations"]):
        one = _checked(_Annotation, entry, f"annotations[{at}]", faults)
        if one is not None and one.image_id not in drawn:
            faults.append(
                FieldError(file=f"annotations[{at}]", reason=f"is of image {one.image_id}, which is not there")
            )
        elif one is not None:
            source = one.source if one.source in Source.BOTH.each else ""
            drawn[one.image_id].groups.setdefault(source or "", []).append(one)
    if faults:
        raise Invalid(f"{len(faults)} entries cannot be used; nothing was changed.", faults[:1000])
    return [one for one in drawn.values() if one.groups]


def painted(annotations: list[_Annotation], height: int, width: int, mask_values: list[int]) -> Mask:
    """The mask of annotations, (H, W); where they overlap the later one is on top.

    Raises:
        ValueError: one is of another size or class, or is no mask.
    """
    mask = np.zeros((height, width), np.uint8)
    for one in annotations:
        if one.category_id not in mask_values:
            raise ValueError(f"category {one.category_id} is none of the dataset's values")
        if one.segmentation.size != (height, width):
            raise ValueError(f"an annotation has the size {one.segmentation.size}, the image ({height}, {width})")
        counts = one.segmentation.counts
        runs = rle.unpack(counts) if isinstance(counts, str) else counts
        mask[rle.fill(runs, height, width)] = one.category_id
    return mask


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


def _annotations(mask: Mask | None, line: Line, source: Source) -> Iterator[dict[str, Any]]:
    if mask is None:
        return
    believed, sample, _ = line
    for value in np.unique(mask).tolist():
        if not value:
            continue
        where = mask == value
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
