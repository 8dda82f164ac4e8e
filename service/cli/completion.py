"""Ids that the shell completes, from the service; where that does not answer soon there are none to offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.client import Client

OFFERED = 50
PATIENCE_S = 2.0


def jobs(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest jobs, each with its state and name."""
    return _offered(incomplete, lambda dale: ((job.id, f"{job.state.lower()} {job.name}") for job in dale.jobs()))


def datasets(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest datasets, each with its name."""
    return _offered(incomplete, lambda dale: ((dataset.id, dataset.name) for dataset in dale.datasets()))


def models(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest models, each with its name, number and stage."""
    return _offered(
        incomplete, lambda dale: ((model.id, f"{model.name}:{model.version} {model.stage}") for model in dale.models())
    )


def _offered(incomplete: str, listed: Callable[[Client], Iterator[tuple[str, str]]]) -> list[tuple[str, str]]:
    from service.cli import credentials
    from service.client import Client, ClientError

    try:
        target = credentials.choose(None, None)
        with Client(target.url, target.key, timeout=PATIENCE_S) as dale:
            return [one for one in islice(listed(dale), OFFERED) if one[0].startswith(incomplete)]
    except (ClientError, ValueError):  # a message would stand in the middle of what somebody types
        return []
