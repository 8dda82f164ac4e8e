"""The commands that run the service on this machine: `dale serve`, `dale demo`. They need the server's packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer


def need(command: str, *modules: str) -> None:
    """Say what to install where a command's packages are missing.

    Raises:
        ValueError: they are.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"`dale {command}` runs the server, and this is the client alone: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed. Run: pip install 'dale-service[service,train]'"
        )


def serve(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of everything it keeps (default: dale-data).")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one (default: 8000).")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Jobs URL of a Ray cluster (default: it starts a Ray head of its own).")
    ] = None,
) -> None:
    """Run the service until Ctrl-C.

    API, review pages and training in one. Everything can also be set by environment variables: DALE_DATA_DIR,
    DALE_HOST, DALE_PORT, DALE_API_KEY, ...
    """
    from service.cli import terminal

    with terminal.expected_errors():
        need("serve", "fastapi", "sqlalchemy", "uvicorn")
        from service.embedded import CannotServeError
        from service.embedded import serve as run
        from service.settings import Settings

        options = {"data_dir": data_dir, "host": host, "port": port, "ray_address": ray_address}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        try:
            run(Settings(**given))
        except CannotServeError as error:
            raise ValueError(str(error)) from error


def demo(
    data: Annotated[Path | None, typer.Option(help="Your own folder of images/ and masks/ (else synthetic).")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C, to look at it.")
    ] = False,
) -> None:
    """See it work, in some minutes.

    Spoils some masks, trains on them, and shows whether they are found.
    """
    from service.cli import terminal

    with terminal.expected_errors():
        need("demo", "fastapi", "sqlalchemy", "uvicorn", "ray", "torch")
    from service import demo as demonstration

    raise typer.Exit(demonstration.run(data, keep=keep))
