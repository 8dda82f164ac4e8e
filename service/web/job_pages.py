"""Pages of jobs: the form for a new one, made of the schema that the API gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.dependencies import SessionDep
from service.api.jobs import read_schema
from service.db import datasets
from service.roles import Role
from service.web.forms import FormField, form_fields
from service.web.networks import described
from service.web.pages import VisitorDep, forbidden, missing, page, to_sign_in

router = APIRouter(include_in_schema=False)
MOST_DATASETS = 200
CHOSEN_APART = {"dataset_id", "dataset_version", "network", "method"}
GROUPS = {
    "What": ["name", "warm_start"],
    "How long": ["epochs", "batch_size", "image_size", "patch_size", "learning_rate", "timeout_seconds"],
    "Hardware": ["workers", "min_workers", "gpus_per_worker", "precision", "accumulation", "sharding", "compile"],
}


@router.get("/jobs/new")
def show_form(request: Request, session: SessionDep, visitor: VisitorDep) -> Response:
    """The form of a job. What it shows at first may stand in the address: `dataset`, `version`, and fields by name."""
    if visitor is None:
        return to_sign_in(request)
    if not visitor.role.includes(Role.TRAIN):
        return forbidden(request, visitor, Role.TRAIN, "To post a job")
    asked = dict(request.query_params)
    known = datasets.page(session, visitor.project_id, MOST_DATASETS, None)
    chosen = datasets.find(session, asked["dataset"], visitor.project_id) if asked.get("dataset") else None
    if asked.get("dataset") and chosen is None:
        return missing(request, f"There is no dataset {asked['dataset']}.")
    chosen = chosen or next(iter(known), None)
    versions = datasets.versions(session, chosen.id) if chosen else []
    version = next(
        (one for one in versions if str(one.number) == asked.get("version")), versions[0] if versions else None
    )
    schema = read_schema()
    values = {
        "datasets": known if chosen in known or chosen is None else [chosen, *known],
        "chosen": chosen,
        "versions": versions,
        "version": version,
        "network": network_fields(schema, asked),
        "networks": described(),
        "methods": method_fields(schema, asked),
        "method": asked.get("method.name", schema["properties"]["method"]["default"]["name"]),
        "groups": grouped(form_fields(schema, asked, CHOSEN_APART), version.spatial_dims if version else 2),
    }
    return page(request, "job_new.html", values)


def network_fields(schema: Mapping[str, Any], values: Mapping[str, str]) -> list[FormField]:
    """Name and arguments of the network; the name is one of the catalogue's."""
    fields = form_fields(_target(schema, schema["properties"]["network"]), values, prefix="network.")
    names = list(described())
    return [
        replace(field, kind="choice", label="Network", options=names, attributes={}, description="")
        if field.name == "network.name"
        else replace(
            field, label="Arguments of the network", description="as JSON; what is not named keeps its default"
        )
        for field in fields
    ]


def method_fields(schema: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, tuple[str, list[FormField]]]:
    """Each method with what it is and its fields."""
    found = {}
    for name, target in schema["properties"]["method"]["discriminator"]["mapping"].items():
        method = _target(schema, {"$ref": target})
        about = method.get("description", "").split(";")[0]
        found[name] = (about, form_fields(method, values, {"name"}, prefix="method."))
    return found


def grouped(fields: list[FormField], spatial_dims: int) -> list[tuple[str, list[FormField]]]:
    """Fields by what they are about; those that nobody has sorted in come last, so that none is forgotten."""
    other_size = "image_size" if spatial_dims == 3 else "patch_size"
    by_name = {field.name: field for field in fields if field.name != other_size}
    groups = [(title, [by_name.pop(name) for name in names if name in by_name]) for title, names in GROUPS.items()]
    return [*groups, ("More", list(by_name.values()))]


def _target(schema: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition that a `$ref` names."""
    found: Mapping[str, Any] = schema["$defs"][given["$ref"].rpartition("/")[2]]
    return found
