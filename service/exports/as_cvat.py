"""Samples for CVAT: a zip with images, `labels.json` for its task, and "CVAT for images 1.1" with every mask in place.

Each class is two labels of CVAT: `class-255` is the mask as it is labelled, `class-255 prediction` what the network
sees. What a person changes, or draws as `class-255`, is the new mask. A tag `sample` at each image says which label it
is, and takes the decision. Format: <https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/>.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from service.db.exports import Line
from service.exports.colours import colour
from service.exports.drain import zipped
from service.exports.drawn import EMPTY, UNDECIDED, Bools, class_name, classes
from service.exports.kinds import Source
from service.exports.wanted import Wanted
from service.reviews.decisions import Decision

ANNOTATIONS, LABELS, IMAGES = "annotations.xml", "labels.json", "images"
TAG = "sample"  # the label of the tag
PREDICTED = " prediction"  # after a class's name
DECISIONS = [UNDECIDED, *Decision, EMPTY]
TEXTS = ("sample", "mask_sha256", "revision", "score", "confidence", "reason")


def write(wanted: Wanted) -> Iterator[bytes]:
    """The zip; the samples are gone through twice, since the annotations are one member."""
    return zipped(_members(wanted))


def _members(wanted: Wanted) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield LABELS, (json.dumps(labels(wanted.mask_values), indent=1).encode(),)
    yield ANNOTATIONS, _annotations(wanted)
    for _, sample, _ in wanted.lines():
        yield f"{IMAGES}/{wanted.picture_name(sample)}", (wanted.picture(sample),)


def labels(mask_values: list[int]) -> list[dict[str, Any]]:
    """The labels of the task, as CVAT's "Raw" constructor takes them."""
    shapes = [
        {"name": f"{class_name(value)}{ending}", "type": "mask", "color": colour(place, source), "attributes": []}
        for place, value in enumerate(value for value in mask_values if value)
        for source, ending in ((Source.LABEL, ""), (Source.PREDICTION, PREDICTED))
    ]
    texts: list[dict[str, Any]] = [
        {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]} for name in TEXTS
    ]
    chosen = {"name": "decision", "mutable": False, "input_type": "select", "default_value": UNDECIDED}
    note = {"name": "note", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    attributes = [*texts, {**chosen, "values": [str(one) for one in DECISIONS]}, note]
    return [*shapes, {"name": TAG, "type": "tag", "color": "#808080", "attributes": attributes}]


def _annotations(wanted: Wanted) -> Iterator[bytes]:
    yield f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>{escape(wanted.job_id)}</name>
      <mode>annotation</mode>
      <labels>
{"".join(_label(one) for one in labels(wanted.mask_values))}      </labels>
    </task>
  </meta>
""".encode()
    for number, line in enumerate(wanted.lines()):
        yield _image(wanted, number, line).encode()
    yield b"</annotations>\n"


def _label(one: dict[str, Any]) -> str:
    attributes = "".join(
        f"<attribute><name>{each['name']}</name><mutable>False</mutable><input_type>{each['input_type']}</input_type>"
        f"<default_value>{each['default_value']}</default_value><values>{chr(10).join(each['values'])}</values>"
        "</attribute>"
        for each in one["attributes"]
    )
    head = f"<name>{one['name']}</name><color>{one['color']}</color><type>{one['type']}</type>"
    return f"        <label>{head}<attributes>{attributes}</attributes></label>\n"


def _image(wanted: Wanted, number: int, line: Line) -> str:
    believed, sample, review = line
    facts: dict[str, Any] = {
        "sample": sample.name,
        "mask_sha256": sample.mask_sha256,
        "revision": review.revision if review else 0,
        "score": f"{believed.score:.6g}",
        "confidence": f"{believed.confidence:.6g}",
        "reason": believed.reason or "",
        "decision": (review.decision if review else None) or UNDECIDED,
    }
    note = review.note if review else ""
    if _speakable(note):  # else the line has none, and what is there stays
        facts["note"] = note
    attributes = "".join(
        f'      <attribute name="{name}">{escape(str(value))}</attribute>\n' for name, value in facts.items()
    )
    masks = "".join(
        _mask(value, where, source) for source, mask in wanted.masks(sample) for value, where in classes(mask)
    )
    name = quoteattr(wanted.picture_name(sample))
    return (
        f'  <image id="{number}" name={name} width="{sample.width}" height="{sample.height}">\n'
        f'    <tag label="{TAG}" source="manual">\n{attributes}    </tag>\n{masks}  </image>\n'
    )


def _mask(value: int, where: Bools, source: Source) -> str:
    """One class of a mask: its box, and in it the runs row by row, background first."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    left, top, width, height = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    flat = where[top : top + height, left : left + width].ravel()
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(flat.view(np.int8))) + 1, [flat.size]])
    runs = ([0] if flat[0] else []) + np.diff(bounds).tolist()
    predicted = source is Source.PREDICTION
    return (
        f'    <mask label="{class_name(value)}{PREDICTED if predicted else ""}" source="manual" occluded="0"'
        f' rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" width="{width}" height="{height}"'
        f' z_order="{int(predicted)}"></mask>\n'
    )


def _speakable(text: str) -> bool:
    """Whether XML 1.0 can hold it, letter by letter: it has no control characters, and no carriage return stays one."""
    return all(character.isprintable() or character in "\n\t" for character in text)
