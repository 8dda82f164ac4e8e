"""Options that every command has which talks to the service, and the client that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import completion

if TYPE_CHECKING:
    from service.client import Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="Address of the service (else DALE_URL, config.toml, `dale login`, http://127.0.0.1:8000)."
    ),
]
Key = Annotated[str | None, typer.Option("--key", help="API key (else DALE_API_KEY, or what `dale login` kept).")]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of a job, as `dale jobs` lists them.", autocompletion=completion.jobs)
]
InProject = Annotated[
    str | None, typer.Option("--project", metavar="PROJECT_ID", help="Only what is in this project; for the operator.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def connect(url: str | None, key: str | None) -> Client:
    """A client for the service that the options, the environment or `dale login` name."""
    from service.cli import credentials
    from service.client import Client

    target = credentials.choose(url, key)
    return Client(target.url, target.key)
