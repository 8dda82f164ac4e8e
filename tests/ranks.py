"""Ranks of a process group that tests and benchmarks start themselves."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def leave() -> NoReturn:
    """End this rank's process, successfully, without the interpreter's end.

    There gloo's threads, which live as long as DDP refers to the group, may still free a Python tensor of the last
    collective, and the process aborts (pytorch/pytorch#179291).
    """
    sys.stdout.flush()
    os._exit(0)
