"""Commands about models: `dale models …`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import completion
from service.cli.options import InProject, Json, Key, Url, connect
from service.models.stages import Stage

app = typer.Typer(help="Trained models: list, compare, move on, describe.", rich_markup_mode=None)
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Id of its job, or NAME:3, or NAME:production.", autocompletion=completion.models
    ),
]


@app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="Only models of this name.")] = None,
    stage: Annotated[Stage | None, typer.Option(help="Only models at this stage.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="KEY[=VALUE]", help="Only models with this tag.")] = None,
    project: InProject = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the models, newest first; or do one of the commands below."""
    if context.invoked_subcommand is not None:
        return
    from itertools import islice

    from service.cli import model_tables, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(islice(dale.models(name=name, stage=stage, tag=tag, project=project), limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(model_tables.models_table(found))


@app.command()
def show(model: Model, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show a model: stage, tags, metrics, files."""
    from service.cli import model_tables, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.model(model)
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(model_tables.model_lines(found))


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL MODEL …", help="The first is the baseline.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Compare models on the held-out samples that they have in common."""
    from service.cli import model_tables, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.compare_models(models)
    if as_json:
        terminal.say_json(found)
        return
    terminal.say(f"{found.samples} held-out samples in common")
    terminal.out().print(model_tables.comparison_table(found))


@app.command()
def stage(
    model: Model,
    to: Annotated[Stage, typer.Argument(help="Where it is moved.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Move a model on; what was in production under its name before is archived."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        done = dale.change_model(model, stage=to)
    if as_json:
        terminal.say_json(done)
    else:
        instead = f"; {done.archived} was until now, and is archived" if done.archived else ""
        terminal.say(f"{done.name}:{done.version} ({done.id}): {done.stage}{instead}")


@app.command()
def tag(
    model: Model,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE …", help="KEY- removes one.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Give a model tags, or take some away; the others stay."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        before = dale.model(model)
        wanted = dict(before.tags)
        for one in tags:
            name, equals, value = one.partition("=")
            if equals:
                wanted[name] = value
            elif one.endswith("-") and one[:-1] in wanted:
                del wanted[one[:-1]]
            else:
                raise ValueError(f"{one!r}: give KEY=VALUE, or KEY- for one of {', '.join(before.tags) or 'none'}")
        done = dale.change_model(before.id, tags=wanted, revision=before.revision)
    given = ", ".join(f"{name}={value}" for name, value in sorted(done.tags.items()))
    terminal.say_json(done) if as_json else terminal.say(given or "no tags")


@app.command()
def describe(
    model: Model,
    use: Annotated[str | None, typer.Option(help="What it is for, as its card says.")] = None,
    text: Annotated[str | None, typer.Option(help="What else there is to say.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Say what a model is for."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        if use is None and text is None:
            raise ValueError("Give --use or --text.")
        done = dale.change_model(model, intended_use=use, description=text)
    if as_json:
        terminal.say_json(done)
    else:
        terminal.say(f"{done.name}:{done.version} ({done.id}) is described; see: dale models card {done.id}")


@app.command()
def card(model: Model, url: Url = None, key: Key = None) -> None:
    """Print the card of a model, in Markdown."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        typer.echo(dale.model_card(model), nl=False)


@app.command()
def lineage(model: Model, url: Url = None, key: Key = None) -> None:
    """Print what a model came from, as JSON."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        terminal.say_json(dale.lineage(model))
