"""Processes that belong to a Ray head, found by what they hold of its folder (Linux).

Pids are reused and process groups are left, but whatever a head starts, directly or by way of others, inherits an
environment that names the head's folder; and those that write their title over it (Ray's workers and agents) work in
that folder or log to it. The folder's name is random, so it names exactly the processes of one head.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "DALE_RAY_HEAD"


def marked(folder: str) -> list[int]:
    """Pids of the live processes that belong to the head with this folder."""
    return [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and _belongs(entry, folder)
    ]


def _belongs(process: Path, folder: str) -> bool:
    try:
        if f"{MARK}={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
            return True
        links = [process / "cwd", *(process / "fd").iterdir()]
    except OSError:  # somebody else's, or gone meanwhile
        return False
    return any(_points_into(link, folder) for link in links)


def _points_into(link: Path, folder: str) -> bool:
    try:
        target = str(link.readlink())
    except OSError:  # closed meanwhile
        return False
    return target == folder or target.startswith(folder + "/")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def end(folder: str, first: int | None, patience: float) -> None:
    """End all processes of a head: ask one of them (the head, which takes the others along), then insist."""
    seen = set(marked(folder))
    if first is not None and first in seen:
        _signal(first, signal.SIGTERM)
        _wait_for([first], patience)
    deadline = time.monotonic() + patience
    while left := marked(folder):
        seen.update(left)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        _wait_for(left, 1)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {left} of the Ray head do not end")
    _wait_for(sorted(seen), patience)  # one that is about to be gone has no environment and no files any more


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it went by itself: what we wanted
        return


def _wait_for(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
