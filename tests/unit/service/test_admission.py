"""Limits: of each key, and of each address that shows no good one; told with a time, counted, and outside of health."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from service.api.admission import Admission, client_network
from service.api.dependencies import SESSION_COOKIE, Context
from service.embedded import server_options
from service.metrics import Metrics
from service.settings import Settings
from tests.unit.service.scraping import Sample
from tests.unit.service.test_buckets import Clock

REQUESTS, ATTEMPTS = 6, 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def few(app: FastAPI, clock: Clock, metrics: Metrics) -> None:
    """Small budgets, and time stands."""
    app.state.admission = Admission(REQUESTS, ATTEMPTS, metrics, clock=clock)


def from_address(app: FastAPI, host: str, key: str | None = None) -> TestClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(app, raise_server_exceptions=False, client=(host, 1), headers=headers)


def statuses(caller: TestClient, tries: int, path: str = "/v1/me") -> list[int]:
    return [caller.get(path).status_code for _ in range(tries)]


def test_a_key_has_a_budget_wherever_it_is_used(app: FastAPI, client: TestClient, clock: Clock) -> None:
    key = client.headers["Authorization"].split()[1]
    assert statuses(client, REQUESTS - 1) == [200] * (REQUESTS - 1)
    assert statuses(from_address(app, "10.0.0.9", key), 2) == [200, 429]
    refused = client.get("/v1/me")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["retry-after"] == "10"
    assert refused.json()["type"] == "urn:dale:problem:too-many-requests"
    assert "6 times a minute" in refused.json()["detail"]
    clock.now += 10
    assert statuses(client, 2) == [200, 429]


def test_health_and_metrics_are_outside(app: FastAPI, client: TestClient, scrape: Callable[[], Sample]) -> None:
    statuses(client, REQUESTS + 2)
    statuses(from_address(app, "10.0.0.9", "wrong"), ATTEMPTS + 4)
    assert statuses(client, 2 * REQUESTS, "/healthz") == [200] * 2 * REQUESTS
    assert statuses(client, 2 * REQUESTS, "/metrics") == [200] * 2 * REQUESTS
    told = scrape()
    assert told("dale_http_requests_limited_total", limit="key") == 2
    assert told("dale_http_requests_limited_total", limit="attempts") == 4


def test_wrong_keys_cannot_be_tried_out(app: FastAPI, client: TestClient, clock: Clock) -> None:
    key = client.headers["Authorization"].split()[1]
    tries = [from_address(app, "10.0.0.9", f"wrong-{number}") for number in range(ATTEMPTS + 1)]
    assert [one.get("/v1/me").status_code for one in tries] == [401] * ATTEMPTS + [429]
    assert statuses(from_address(app, "10.0.0.9", key), 1) == [429], "nor would the right one be found"
    assert statuses(from_address(app, "10.0.0.9", "wrong"), 1, "/metrics") == [429], "there is no other door"
    assert statuses(from_address(app, "10.0.0.8", key), 1) == [200], "elsewhere nobody tried"
    clock.now += 60
    assert statuses(from_address(app, "10.0.0.9", key), 1) == [200]


def test_who_works_is_not_locked_out_by_a_neighbour(app: FastAPI, client: TestClient) -> None:
    key = client.headers["Authorization"].split()[1]
    assert statuses(from_address(app, "10.0.0.9", key), 1) == [200]
    assert 429 in statuses(from_address(app, "10.0.0.9", "wrong"), 20)
    assert 429 in statuses(from_address(app, "10.0.0.9"), 20)
    assert statuses(from_address(app, "10.0.0.9", key), 1) == [200]


def test_a_revoked_key_is_forgotten_though_it_was_good_here(app: FastAPI, client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "Ada"}).json()
    ada = from_address(app, "10.0.0.9", made["key"])
    assert statuses(ada, 1) == [200]
    client.delete(f"/v1/keys/{made['id']}")
    assert statuses(ada, 1) == [401]


def test_no_key_has_a_bucket_of_its_own(app: FastAPI, client: TestClient) -> None:
    key = client.headers["Authorization"].split()[1]
    assert statuses(from_address(app, "10.0.0.9"), ATTEMPTS + 1) == [401] * ATTEMPTS + [429]
    assert statuses(from_address(app, "10.0.0.9", key), 1) == [200], "nothing was tried out"


def test_the_pages_sign_in_is_a_door_too(app: FastAPI, client: TestClient) -> None:
    key = client.headers["Authorization"].split()[1]
    browser = from_address(app, "10.0.0.9")
    answers = [browser.post("/login", data={"key": f"wrong-{number}"}) for number in range(ATTEMPTS + 1)]
    assert [answer.status_code for answer in answers] == [401] * ATTEMPTS + [429]
    assert "Too many wrong keys" in answers[-1].text
    assert answers[-1].headers["retry-after"] == "20"
    browser.cookies.set(SESSION_COOKIE, "made-up")
    assert browser.get("/", follow_redirects=False).status_code == 303
    other = from_address(app, "10.0.0.8")
    assert other.post("/login", data={"key": key}, follow_redirects=False).status_code == 303
    assert statuses(other, REQUESTS + 1, "/") == [200] * REQUESTS + [429], "the key's budget, by the browser"


def test_every_route_that_asks_for_a_key_says_so(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    operations = [one for path in described["paths"].values() for one in path.values()]
    limited = [one for one in operations if "429" in one["responses"]]
    assert limited == [one for one in operations if "security" in one]
    assert len(limited) > 40
    assert limited[0]["responses"]["429"]["headers"]["Retry-After"]


def test_a_host_of_ipv6_is_one_address() -> None:
    def network(host: str) -> str:
        return client_network(Request({"type": "http", "client": (host, 1)}))

    assert network("2001:db8:1:2::1") == network("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::1") != network("2001:db8:1:2::1")
    assert network("::ffff:10.0.0.9") == network("10.0.0.9") == "10.0.0.9"
    assert len(network("x" * 5000)) == 64


@contextlib.contextmanager
def served(app: FastAPI, settings: Settings) -> Iterator[str]:
    """The application behind uvicorn, with the options of `dale serve`."""
    listening = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:  # type: ignore[no-untyped-def]
            await super().startup(sockets)
            listening.set()

    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, **server_options(settings)))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(20)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [("", [401] * 3 + [429] * 3), ("127.0.0.1", [401] * 6), ("10.0.0.0/8", [401] * 3 + [429] * 3)],
)
def test_only_named_proxies_say_who_asks(
    app: FastAPI, context: Context, trusted: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own; ours is said or nobody is believed
    settings = context.settings.model_copy(update={"trusted_proxies": trusted})
    with served(app, settings) as url:
        answers = [
            httpx.get(f"{url}/v1/me", headers={"Authorization": "Bearer no", "X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(6)
        ]
    assert [answer.status_code for answer in answers] == expected


def test_behind_a_proxy_the_address_it_adds_counts_and_not_one_made_up(app: FastAPI, context: Context) -> None:
    settings = context.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    with served(app, settings) as url:
        answers = [
            httpx.get(
                f"{url}/v1/me",
                headers={"Authorization": "Bearer no", "X-Forwarded-For": f"192.0.2.{number}, 198.51.100.7"},
            )
            for number in range(4)
        ]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429]


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="DALE_TRUSTED_PROXIES names addresses or networks"):
        Settings(trusted_proxies="127.0.0.1,nginx")
