"""The tools that open our exports, in an environment of their own, which the first test that asks for it makes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PINNED = HERE / "consumers.txt"
PLACE = HERE.parent / "build" / "consumers"


def python() -> Path:
    """The Python that has them: that of DALE_TEST_CONSUMERS, else one that is made here, once for each list of pins."""
    place = Path(os.environ.get("DALE_TEST_CONSUMERS") or PLACE)
    made = place / "bin" / "python"
    if place == PLACE:
        place.parent.mkdir(exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
            _make(place, made)
    return made


def _make(place: Path, made: Path) -> None:
    stamp = place / "installed.txt"
    if stamp.exists() and stamp.read_text() == PINNED.read_text():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    quietly = ["install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([made, "-m", "pip", *quietly, "--requirement", PINNED], check=True)
    stamp.write_text(PINNED.read_text())


def run(code: str, folder: Path, **given: Any) -> Any:
    """What a piece of code says there: it has `folder` and `given`, and leaves its answer, as JSON, in `answer`."""
    lines = [
        "import json, pathlib, sys",
        "folder, given = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])",
        code,
        "(folder / 'answer.json').write_text(json.dumps(answer))",
    ]
    home = folder / "home"
    home.mkdir(exist_ok=True)
    clean = {"HOME": str(home), "PATH": os.environ["PATH"], "FIFTYONE_DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python(), "-c", "\n".join(lines), folder, json.dumps(given)],
        env=clean,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "answer.json").read_text())
