"""Which service the command line talks to, and with which key."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from service.cli import configuration

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Target:
    """A service and the key to it."""

    url: str
    key: str | None


def path() -> Path:
    """The file that `dale login` writes."""
    return configuration.folder() / "credentials.json"


def load() -> Target | None:
    """What `dale login` kept; None if nothing.

    Raises:
        ValueError: the file is there and is not one of ours.
    """
    file = path()
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Target(str(kept["url"]), str(kept["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({error}). Remove it, and run `dale login` again.") from error


def save(target: Target) -> Path:
    """Keep a target so that only its owner can read it, whole or not at all."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"url": target.url, "key": target.key}, out)
    partial.replace(file)
    return file


def choose(url: str | None, key: str | None) -> Target:
    """Options win over the environment, that over `config.toml`, that over `dale login`, that over the default.

    A kept key goes only to the service that it was kept for.

    Raises:
        ValueError: a file is damaged.
    """
    url = url or os.environ.get("DALE_URL") or configuration.url()
    key = key or os.environ.get("DALE_API_KEY") or None
    kept = load() if url is None or key is None else None
    chosen = (url or (kept.url if kept else DEFAULT_URL)).rstrip("/")
    if key is None and kept is not None and kept.url.rstrip("/") == chosen:
        key = kept.key
    return Target(chosen, key)
