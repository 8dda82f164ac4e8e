"""Samples for Label Studio: a zip with images, `tasks.json` and `config.xml`, the labelling interface they fit.

Each task has the label and the network's mask as two predictions, of which a person takes one, or draws anew; a choice
takes the decision. Images have URLs of the tool's own "local files" storage, unless another root is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from service import brush
from service.db.exports import Line
from service.exports.colours import colour
from service.exports.drain import zipped
from service.exports.drawn import EMPTY, class_name, classes
from service.exports.kinds import Source
from service.exports.wanted import Wanted
from service.reviews.decisions import Decision

TASKS, CONFIG, IMAGES = "tasks.json", "config.xml", "images"
LOCAL_FILES = "/data/local-files/?d="
IMAGE, MASK, DECISION, NOTE = "image", "mask", "decision", "note"  # names of the interface's parts
CHOICES = (Decision.ACCEPTED, Decision.FLAGGED, Decision.EXCLUDED, EMPTY)


def write(wanted: Wanted) -> Iterator[bytes]:
    """The zip; the samples are gone through twice, since the tasks are one member."""
    return zipped(_members(wanted))


def _members(wanted: Wanted) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield CONFIG, (config(wanted.mask_values).encode(),)
    yield TASKS, _tasks(wanted)
    for _, sample, _ in wanted.lines():
        yield f"{IMAGES}/{wanted.picture_name(sample)}", (wanted.picture(sample),)


def config(mask_values: list[int]) -> str:
    """The labelling interface: one brush for each class, a decision, a note."""
    brushes = "".join(
        f'    <Label value={quoteattr(class_name(value))} background="{colour(place, Source.LABEL)}"/>\n'
        for place, value in enumerate(value for value in mask_values if value)
    )
    choices = "".join(f'    <Choice value="{choice}"/>\n' for choice in CHOICES)
    return f"""<View>
  <Header value="$sample"/>
  <Text name="reason" value="$reason"/>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>
  <BrushLabels name="{MASK}" toName="{IMAGE}">
{brushes}  </BrushLabels>
  <Choices name="{DECISION}" toName="{IMAGE}" choice="single" showInline="true">
{choices}  </Choices>
  <TextArea name="{NOTE}" toName="{IMAGE}" rows="2" maxSubmissions="1" editable="true" placeholder="note"/>
</View>
"""


def _tasks(wanted: Wanted) -> Iterator[bytes]:
    yield b"["
    for number, line in enumerate(wanted.lines()):
        yield f"{',' if number else ''}\n{json.dumps(_task(wanted, line), ensure_ascii=False)}".encode()
    yield b"\n]\n"


def _task(wanted: Wanted, line: Line) -> dict[str, Any]:
    believed, sample, review = line
    root = wanted.image_root or f"{LOCAL_FILES}{wanted.job_id}/{IMAGES}/"
    decided = review.decision if review else None
    data = {
        "image": f"{root}{quote(wanted.picture_name(sample))}",
        "sample": sample.name,
        "mask_sha256": sample.mask_sha256,
        "revision": review.revision if review else 0,
        "rank": believed.rank,
        "score": believed.score,
        "confidence": believed.confidence,
        "reason": believed.reason or "no reason is known",
        "decision": decided,
        "note": review.note if review else "",
        "job": wanted.job_id,
    }
    size = {"original_width": sample.width, "original_height": sample.height, "image_rotation": 0}
    predictions = [
        {
            "model_version": source if source is Source.LABEL else wanted.job_id,
            "score": believed.score if source is Source.LABEL else believed.confidence,
            "result": [
                {
                    "id": f"{source}-{value}",
                    "type": "brushlabels",
                    "from_name": MASK,
                    "to_name": IMAGE,
                    **size,
                    "value": {"format": "rle", "rle": brush.encode(where), "brushlabels": [class_name(value)]},
                }
                for value, where in classes(mask)
            ],
        }
        for source, mask in wanted.masks(sample)
    ]
    return {"data": data, "predictions": predictions}
