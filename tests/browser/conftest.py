"""A browser before the application, served on a port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import API_KEY

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The application on a free port of the loopback interface."""
    listening = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            listening.set()

    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(20)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def sign_in(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Open a browser of its own that has signed in by the link with a key: `sign_in(key, **options of its context)`.

    Errors of the page's scripts fail the test.
    """
    errors: list[str] = []

    def sign_in(key: str = API_KEY, **options: Any) -> Page:
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}).new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/login#{key}")
        page.wait_for_url(f"{url}/")
        return page

    yield sign_in
    assert errors == []


@pytest.fixture
def page(sign_in: Callable[..., Page]) -> Page:
    """One such browser."""
    return sign_in()
