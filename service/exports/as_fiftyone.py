"""Samples for FiftyOne: a zip of a folder that `fo.Dataset.from_dir(…, fo.types.FiftyOneDataset)` loads.

Images are in `data/`, masks as PNG with the dataset's own values in `fields/`, decisions are tags. `metadata.json`
names no version of FiftyOne, so that it takes the plain form of the format and finds the types of the fields itself.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

from service.db.exports import Line
from service.exports.drain import zipped
from service.exports.drawn import class_name
from service.exports.wanted import Wanted

SAMPLES, METADATA, IMAGES, FIELDS = "samples.json", "metadata.json", "data", "fields"


def write(wanted: Wanted) -> Iterator[bytes]:
    """The zip; the samples are gone through twice, since what is said of them is one member."""
    return zipped(_members(wanted))


def _members(wanted: Wanted) -> Iterator[tuple[str, Iterable[bytes]]]:
    targets = {str(value): class_name(value) for value in wanted.mask_values if value}
    info = {"job_id": wanted.job_id, "mask_targets": targets}
    yield METADATA, (json.dumps({"name": wanted.job_id, "media_type": "image", "info": info}).encode(),)
    yield SAMPLES, _samples(wanted)
    for _, sample, _ in wanted.lines():
        yield f"{IMAGES}/{wanted.picture_name(sample)}", (wanted.picture(sample),)
        for source, mask in wanted.masks(sample):
            sink = io.BytesIO()
            Image.fromarray(mask).save(sink, "PNG")
            yield f"{FIELDS}/{source}/{sample.name}.png", (sink.getvalue(),)


def _samples(wanted: Wanted) -> Iterator[bytes]:
    yield b'{"samples": ['
    for number, line in enumerate(wanted.lines()):
        yield f"{',' if number else ''}\n{json.dumps(_sample(wanted, line), ensure_ascii=False)}".encode()
    yield b"\n]}\n"


def _sample(wanted: Wanted, line: Line) -> dict[str, Any]:
    believed, sample, review = line
    decision = review.decision if review else None
    masks = {
        str(source): {"_cls": "Segmentation", "mask_path": f"{FIELDS}/{source}/{sample.name}.png"}
        for source, _ in wanted.masks(sample)
    }
    return {
        "filepath": f"{IMAGES}/{wanted.picture_name(sample)}",
        "tags": [decision] if decision else [],
        "sample": sample.name,
        "mask_sha256": sample.mask_sha256,
        "revision": review.revision if review else 0,
        "rank": believed.rank,
        "score": believed.score,
        "confidence": believed.confidence,
        "reason": believed.reason or "",
        "reason_kind": believed.reason_kind or "",
        "note": review.note if review else "",
        **masks,
    }
