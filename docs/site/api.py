"""Pages of the HTTP API, from the OpenAPI schema that the application itself makes."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from docs.site.schemas import Schema, cell, code, default_of, fields, range_of, table, type_of

INTRODUCTION = """# HTTP API

Everything that pages, client and commands do goes over these routes. A running service shows them at `/docs` too, and
the schema itself at `/openapi.json`. Requests carry `Authorization: Bearer KEY`; errors are
[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems. See [how it is used](../../http.md).

"""


def openapi() -> dict[str, Any]:
    """The schema of an application over an empty folder."""
    from service.main import create_app, open_context  # takes seconds
    from service.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Settings(data_dir=Path(folder)))
        try:
            return create_app(context.settings, context).openapi()
        finally:
            context.database.close()


def pages(schema: Schema) -> dict[str, str]:
    """Markdown by file name: an index, a page for each tag, and one for all schemas."""
    by_tag: dict[str, list[tuple[str, str, Schema]]] = defaultdict(list)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            by_tag[operation["tags"][0]].append((method.upper(), path, operation))
    found = {f"{tag}.md": _tag(tag, operations) for tag, operations in sorted(by_tag.items())}
    found["schemas.md"] = _schemas(schema["components"]["schemas"])
    found["index.md"] = INTRODUCTION + "".join(_contents(tag, by_tag[tag]) for tag in sorted(by_tag))
    return found


def _link(name: str) -> str:
    return f"[{name}](schemas.md#{name.lower()})"


def _local(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _anchor(operation: Schema) -> str:
    return str(operation["operationId"])


def _first_line(operation: Schema) -> str:
    return cell(str(operation.get("description") or operation["summary"]).split("\n\n", maxsplit=1)[0])


def _contents(tag: str, operations: list[tuple[str, str, Schema]]) -> str:
    rows = (
        (f"[`{method} {path}`]({tag}.md#{_anchor(operation)})", _first_line(operation))
        for method, path, operation in operations
    )
    return f"## {tag.capitalize()}\n\n{table(('route', 'what it does'), rows)}\n"


def _tag(tag: str, operations: list[tuple[str, str, Schema]]) -> str:
    return f"# {tag.capitalize()}\n\n" + "\n".join(_operation(*one) for one in operations)


def _operation(method: str, path: str, operation: Schema) -> str:
    parts = [f"## {method} {path} {{ #{_anchor(operation)} }}", str(operation.get("description", ""))]
    if parameters := operation.get("parameters"):
        rows = (
            (
                code(one["name"]),
                one["in"],
                type_of(one["schema"], _link),
                default_of(one["schema"], required=one["required"]),
                range_of(one["schema"]),
                cell(one.get("description", "")),
            )
            for one in parameters
        )
        parts.append(table(("parameter", "in", "type", "default", "range", "meaning"), rows))
    if body := operation.get("requestBody"):
        kinds = (f"{type_of(about['schema'], _link)} as `{kind}`" for kind, about in body["content"].items())
        parts.append(f"Body: {', or '.join(kinds)}.")
    answers = (
        (status, cell(answer["description"]), _content(answer))
        for status, answer in sorted(operation["responses"].items())
    )
    parts.append(table(("answer", "when", "content"), answers))
    return "\n\n".join(parts)


def _content(answer: Schema) -> str:
    return ", ".join(
        f"{type_of(about['schema'], _link)} (`{kind}`)" if about.get("schema") else code(kind)
        for kind, about in answer.get("content", {}).items()
    )


def _schemas(schemas: Schema) -> str:
    parts = ["# Schemas of the API"]
    for name, schema in sorted(schemas.items()):
        parts += [f"## {name} {{ #{name.lower()} }}", str(schema.get("description", ""))]
        parts.append(fields(schema, _local) if "properties" in schema else f"{type_of(schema, _local)}\n")
    return "\n\n".join(parts)
