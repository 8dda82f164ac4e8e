"""How the client waits; `service.client.asynchronous.waiting` is its twin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
Given = TypeVar("Given")


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def in_thread(work: Callable[[Given], Result], given: Given) -> Result:
    """Do it: nobody else is kept waiting."""
    return work(given)
