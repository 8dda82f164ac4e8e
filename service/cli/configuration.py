"""Defaults of the commands' options, from files and the environment; what is said on the command line wins.

`~/.config/dale/config.toml`, then `dale.toml` in this folder or the nearest above it, then `DALE_<COMMAND>_<OPTION>`:

```toml
url = "http://127.0.0.1:8000"  # only in ~/.config

[train]
epochs = 80
workers = 2

[keys.create]
days = 90
```
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperGroup, TyperOption

# Whoever made a folder must not say where a key goes, nor that nobody is asked before something is deleted.
OWN_ONLY = {"url", "yes"}
NO_DEFAULT = {"help", "install-completion", "show-completion", "version"}
NEVER = {"key"}  # it would lie in a file that others may read: `dale login` keeps one


def folder() -> Path:
    """Where this user's files are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dale"


def own() -> Path:
    """This user's file."""
    return folder() / "config.toml"


def of_this_folder() -> Path | None:
    """The `dale.toml` that holds here; None: there is none."""
    here = Path.cwd()
    return next((path for at in (here, *here.parents) if (path := at / "dale.toml").is_file()), None)


def url() -> str | None:
    """The address in this user's file.

    Raises:
        ValueError: the file cannot be read.
    """
    said = _read(own()).get("url")
    return None if said is None else str(said)


def defaults(command: Any) -> dict[str, Any]:
    """What options are if nobody says it, as the `default_map` of a command's context.

    Raises:
        ValueError: a file is not TOML, or names no command or option of ours; says which.
    """
    found: dict[str, Any] = {}
    for path in (own(), of_this_folder()):
        if path is not None:
            table = {name: value for name, value in _read(path).items() if name != "url" or path != own()}
            _take(found, command, table, path, "")
    _take_environment(found, command, "DALE")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _take(found: dict[str, Any], command: Any, table: Mapping[str, Any], path: Path, at: str) -> None:
    for name, value in table.items():
        place = f"{at}.{name}".lstrip(".")
        if isinstance(value, dict):
            below = dict(_below(command)).get(name)
            if below is None:
                raise ValueError(f"{path}: [{place}]: there is no such command.")
            _take(found.setdefault(name, {}), below, value, path, place)
            continue
        options = dict(_options(command))
        if name in NEVER or (name in OWN_ONLY and path != own()):
            instead = "keep it with: dale login" if name in NEVER else f"say it in {own()}, or on the command line"
            raise ValueError(f"{path}: {place}: not taken from here; {instead}.")
        if name not in options:
            known = ", ".join(sorted(options)) or "none"
            raise ValueError(f"{path}: {place}: there is no such option; there are {known}.")
        found[str(options[name].name)] = value


def _take_environment(found: dict[str, Any], command: Any, prefix: str) -> None:
    for name, option in _options(command):
        value = os.environ.get(f"{prefix}_{name}".upper().replace("-", "_"))
        if value and name not in NEVER | OWN_ONLY:
            found[str(option.name)] = value.split() if option.multiple else value
    for name, below in _below(command):
        _take_environment(found.setdefault(name, {}), below, f"{prefix}_{name}")


def _below(command: Any) -> Iterator[tuple[str, Any]]:
    """The commands of a group."""
    if isinstance(command, TyperGroup):
        own = {parameter.name for parameter in command.params}
        yield from ((name, below) for name, below in command.commands.items() if name not in own)


def _options(command: Any) -> Iterator[tuple[str, TyperOption]]:
    """Options by every long name, without its dashes.

    Where a command of a group is called as one of its options, both are left out: typer's table has one place for them.
    """
    taken = set(command.commands) if isinstance(command, TyperGroup) else set()
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and parameter.name not in taken:
            for name in (name.removeprefix("--") for name in parameter.opts if name.startswith("--")):
                if name not in NO_DEFAULT:
                    yield name, parameter
