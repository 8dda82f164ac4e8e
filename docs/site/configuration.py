"""The page of everything that can be configured, from the models that check it."""

from __future__ import annotations

import dataclasses

from griffe import Docstring, DocstringSectionKind, parse_google
from pydantic import BaseModel

from dale import DaleConfig
from docs.site.schemas import cell, code, fields, table
from service.datasets.limits import ImportLimits
from service.predictions.limits import PredictionLimits
from service.settings import Settings
from workers.contract.request import DaleMethod, JobSpec, NetworkSpec, PlainMethod

JOB = """# Configuration

## A job { #jobspec }

What `POST /v1/jobs` takes, and `dale train` by options of the same names. A dry run checks it
(`dale train … --dry-run`).

"""
SERVICE = """
## The service { #settings }

Environment variables, read at the start. Empty means the default. What `dale serve` has an option for, the option wins.

"""
LIBRARY = """
## The library { #daleconfig }

`dale.DaleConfig`, for [your own training loop](../library.md). A job's `method` has the same names.

"""


def page() -> str:
    """Markdown of the page."""
    parts = [JOB, _fields(JobSpec)]
    for title, model in (
        ("network", NetworkSpec),
        ("method dale", DaleMethod),
        ("method plain", PlainMethod),
    ):
        parts.append(f"### {title} {{ #{model.__name__.lower()} }}\n\n{model.__doc__}\n\n{_fields(model)}")
    parts += [SERVICE, _fields(Settings, prefix="DALE_")]
    for name, limits in (("DALE_IMPORT_LIMITS", ImportLimits), ("DALE_PREDICTIONS", PredictionLimits)):
        title = f"### {name} {{ #{limits.__name__.lower()} }}"
        parts.append(f"{title}\n\nOne JSON object with any of these. {limits.__doc__}\n\n{_fields(limits)}")
    parts += [LIBRARY, _dataclass()]
    return "\n".join(parts)


def _fields(model: type[BaseModel], prefix: str = "") -> str:
    def name(field: str) -> str:
        return code(f"{prefix}{field.upper()}" if prefix else field)

    schema = model.model_json_schema()
    # Machines differ: the page says the rule, not the number of this one.
    if "threads" in schema["properties"]:
        schema["properties"]["threads"].pop("default")
        schema["properties"]["threads"]["description"] += "; default: the processors over `concurrent`"
    return fields(schema, _link, name=name)


def _link(name: str) -> str:
    return "any JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"


def _dataclass() -> str:
    sections = parse_google(Docstring(str(DaleConfig.__doc__)), warnings=False)
    meanings = {
        one.name: one.description
        for section in sections
        if section.kind is DocstringSectionKind.parameters
        for one in section.value
    }
    rows = (
        (code(field.name), code(str(field.type)), code(repr(field.default)), cell(meanings[field.name]))
        for field in dataclasses.fields(DaleConfig)
    )
    return table(("name", "type", "default", "meaning and range"), rows)
