"""Pages of jobs in a real browser: the form, before a cluster that is made up, and a job as it goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import jobs
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.metrics import Metrics
from tests.unit.service.fake_ray import FakeRay
from workers.contract.request import DaleMethod, Failure, JobSpec, NetworkSpec

pytestmark = pytest.mark.real


@pytest.fixture
def ray(context: Context) -> Iterator[FakeRay]:
    """A cluster of four CPUs that the service has found."""
    fake = FakeRay()
    context.cluster.found(fake.endpoint)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def serious(page: Page) -> list[str]:
    """What axe-core finds on a page that keeps people from using it."""
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


def test_from_the_dataset_over_a_dry_run_to_the_job(
    page: Page, url: str, ray: FakeRay, finished_job: str, client: TestClient
) -> None:
    page.goto(f"{url}/datasets/ds-pages")
    page.get_by_role("link", name="Train on it").click()
    expect(page.get_by_label("Epochs")).to_have_value("60")
    page.get_by_label("Epochs").fill("7")
    page.get_by_label("Name").fill("<i>first</i>")
    page.get_by_label("Network", exact=True).select_option("SegResNet")
    expect(page.locator('[data-field="network.name"] .about')).to_contain_text("residual encoder")
    expect(page.locator('[data-field="network.arguments"] .about')).to_contain_text("init_filters")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#plan")).to_contain_text("Trains SegResNet by dale for 7 epochs on 6 images of 2 classes")
    expect(page.locator("#plan")).to_contain_text("It would start now")
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1
    body = {"dataset_id": "ds-pages", "epochs": 7, "network": {"name": "SegResNet"}}
    advised = client.post("/v1/jobs?dry_run=true", json=body).json()["suggested"][0]
    field, value = advised["field"], str(advised["value"])
    page.get_by_role("button", name=f"Take {field.replace('_', ' ')} {value}", exact=True).click()
    page.reload()  # loses nothing
    expect(page.get_by_label("Epochs")).to_have_value("7")
    expect(page.get_by_label("Network", exact=True)).to_have_value("SegResNet")
    expect(page.locator(f'[name="{field}"]')).to_have_value(value)
    page.get_by_role("button", name="Train").click()
    page.wait_for_url(re.compile("/jobs/job-[0-9a-f]"))
    expect(page.get_by_role("heading", level=1)).to_have_text("<i>first</i>")
    spec = client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    assert (spec["epochs"], spec["network"]["name"], spec["method"]["name"]) == (7, "SegResNet", "dale")
    assert (spec["dataset_id"], spec["dataset_version"], str(spec[field])) == ("ds-pages", 1, value)


def test_errors_stand_beside_their_fields(page: Page, url: str, ray: FakeRay, finished_job: str) -> None:
    page.goto(f"{url}/jobs/new?dataset=ds-pages")
    page.get_by_label("Epochs").fill("0")
    page.get_by_label("Momentum").evaluate("control => { control.value = '7'; }")  # in a part that is folded
    page.get_by_label("Arguments of the network").fill('{"chanels": [8, 16]}')
    page.get_by_role("button", name="Dry run").click()
    wrong = page.locator(".wrong:visible")
    expect(wrong).to_have_count(2)
    expect(page.locator('[data-field="epochs"] .wrong')).to_contain_text("greater than or equal to 1")
    expect(page.locator('[data-field="method.momentum"] .wrong')).to_be_visible()
    page.get_by_label("Epochs").fill("5")
    page.get_by_label("Momentum").fill("0.5")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator('[data-field="network.arguments"] .wrong')).to_contain_text("did you mean channels?")
    expect(wrong).to_have_count(1)
    page.get_by_label("Arguments of the network").fill("{nonsense")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator('[data-field="network.arguments"] .wrong')).to_contain_text("is not JSON")
    page.get_by_label("Workers", exact=True).fill("9")
    page.get_by_label("Arguments of the network").fill("{}")
    page.get_by_role("button", name="Train").click()
    expect(page.locator('[data-field="workers"] .wrong')).to_be_visible()  # more than the cluster has
    expect(page.get_by_label("Epochs")).to_have_value("5")


def test_plain_training_has_no_settings_of_dale(
    page: Page, url: str, ray: FakeRay, finished_job: str, client: TestClient
) -> None:
    page.goto(f"{url}/jobs/new?dataset=ds-pages&method.momentum=0.5")
    expect(page.get_by_label("Momentum")).to_have_value("0.5")
    page.get_by_label("plain").check()
    expect(page.get_by_label("Momentum")).to_be_hidden()
    page.get_by_role("button", name="Train").click()
    page.wait_for_url(re.compile("/jobs/job-[0-9a-f]"))
    assert client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["spec"]["method"] == {"name": "plain"}


def test_a_job_is_drawn_anew_as_it_goes_and_the_page_stays(
    context: Context, finished_job: str, scripted: ModuleType, page: Page, url: str, client: TestClient
) -> None:
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-live", JobSpec(dataset_id="ds-pages", epochs=3))
        jobs.begin_attempt(session, job, "job-live-1")
    page.goto(f"{url}/jobs/job-live")
    page.evaluate("window.loadedOnce = true")
    expect(page.locator("#log")).to_contain_text("the cluster")  # there is none, and it says so
    expect(page.locator("#charts figure")).to_have_count(0)
    for epoch in range(2):
        scripted.write_epoch(context.store, "job-live", 1, epoch, 6)
        with context.database.read() as session:
            view = view_of(jobs.unfinished(session)[0])
        take_in(context, view, IngestLag(Metrics()))
        expect(page.locator(".histogram")).to_have_attribute("aria-label", re.compile(f"in epoch {epoch + 1} "))
    shown = page.locator(".histogram").get_attribute("aria-label")
    doubted = sum(scripted.confidence(ordinal, 1) < 0.5 for ordinal in range(6))
    assert shown is not None and shown.endswith(f"{doubted} are below 0.5")
    expect(page.locator(".card")).to_have_count(6)
    assert page.evaluate("window.loadedOnce") is True
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, "job-live")
        assert job is not None
        jobs.end_attempt(session, job, "epoch 1\nimage 7 <b>cannot</b> be read")
        jobs.fail(session, job, Failure(cause="image 7 cannot be read", hint="remove it", kind="data"))
    expect(page.locator("#failure")).to_contain_text("image 7 cannot be read")
    expect(page.locator("#failure")).to_contain_text("remove it")
    expect(page.locator("#bar")).to_have_count(0)
    expect(page.locator("#log")).to_contain_text("image 7 <b>cannot</b> be read")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#state")).to_have_text("queued")  # and the failure that the stream replays is past
    expect(page.locator("#bar")).to_have_count(1)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{url}/")
    assert client.get("/v1/jobs/job-live").status_code == 404


def test_a_job_like_another_begins_with_its_values(
    context: Context, finished_job: str, page: Page, url: str, client: TestClient, ray: FakeRay
) -> None:
    spec = JobSpec(
        dataset_id="ds-pages",
        name="odd & new",
        epochs=9,
        compile=False,
        timeout_seconds=600,
        network=NetworkSpec(name="SegResNet", arguments={"init_filters": 8}),
        method=DaleMethod(momentum=0.25, refinement="pixel"),
    )
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-odd", spec)
    page.goto(f"{url}/jobs/job-odd")
    page.get_by_role("link", name="New job like it").click()
    page.get_by_role("button", name="Train").click()
    page.wait_for_url(re.compile("/jobs/job-[0-9a-f]{16}"))
    again = client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    assert JobSpec.model_validate(again) == spec


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    scheme: str, sign_in: Callable[..., Page], finished_job: str, ray: FakeRay, url: str
) -> None:
    page = sign_in(color_scheme=scheme, bypass_csp=True)  # axe is a script that is put into the page
    page.goto(f"{url}/jobs/new?dataset=ds-pages&epochs=0&method.momentum=0.5&seed=3")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator(".wrong:visible")).to_have_count(1)
    assert serious(page) == []
    page.get_by_label("Epochs").fill("5")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#plan")).to_be_visible()
    assert serious(page) == []
    page.goto(f"{url}/jobs/{finished_job}")
    assert serious(page) == []
