"""How the asynchronous client waits; `service.client.waiting` is its twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

Result = TypeVar("Result")
Given = TypeVar("Given")


async def sleep(seconds: float) -> None:
    """Let others go on for a while."""
    await anyio.sleep(seconds)


async def in_thread(work: Callable[[Given], Result], given: Given) -> Result:
    """Do what takes its time beside the event loop."""
    return await anyio.to_thread.run_sync(work, given)
