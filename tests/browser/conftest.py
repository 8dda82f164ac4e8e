"""A browser before the application, served on a port."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from service.api.dependencies import Context
from service.db import access
from service.db.tables import DEFAULT_PROJECT
from service.roles import Role
from tests.conftest import API_KEY
from tests.review_jobs import reviewable_job

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer than a file: Playwright's event loop would stand in the way of other tests'."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def sign_in(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Open a browser of its own that has signed in by the link with a key: `sign_in(key, **options of its context)`.

    Nothing is shared with other tests: cookies and storage belong to the context, which ends with the test. Errors of
    the page's scripts fail the test.
    """
    errors: list[str] = []
    opened: list[BrowserContext] = []

    def sign_in(key: str = API_KEY, **options: Any) -> Page:
        opened.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = opened[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/login#{key}")
        page.wait_for_url(f"{url}/")
        return page

    yield sign_in
    for context in opened:
        context.close()
    assert errors == []


@pytest.fixture
def page(sign_in: Callable[..., Page]) -> Page:
    """One such browser."""
    return sign_in()


@pytest.fixture
def dataset(client: TestClient, context: Context, scripted: ModuleType) -> str:
    """Id of a dataset with the job `tests.review_jobs.JOB` over it."""
    return reviewable_job(client, context, scripted)


@pytest.fixture
def key_of(context: Context) -> Callable[..., str]:
    """A key of the project for somebody: `key_of(name, role)`."""

    def key_of(name: str, role: Role = Role.REVIEW) -> str:
        key = access.new_key()
        with context.sessions.begin() as session:
            access.add_key(session, key, name=name, role=role, project_id=DEFAULT_PROJECT, created_by="tests")
        return key

    return key_of
