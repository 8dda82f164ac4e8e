"""The client does what the API does, and the commands what the client does; what is left out has its reason here."""

from __future__ import annotations

import ast
import inspect
import re
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from fastapi import FastAPI

from service.axes import Axis
from service.client import Client, ClientError, JobSpec, PostedPrediction
from service.jobs.tasks import Task
from service.resources.jobs import JobResource
from service.reviews.painted import Painted

ROOT = Path(__file__).parents[4]
LATER = {  # routes that a method asks once others have answered, or for other arguments
    "PUT /v1/uploads/{upload_id}/parts/{number}": "upload_in_parts",
    "GET /v1/uploads/{upload_id}/parts/{number}": "upload_in_parts",
    "POST /v1/uploads/{upload_id}:complete": "upload_in_parts",
    "GET /v1/jobs/{job_id}/files/{name}": "fetch_predictions",
    "GET /v1/keys": "keys",  # of no project
    "POST /v1/keys": "create_key",
    "DELETE /v1/keys/{key_id}": "revoke_key",
}
NO_METHOD = {
    "GET /v1/jobs/{job_id}/predictions": "one zip, for browsers: `fetch_predictions` gets the same",
    "GET /healthz": "for process supervisors, without a key",
    "GET /readyz": "for load balancers, without a key",
    "GET /metrics": "for Prometheus",
    "GET /v1/jobs/{job_id}/samples/{sample}/image": "for pages: the image of the dataset, which `fetch_image` fetches",
}
NO_COMMAND = {
    "job_files": "`dale fetch-predictions` fetches them",
    "close": "every command closes its client",
    "cards": "for a grid that shows places: `dale samples` shows them",
    "mask_slice": "gives bytes to paint on: `dale review paint` takes files",
    "wait": "`dale job --follow` shows the progress meanwhile",
    "history": "a curve: in the pages; `dale sample` says where it ended",
}


def methods() -> dict[str, Any]:
    return {name: one for name, one in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}


def value(name: str, hint: Any, folder: Path) -> Any:
    """What to give for a parameter: by its name where its type does not say enough."""
    spec = JobSpec(dataset_id="x")
    named = {
        "spec": spec,
        "job": JobResource.model_construct(id="x", name="", task=Task.TRAIN, spec=spec),
        "posted": PostedPrediction(model="x", dataset_id="x"),
        "slices": [Painted(Axis.AXIAL, 1, b"")],
        "labels": {1: None},
        "models": ["x", "y"],
        "ordinals": [1],
        "folder": folder,
        "out": folder / "out",
        "max_running_jobs": 1,
    }
    if name in named:
        return named[name]
    kinds = {str: "x", int: 1, Path: folder / "file.png"}
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return next(iter(kind))
        if kind in kinds:
            return kinds[kind]
    raise TypeError(f"say in `named` what to give for {name}: {hint}")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By each method of the client, the first thing that it asks: `GET /v1/…`."""
    folder = tmp_path_factory.mktemp("asked")
    (folder / "file.png").write_bytes(b"some")
    found: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        found.setdefault(name, f"{request.method} {request.url.path}")
        return httpx.Response(404, json={"title": "no", "detail": "no"})

    for name, method in methods().items():
        hints = get_type_hints(method)
        required = {
            one.name: value(one.name, hints[one.name], folder)
            for one in inspect.signature(method).parameters.values()
            if one.name != "self" and one.default is inspect.Parameter.empty
        }
        with Client("http://x", transport=httpx.MockTransport(answer)) as client, suppress(ClientError):
            made = getattr(client, name)(**required)
            if inspect.isgenerator(made):
                next(made)
    return found


def test_every_route_has_a_method(app: FastAPI, asked: dict[str, str]) -> None:
    routes = {f"{verb.upper()} {path}" for path, verbs in app.openapi()["paths"].items() for verb in verbs}
    patterns = {route: re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(route))) for route in routes}
    reached = {route for route in routes for request in asked.values() if patterns[route].fullmatch(request)}
    assert set(LATER.values()) <= asked.keys()
    left = routes - reached - LATER.keys()
    assert left - NO_METHOD.keys() == set(), "add a method to the client, or say here why there is none"
    assert NO_METHOD.keys() | LATER.keys() == left | (LATER.keys() & routes), "there is a method, or no such route"


def test_every_method_asks_for_something(asked: dict[str, str]) -> None:
    assert methods().keys() - asked.keys() <= {"close", "model_id"}


def test_every_method_has_a_command() -> None:
    called = set()
    for path in ROOT.glob("service/cli/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dale":
                called.add(node.attr)
    left = methods().keys() - called
    assert left - NO_COMMAND.keys() == set(), "add a command, or say here why there is none"
    assert left == NO_COMMAND.keys(), "there is a command"
