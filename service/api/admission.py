"""Who is let in, and how often: a budget for each key, and a smaller one for each address that shows no good key."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

from fastapi import Request

from service.buckets import Buckets, Remembered
from service.db.access import fingerprint
from service.errors import TooManyRequests
from service.metrics import Metrics
from service.roles import Caller


class Admission:
    """The budgets of one process.

    A key or a browser's session that was good before from the same address is always looked at, whatever others do
    there; any other one only while the address has attempts left. So keys cannot be tried out, and who works is not
    locked out by a neighbour behind the same address who tries. Attempts that arrive at one moment
    are looked at together, as many as the server has threads.

    Args:
        requests: a minute, for each key.
        attempts: a minute with no good key, for each address.
        metrics: where refusals are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self, requests: int, attempts: int, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests_a_minute = requests
        self._requests = Buckets(requests, clock=clock)
        self._attempts = Buckets(attempts, clock=clock)
        self._keyless = Buckets(attempts, clock=clock)
        self._good = Remembered()
        self._metrics = metrics

    def look_up(self, request: Request, credential: str, find: Callable[[], Caller | None]) -> Caller | None:
        """Whose credential this is: what `find` says, if it may be asked.

        Raises:
            TooManyRequests: too many wrong ones came from this address; this one was not looked at.
        """
        address = client_network(request)
        pair = fingerprint(f"{address} {credential}")
        if pair not in self._good and (seconds := self._attempts.wait(address)):
            raise self._refusal("attempts", seconds, "Too many wrong keys came from your address.")
        caller = find()
        if caller is None:
            self._attempts.take(address)
        else:
            self._good.add(pair)
        return caller

    def count_keyless(self, request: Request) -> None:
        """Count a request that shows no key where one is needed.

        Raises:
            TooManyRequests: there were too many from this address.
        """
        if seconds := self._keyless.take(client_network(request)):
            raise self._refusal("attempts", seconds, "Too many requests without a key came from your address.")

    def count(self, caller: Caller) -> None:
        """Count a request of a key.

        Raises:
            TooManyRequests: the key's budget is used up.
        """
        if seconds := self._requests.take(caller.key_id):
            allowed = f"This key may ask {self._requests_a_minute} times a minute."
            raise self._refusal("key", seconds, allowed)

    def _refusal(self, limit: str, seconds: float, why: str) -> TooManyRequests:
        self._metrics.limited.labels(limit).inc()
        after = max(1, math.ceil(seconds))
        return TooManyRequests(f"{why} Try again in {after} s.", retry_after=after)


def client_network(request: Request) -> str:
    """Where a request comes from: the IPv4 address, or the /64 of an IPv6 one, of which one host has them all.

    The server puts the client's address in place of a proxy's only where the proxy is one of DALE_TRUSTED_PROXIES.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
