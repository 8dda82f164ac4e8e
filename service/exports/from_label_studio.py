"""What somebody decided and drew in Label Studio: its JSON, the list of tasks with annotations.

An annotation is what a person submitted, so its mask is the new one, also where it is the network's, unchanged. One
without strokes says nothing of the mask.
"""

from __future__ import annotations

from functools import partial
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service import brush
from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid
from service.exports.as_label_studio import DECISION, MASK, NOTE
from service.exports.drawn import Area, Bools, Drawn, class_value, said
from service.exports.members import json_of
from service.exports.rows import unreadable

HINT = "export the project as JSON (not JSON-MIN), and send that file"
FACTS = ("sample", "mask_sha256", "revision")


class _Value(BaseModel):
    model_config = ConfigDict(extra="ignore")

    format: str = "rle"
    rle: list[int] = []
    brushlabels: list[str] = []
    choices: list[str] = []
    text: list[str] = []


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    from_name: str = ""
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float = 0
    value: _Value = _Value()


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    was_cancelled: bool = False  # the person skipped it
    result: list[_Result]


class _Task(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: dict[str, Any]
    annotations: list[_Annotation] = Field(max_length=100)


def read(file: IO[bytes], limits: ImportLimits) -> list[Drawn]:
    """The tasks that somebody has annotated.

    Raises:
        Invalid: it is no such file; names every task that cannot be used.
    """
    parsed = json_of(file, limits, "tasks.json", HINT)
    if not isinstance(parsed, list):
        raise Invalid("The file cannot be read.", [unreadable("is no list of tasks", HINT)])
    faults: list[FieldError] = []
    drawn: list[Drawn] = []
    for at, entry in enumerate(parsed):
        place = f"tasks[{at}]"
        try:
            one = _drawn(place, _Task.model_validate(entry), faults)
        except ValidationError as error:
            fault = error.errors()[0]
            reason = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            faults.append(FieldError(file=place, reason=reason, hint=HINT))
        except ValueError as error:
            faults.append(FieldError(file=place, reason=str(error), hint="see the interface that came with the export"))
        else:
            drawn += [one] if one is not None else []
    if faults:
        raise Invalid(f"{len(faults)} tasks cannot be used; nothing was changed.", faults[:1000])
    return drawn


def _drawn(place: str, task: _Task, faults: list[FieldError]) -> Drawn | None:
    submitted = [one for one in task.annotations if not one.was_cancelled]
    if not submitted:
        return None
    if len(submitted) > 1:
        raise ValueError(f"has {len(submitted)} annotations: keep the one that is meant")
    facts = {name: task.data.get(name) for name in FACTS}
    areas: list[Area] = []
    for result in submitted[0].result:
        if result.from_name == DECISION and len(result.value.choices) == 1:
            facts["decision"] = result.value.choices[0]
        elif result.from_name == NOTE:
            facts["note"] = "\n".join(result.value.text)
        elif result.from_name == MASK and result.type == "brushlabels" and len(result.value.brushlabels) == 1:
            areas.append(Area(class_value(result.value.brushlabels[0]), partial(_pixels, result)))
        else:
            raise ValueError(f"has a result {result.type} of {result.from_name!r}, which cannot be taken")
    return said(place, facts, {"": areas} if areas else {}, faults)


def _pixels(result: _Result, height: int, width: int) -> Bools:
    if (result.original_height, result.original_width) != (height, width) or result.image_rotation:
        raise ValueError(
            f"a stroke is of {result.original_height} x {result.original_width} pixels, turned by "
            f"{result.image_rotation:g} degrees, the image of {height} x {width}"
        )
    if result.value.format != "rle":
        raise ValueError(f"a stroke has the format {result.value.format!r}, not RLE")
    return brush.decode(result.value.rle, height, width)
