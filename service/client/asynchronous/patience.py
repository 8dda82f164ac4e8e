"""What the client does where it asks too often: it waits as the service says, and asks again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from service.client.asynchronous.waiting import sleep

LIMITED = 429
WAITS = 5  # for each request
LONGEST_S = 60  # whoever is told to stay away for longer is told so, and not kept waiting


class PatientClient(httpx.AsyncClient):
    """Sends a request again that was refused for coming too soon, a few times at most.

    Args:
        sleep: waits for seconds.
        options: those of `httpx.AsyncClient`.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = sleep, **options: Any) -> None:
        super().__init__(**options)
        self._sleep = sleep

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send; the last answer is passed on, whatever it is."""
        for _ in range(WAITS):
            response = await super().send(request, **options)
            after = response.headers.get("retry-after", "")
            if response.status_code != LIMITED or not after.isdecimal() or int(after) > LONGEST_S:
                return response
            await response.aclose()
            await self._sleep(int(after))
        return await super().send(request, **options)
