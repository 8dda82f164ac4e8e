"""Forms made of JSON Schemas, so that what the API takes and what the pages ask for cannot come apart."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WORDS = {"id": "ID", "gpus": "GPUs", "ema": "EMA"}


@dataclass(frozen=True)
class FormField:
    """One control.

    Attributes:
        name: of the value: the path to it in the body, with dots.
        label: for people.
        kind: `integer`, `number`, `text`, `choice`, `yesno` (three states: empty is the default) or `json`.
        default: as the control shows it; empty where the API's default is null.
        value: what the control shows at first.
        options: of a choice.
        attributes: of the HTML element: bounds, lengths.
    """

    name: str
    label: str
    kind: str
    description: str
    default: str
    value: str
    required: bool = False
    options: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether the control shows something else than the default."""
        return self.value != self.default


def form_fields(
    schema: Mapping[str, Any], values: Mapping[str, str], leave_out: Collection[str] = (), prefix: str = ""
) -> list[FormField]:
    """The controls for the properties of an object; those that are no single value, such as objects, come as JSON.

    Args:
        schema: of the object; `$defs` may be left out, as nothing is followed.
        values: what controls show instead of the default, by name.
        leave_out: properties that have no control here.
        prefix: of all names.
    """
    return list(_fields(schema, values, leave_out, prefix))


def _fields(
    schema: Mapping[str, Any], values: Mapping[str, str], leave_out: Collection[str], prefix: str
) -> Iterator[FormField]:
    for name, given in schema.get("properties", {}).items():
        if name in leave_out:
            continue
        nullable, found = _plain(given)
        path = f"{prefix}{name}"
        kind = _kind(found)
        default = shown(given.get("default"))
        yield FormField(
            name=path,
            label=label(name),
            kind=kind,
            description=given.get("description", ""),
            default=default,
            value=values.get(path, default),
            required=name in schema.get("required", []),
            options=[*([""] if nullable else []), *(str(option) for option in found.get("enum", []))],
            attributes=_attributes(kind, found),
        )


def _plain(given: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    """Whether null is allowed, and the schema of what else is; a union of several is left as it is."""
    parts = given.get("anyOf", [])
    others = [part for part in parts if part.get("type") != "null"]
    if len(parts) > len(others) and len(others) == 1:
        return True, others[0]
    return False, given


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    kinds = {"integer": "integer", "number": "number", "string": "text", "boolean": "yesno"}
    return kinds.get(str(schema.get("type")), "json")


def _attributes(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    names = {"maxLength": "maxlength", "minLength": "minlength", "pattern": "pattern"}
    if kind in {"integer", "number"}:
        names = {"minimum": "min", "maximum": "max", "exclusiveMinimum": "min", "exclusiveMaximum": "max"}
    found = {attribute: schema[name] for name, attribute in names.items() if name in schema}
    if kind == "integer" and "exclusiveMaximum" in schema:
        found["max"] = schema["exclusiveMaximum"] - 1
    if kind in {"integer", "number"}:
        found["step"] = 1 if kind == "integer" else "any"
    return found


def shown(value: Any) -> str:
    """A value as a control shows it, and as the pages' scripts read it back."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value)


def label(name: str) -> str:
    """`batch_size` as people write it: Batch size."""
    words = " ".join(WORDS.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]
