"""What a trial starts: processes with a log each, commands with an end, and a watcher that removes it all."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.trial.places import ROOT
from service.jobs import processes

BEGAN = time.monotonic()


class TrialError(Exception):
    """A part did not do what it should; says which and why."""


def say(text: str) -> None:
    """One line with the seconds since the beginning."""
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)  # noqa: T201


@dataclass
class Trial:
    """What is running.

    Attributes:
        folder: everything that the trial writes; its name marks every process of the trial.
        started: processes to end in order, each with its name.
    """

    folder: Path
    started: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a part in a session of its own, so that Ctrl-C reaches only this script; its output goes to a file."""
        say(f"{name}$ {shlex.join(command)}")
        with (self.folder / f"{name}.log").open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - the file's commands
                command,
                env=self.marked(env),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        self.started.append((name, process))

    def run(self, command: Sequence[str], env: Mapping[str, str], *, seconds: float = 300) -> str:
        """Run a command to its end; returns what it printed."""
        try:
            done = subprocess.run(  # noqa: S603 - the file's commands, and our own
                command,
                env=self.marked(env),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TrialError(f"{shlex.join(command)}: {error}") from error
        if done.returncode:
            raise TrialError(f"{shlex.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
        return done.stdout

    def python(self, code: str, env: Mapping[str, str], *words: str) -> str:
        """Run a line of Python with our packages; returns what it printed."""
        return self.run([sys.executable, "-c", code, *words], {"PYTHONPATH": str(ROOT), **env})

    def marked(self, env: Mapping[str, str]) -> dict[str, str]:
        """An environment by which the watcher finds whatever inherits it."""
        return {**env, processes.MARK: str(self.folder)}

    def wait(self, what: str, condition: Callable[[], str], seconds: float = 120) -> None:
        """Wait until a condition says nothing against it; a part that ends meanwhile is why it never comes true."""
        deadline = time.monotonic() + seconds
        while against := condition():
            for name, process in self.started:
                if process.poll() is not None:
                    raise TrialError(f"{name} ended with code {process.returncode}:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise TrialError(f"waited {seconds:.0f} s for {what}: {against}")
            time.sleep(0.2)

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a part's output."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the parts, the newest first."""
        for _, process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)


def watch(script: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start the watcher: a process of its own, so that it acts however the script ends."""
    return subprocess.Popen(  # noqa: S603 - the script itself
        [sys.executable, script, "--sweep", str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )


def sweep(folder: Path) -> None:
    """What the watcher does: wait until the script is gone, then end its processes and remove its folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()  # ends when the script closes the pipe, by its last line or by its death
    if folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("dale-"):
        processes.end(str(folder), None, 20)
        shutil.rmtree(folder, ignore_errors=True)
