"""The commands about who may do what: `dale projects`, `dale keys`, `dale audit`, `dale whoami`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json, Key, Url, connect

if TYPE_CHECKING:
    from service.client import Client

projects = typer.Typer(help="Make and list projects.", no_args_is_help=True)
keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

Project = Annotated[
    str | None, typer.Option("--project", help="Id of the project (default: that of your key; the operator says one).")
]
Operator = Annotated[bool, typer.Option("--operator", help="Of no project: an admin who sees and does everything.")]


def choose(dale: Client, project: str | None, operator: bool) -> str | None:
    """The project whose keys are meant; None: those of the operator.

    Raises:
        ValueError: the options contradict each other, or do not say it.
    """
    if operator:
        if project:
            raise ValueError("--operator and --project exclude each other: the operator's keys are of no project.")
        return None
    if project:
        return project
    own = dale.me().project
    if own is None:
        raise ValueError("Your key is of no project. Name one with --project, or say --operator.")
    return own.id


@projects.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="A name for people; it must be free.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a project. For the operator."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        made = dale.create_project(name)
    if as_json:
        terminal.say_json(made)
        return
    terminal.say(f"Project {made.id}.")
    terminal.say(f"Let somebody in: dale keys create NAME --role train --project {made.id}")


@projects.command("list")
def list_projects(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the projects that you see, newest first."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.projects())
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.projects_table(found))


@projects.command("show")
def show_project(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the project.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show a project."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.project(project)
    terminal.say_json(found) if as_json else terminal.out().print(terminal.projects_table([found]))


@projects.command("limit")
def limit_project(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the project.")],
    limit: Annotated[str, typer.Argument(metavar="N", help="So many of its jobs run at a time; `none`: no limit.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Limit how many jobs of a project run at a time. For the operator."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        if limit != "none" and not limit.isdecimal():
            raise ValueError(f"{limit!r} is no limit: give a number of jobs, or `none`.")
        changed = dale.limit_project(project, None if limit == "none" else int(limit))
    if as_json:
        terminal.say_json(changed)
        return
    most = (
        "has no limit"
        if changed.max_running_jobs is None
        else f"runs at most {changed.max_running_jobs} jobs at a time"
    )
    terminal.say(f"Project {changed.id} ({changed.name}) {most}.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    role: Annotated[str, typer.Option(help="read, review, train or admin: each may do what those before it may.")] = (
        "read"
    ),
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="It ends after so many (default: never).")] = None,
    project: Project = None,
    operator: Operator = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make a key, which is shown this once. For admins."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        from service.roles import Role

        if role not in list(Role):
            raise ValueError(f"There is no role {role!r}; there are {', '.join(Role)}.")
        ends = datetime.now(UTC) + timedelta(days=days) if days else None
        made = dale.create_key(choose(dale, project, operator), name, role=Role(role), expires_at=ends)
    if as_json:
        terminal.say_json(made)
        return
    until = f", until {terminal.when(made.expires_at)}" if made.expires_at else ""
    terminal.say(f"Key {made.id}: {made.role} in {made.project_id or 'all projects'}{until}.")
    terminal.say(f"Shown this once: {made.key}")


@keys.command("list")
def list_keys(
    project: Project = None, operator: Operator = False, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List the keys of a project, newest first. For admins."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.keys(choose(dale, project, operator)))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.keys_table(found))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `dale keys list` shows it.")],
    project: Project = None,
    operator: Operator = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """End a key at once, and the browsers' sessions made from it. For admins."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dale.revoke_key(choose(dale, project, operator), key_id)
    terminal.say(f"Key {key_id} opens nothing any more.")


def audit(
    limit: Annotated[int, typer.Option(min=1, help="At most so many; --out takes all.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Write all of them to this file instead, one JSON a line.")] = None,
    project: Annotated[str | None, typer.Option(help="Only what happened in this project.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this kind of change, e.g. key.create.")] = None,
    by: Annotated[str | None, typer.Option(metavar="KEY_ID", help="Only what was done with this key.")] = None,
    target: Annotated[str | None, typer.Option(metavar="ID", help="Only changes of this thing.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only from then on: a date, a time, or how long ago (7d, 12h).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only before then; a date is its beginning.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show who changed what, newest first. For admins.

    With --out the whole trail goes to a file, to keep elsewhere.
    """
    from itertools import islice

    from service.cli import terminal
    from service.cli.moments import moment

    with terminal.expected_errors(), connect(url, key) as dale:
        first, end = (moment(text) if text else None for text in (since, until))
        if out is not None:
            kept = dale.fetch_audit(out, project=project, action=action, key=by, target=target, since=first, until=end)
            terminal.say(str(kept))
            return
        entries = dale.audit(project=project, action=action, key=by, target=target, since=first, until=end)
        found = list(islice(entries, limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.audit_table(found))


def whoami(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show whose key you use, and what it may do."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        me = dale.me()
    if as_json:
        terminal.say_json(me)
        return
    where = f"in {me.project.name} ({me.project.id})" if me.project else "in all projects, as the operator"
    until = f", until {terminal.when(me.expires_at)}" if me.expires_at else ""
    terminal.say(f"{me.name} ({me.key_id}): {me.role} {where}{until}.")
