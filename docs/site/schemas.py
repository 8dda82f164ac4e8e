"""JSON schemas as tables of Markdown: name, type, default, range, meaning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]
Link = Callable[[str], str]

_BOUNDS = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
    ("minLength", "{} characters or more"),
    ("maxLength", "at most {} characters"),
    ("minItems", "{} or more"),
    ("maxItems", "at most {}"),
)


def cell(text: str) -> str:
    """Text that stays within a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """The text as code in a cell; nothing for nothing."""
    return f"`{cell(text)}`" if text else ""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown, with an empty line after it."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([*row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def plain_name(reference: str) -> str:
    """`JobSpec` of `#/components/schemas/JobSpec`."""
    return reference.rpartition("/")[2]


def choices(schema: Schema) -> list[Schema]:
    """What a value may be, without null."""
    found = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or [schema]
    return [one for one in found if one.get("type") != "null"]


def type_of(schema: Schema, link: Link) -> str:
    """The type in words; named schemas become links."""
    return cell(" or ".join(dict.fromkeys(_type_of_one(one, link) for one in choices(schema))))


def _type_of_one(schema: Schema, link: Link) -> str:
    if "$ref" in schema:
        return link(plain_name(schema["$ref"]))
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}), link)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {type_of(schema['additionalProperties'], link)}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def range_of(schema: Schema) -> str:
    """Bounds, lengths and pattern."""
    said = []
    for one in choices(schema):
        said += [text.format(one[key]) for key, text in _BOUNDS if key in one]
        said += [code(one["pattern"])] if "pattern" in one else []
    return cell(", ".join(said))


def default_of(schema: Schema, *, required: bool) -> str:
    """The default as JSON; "required" where there is none."""
    if "default" not in schema:
        return "required" if required else ""
    value = json.dumps(schema["default"], ensure_ascii=False)
    return code(value) if len(value) < 80 else "see there"


def fields(schema: Schema, link: Link, *, name: Callable[[str], str] = code) -> str:
    """The properties of an object schema, one a row."""
    needed = schema.get("required", ())
    rows = (
        (
            name(field),
            type_of(about, link),
            default_of(about, required=field in needed),
            range_of(about),
            cell(about.get("description", "")),
        )
        for field, about in schema.get("properties", {}).items()
    )
    return table(("name", "type", "default", "range", "meaning"), rows)
