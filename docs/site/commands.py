"""The page of the command line, from the commands themselves."""

from __future__ import annotations

from typing import Any

import typer

from docs.site.schemas import cell, code, table
from service.cli import app

INTRODUCTION = """# Command line

`dale COMMAND --help` says the same. Which service, and by which key: options win over `DALE_URL` and `DALE_API_KEY`,
those over what `dale login` kept. Exit codes: 0 done, 1 the job failed or was cancelled, 2 wrong usage or refused,
3 no service at that address, 4 a job that was repeated came to something else.

"""


def page() -> str:
    """Markdown of the page: every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    return INTRODUCTION + "\n".join(_commands("dale", group))


def _commands(prefix: str, group: Any) -> list[str]:
    found = []
    for name, command in sorted(group.commands.items()):
        full = f"{prefix} {name}"
        found += _commands(full, command) if hasattr(command, "commands") else [_command(full, command)]
    return found


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    records = (parameter.get_help_record(context) for parameter in command.params if not parameter.hidden)
    rows = [(code(usage), cell(meaning)) for usage, meaning in filter(None, records)]
    usage = command.get_usage(context).removeprefix("Usage: ")
    return f"## {name}\n\n{command.help}\n\n`{' '.join(usage.split())}`\n\n" + table(("option", "meaning"), rows)
