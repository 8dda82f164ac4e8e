"""The form of a job in a real browser, before a cluster that is made up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.unit.service.fake_ray import FakeRay

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
    page.reload()  # loses nothing
    expect(page.get_by_label("Epochs")).to_have_value("7")
    expect(page.get_by_label("Network", exact=True)).to_have_value("SegResNet")
    page.get_by_role("button", name="Train").click()
    page.wait_for_url(re.compile("/jobs/job-[0-9a-f]"))
    expect(page.get_by_role("heading", level=1)).to_have_text("<i>first</i>")
    spec = client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    assert (spec["epochs"], spec["network"]["name"], spec["method"]["name"]) == (7, "SegResNet", "dale")
    assert (spec["dataset_id"], spec["dataset_version"], spec["batch_size"]) == ("ds-pages", 1, 16)


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
