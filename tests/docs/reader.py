"""A reader who types what a page says, command by command, into one shell."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from service.child import environment
from tests.docs.blocks import ROOT, Block

# Which commands make something; what they print last is what `ds-…` and the like mean from then on.
MAKES = {
    "ds": r"dale upload|/v1/datasets\"",
    "job": r"dale train|dale reproduce|--again|/v1/jobs\"|/v1/jobs:predict\"",
    "prj": r"dale projects create",
    "key": r"dale keys create",
    "cv": r"dale cross-validate ",
    "upl": r"/v1/uploads\"",
}
# A reader has minutes for a training; a test has seconds.
QUICK = {
    "dale train": "--epochs 4 --batch-size 8 --exports onnx "
    """--network-arguments '{"channels": [4, 8], "strides": [2]}'""",
    "curl": "--fail-with-body",
}
QUICK_SIZE = 'case "$*" in *--patch-size*) size="--patch-size 16";; *) size="--image-size 32";; esac'
SHORTER = {
    '"epochs": 60': '"epochs": 4',
    '"image_size": 128': '"image_size": 32',
    '"channels": [16, 32, 64, 128], "strides": [2, 2, 2]': '"channels": [4, 8], "strides": [2]',
    "folds 5": "folds 2",
    "folds=5": "folds=2",
    "epochs=60": 'epochs=4, image_size=32, exports=["onnx"]',
}
ADDRESS = "http://127.0.0.1:8000"
DONE = "=== done"


class Reader:
    """A shell in a folder of its own; it is signed in to the service, and knows the ids that were printed."""

    def __init__(self, folder: Path, url: str, key: str, ids: Mapping[str, str], *, signed_in: bool = True) -> None:
        self.folder, self.url, self.key, self.ids = folder, url, key, dict(ids)
        known = {"DALE_URL": url, "DALE_API_KEY": key, "DALE": url, "AUTH": f"Authorization: Bearer {key}"}
        self.environment = environment(
            HOME=str(folder),
            XDG_CONFIG_HOME=str(folder / ".config"),
            PATH=self._wrappers(),
            PYTHONPATH=str(ROOT),
            BROWSER="true",
            LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="studio",
            **(known if signed_in else {}),
        )
        self.shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # no terminal: nothing can ask
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.shell.pid, signal.SIGKILL)  # with whatever it waits for
        self.shell.wait()
        for pipe in (self.shell.stdin, self.shell.stdout):
            assert pipe
            pipe.close()

    def _wrappers(self) -> str:
        """A PATH on which `python` and `dale` are ours, and the slow ones quick."""
        places = self.folder / ".bin"
        places.mkdir()
        path = f"{places}:{os.environ['PATH']}"
        python = shlex.quote(sys.executable)
        curl = subprocess.run(["which", "curl"], capture_output=True, text=True, check=True).stdout.strip()
        scripts = {
            "python": f'exec {python} "$@"',
            "dale": f"{QUICK_SIZE}\n"
            f'[ "$1" != train ] || set -- "$@" $size {QUICK["dale train"]}\nexec {python} -m service.cli "$@"',
            "curl": f'exec {curl} {QUICK["curl"]} "$@"',
        }
        for name, script in scripts.items():
            (places / name).write_text(f"#!/bin/sh\n{script}\n")
            (places / name).chmod(0o755)
        # What `. .venv/bin/activate` finds.
        (self.folder / ".venv/bin").mkdir(parents=True)
        (self.folder / ".venv/bin/activate").write_text(f"export PATH={shlex.quote(path)}\n")
        return path

    def follow(self, block: Block) -> None:
        """Do what a block says; everything in it must succeed."""
        for number, command in commands(block) if block.language == "sh" else [(block.line, block.code)]:
            said, code = self.do(command, block.language)
            assert code == 0, f"{block.page}:{number}: exit code {code}\n{command}\n{said}"

    def do(self, command: str, language: str = "sh") -> tuple[str, int]:
        """What a command printed, and its exit code."""
        typed = self.typed(command)
        if language == "python":
            (self.folder / ".block.py").write_text(typed)
            typed = "python .block.py"
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(f"{{ {typed}\n}} </dev/null\ncode=$?; echo; echo '{DONE}' $code\n")
        self.shell.stdin.flush()
        said = []
        for line in self.shell.stdout:
            if line.startswith(DONE):
                break
            said.append(line)
        else:
            raise AssertionError(f"the shell ended at: {command}\n{''.join(said)}")
        output = "".join(said)
        for kind, makes in MAKES.items():
            if re.search(makes, command) and (found := re.findall(rf"\b{kind}-[0-9a-z]{{8,}}\b", output)):
                made = [one for one in found if one != self.ids.get(kind)]  # not what it is made from
                self.ids[kind] = (made or found)[-1]
        return output, int(line.split()[-1])

    def typed(self, command: str) -> str:
        """The command with real ids and address, and less to do."""
        for kind, known in self.ids.items():
            command = command.replace(f"{kind}-…", known)
        assert "-…" not in command.split(" # ")[0], f"nothing was made yet that is meant in: {command}"
        command = command.replace(f"dale login {ADDRESS}", f"dale login {self.url} --key {self.key}")
        for long, short in {ADDRESS: self.url, **SHORTER}.items():
            command = command.replace(long, short)
        return command


def commands(block: Block) -> Iterator[tuple[int, str]]:
    """The whole commands of a shell block, each with the number of its first line."""
    pending: list[str] = []
    for number, line in enumerate(block.code.splitlines(), block.line):
        if not pending and (not line.strip() or line.startswith("#")):
            continue
        pending.append(line)
        command = "\n".join(pending)
        syntax = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False)
        if not line.endswith("\\") and syntax.returncode == 0:
            yield number - len(pending) + 1, command
            pending = []
    assert not pending, f"{block.page}:{block.line}: no whole command: {command}"
