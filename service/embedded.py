"""`dale serve`: the whole service in one process, with its own Ray head unless it is told of a cluster."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from rich.console import Console
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import logging
from service.actions import Action
from service.api.dependencies import Context
from service.datasets.collecting import collect
from service.db import access, audit
from service.jobs.ray_head import RayHead
from service.jobs.reconciler import Reconciler
from service.main import create_app, open_context
from service.metrics import Metrics
from service.roles import SERVICE, Role
from service.settings import Settings

log = logging.get(__name__)
OPEN_CONNECTIONS_SECONDS = 2  # how long a stop waits for answers under way, event streams among them


class CannotServeError(Exception):
    """The service must not or cannot start; says why and what to do."""


@dataclass(frozen=True)
class Announcement:
    """What whoever starts the service needs to know."""

    url: str
    new_key: str | None  # made just now, and never shown again


def serve(settings: Settings, announce: Callable[[Announcement], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM, then end everything that was started, runs included.

    Jobs that run at that moment resume from their last checkpoint at the next start. Once the service listens,
    `data_dir/service.json` holds its `url` and `pid`.

    Raises:
        CannotServeError: the address is taken or reachable by others without a key, or another service has the folder.
        TracingNotInstalledError: traces are asked for and cannot be made.
    """
    logging.configure(settings.log_level)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_service(settings.data_dir):
        metrics = Metrics()
        context = open_context(settings, metrics)
        try:
            new_key = let_in(context)
            _serve(context, metrics, new_key, announce or _print)
        finally:
            context.database.close()


def let_in(context: Context) -> str | None:
    """Make sure that the operator can get in, and nobody else yet; returns the key if it was made just now.

    Raises:
        CannotServeError: others could reach the service and nobody has set a key, or DALE_API_KEY is of no use.
    """
    try:
        return _let_in(context)
    except IntegrityError:  # another process let the same key in at this very moment: now it is there
        return _let_in(context)


def _let_in(context: Context) -> str | None:
    settings = context.settings
    with context.sessions.begin() as session:
        if settings.api_key is not None:
            _let_environment_in(session, settings.api_key.get_secret_value())
            return None
        if access.has_operator(session):
            return None
        if not settings.loopback:
            raise CannotServeError(
                f"Refusing to listen on {settings.host}, which other machines can reach, without a key. "
                "Set DALE_API_KEY to a real secret (openssl rand -base64 32), or listen on 127.0.0.1."
            )
        key = access.new_key()
        _add_operator(session, key, "made at the first start", access.BY_SERVICE)
        return key


def _let_environment_in(session: Session, key: str) -> None:
    """Let DALE_API_KEY in, in place of the one that it named before."""
    caller = access.find_key(session, key)
    if caller is None and access.known(session, key):
        raise CannotServeError("DALE_API_KEY names a key that was revoked or has expired. Set it to another.")
    if caller is not None and not caller.operator:
        raise CannotServeError("DALE_API_KEY names a key of a project; the operator needs another: set or unset it.")
    for replaced in access.made_by(session, access.BY_ENVIRONMENT):
        if caller is None or replaced.id != caller.key_id:
            access.revoke(session, replaced)
            audit.add(session, SERVICE, Action.KEY_REVOKE, replaced.id, None, name=replaced.name)
    if caller is None:
        _add_operator(session, key, "DALE_API_KEY", access.BY_ENVIRONMENT)


def _add_operator(session: Session, key: str, name: str, created_by: str) -> None:
    added = access.add_key(session, key, name=name, role=Role.ADMIN, project_id=None, created_by=created_by)
    audit.add(session, SERVICE, Action.KEY_CREATE, added.id, None, name=name, role=added.role)


def _serve(context: Context, metrics: Metrics, new_key: str | None, announce: Callable[[Announcement], None]) -> None:
    settings = context.settings
    listener = _listen(settings)
    url = _url(listener)
    record = settings.data_dir / "service.json"
    stop = threading.Event()
    head = None if settings.ray_address else RayHead(settings, context.cluster)
    reconciler = threading.Thread(target=Reconciler(context, metrics).run, args=(stop,), name="reconciler", daemon=True)
    leftovers = threading.Thread(target=collect, args=(context.database, context.store), name="collector", daemon=True)

    def listening() -> None:
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        partial.replace(record)
        log.info("listening", url=url)
        announce(Announcement(url, new_key))
        reconciler.start()
        leftovers.start()
        if head is not None:
            head.start()

    config = uvicorn.Config(create_app(settings, context, metrics), **server_options(settings))
    server = _Server(config, listening)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn puts its own handlers on top and raises the signal again when it is done: here, where it does no harm.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        server.run(sockets=[listener])
    finally:
        log.info("stopping")
        record.unlink(missing_ok=True)
        stop.set()
        context.bell.set()
        if reconciler.is_alive():
            reconciler.join()
        if head is not None and head.started:
            head.stop()
        listener.close()
        log.info("stopped")


def server_options(settings: Settings) -> dict[str, Any]:
    """How uvicorn serves, addresses apart."""
    return {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": OPEN_CONNECTIONS_SECONDS,
        # By itself uvicorn believes whatever comes from 127.0.0.1: an address that is counted could be made up.
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
    }


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        raise CannotServeError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Choose another with --port; 0 picks a free one."
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


@contextmanager
def _only_service(folder: Path) -> Iterator[None]:
    """Hold the data folder: two services on one would run every job twice."""
    with (folder / "service.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotServeError(f"Another service is using {folder}. Stop it, or choose another folder.") from error
        yield


def _print(announcement: Announcement) -> None:
    console = Console()
    console.print(
        f"DALE service: [bold]{announcement.url}[/bold] (API description at {announcement.url}/docs)", soft_wrap=True
    )
    if announcement.new_key:
        console.print(f"Your key, shown this once: [bold]{announcement.new_key}[/bold]", soft_wrap=True)
        console.print(f"Use it with: export DALE_API_KEY={announcement.new_key}", soft_wrap=True)
    console.print("Ctrl-C stops it.")
