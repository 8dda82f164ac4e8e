"""Pages of datasets, the forms, and what was added to the API for them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from service.api.dependencies import Context
from service.db import access
from service.db.balance import balance
from service.db.tables import DEFAULT_PROJECT, DatasetVersion, Sample
from service.resources.uploading import UploadFields
from service.roles import Role
from service.web.dataset_pages import by_reason
from service.web.forms import form_fields
from service.web.job_pages import grouped, method_fields, network_fields
from tests.conftest import API_KEY
from tests.volume_jobs import upload_volumes
from workers.contract.request import JobSpec

OVERLAY = "/v1/datasets/ds-pages/versions/1/samples/case%201/overlay"


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    """Somebody who has signed in on the page."""
    assert stranger.post("/login", data={"key": API_KEY}, follow_redirects=False).status_code == 303
    return stranger


def test_a_dataset_page_shows_names_as_text(browser: TestClient, finished_job: str) -> None:
    page = browser.get("/datasets/ds-pages")
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "&lt;b&gt;bold" in page.text
    assert "<script>alert" not in page.text and "<b>bold" not in page.text
    form = browser.get("/jobs/new?dataset=ds-pages&name=%3Cscript%3Ealert%282%29&epochs=%22%3E%3Cb%3E").text
    assert "<script>alert" not in form and '"><b>' not in form


def test_unknown_datasets_and_versions_get_a_page_of_their_own(browser: TestClient, finished_job: str) -> None:
    for query in ("none", "ds-pages?version=2", "ds-pages?from=1&to=9"):
        answer = browser.get(f"/datasets/{query}")
        assert (answer.status_code, "Not found" in answer.text) == (404, True), query
    assert browser.get("/jobs/new?dataset=none").status_code == 404


def test_warnings_are_grouped_by_reason(browser: TestClient, context: Context, finished_job: str) -> None:
    warnings = [{"file": f"masks/<{n}>.png", "reason": "is empty", "hint": "look"} for n in range(3)]
    warnings += [{"field": "images", "reason": "are small", "hint": ""}]
    with context.sessions.begin() as session:
        session.get_one(DatasetVersion, ("ds-pages", 1)).warnings = warnings
    page = browser.get("/datasets/ds-pages").text
    assert page.count("is empty") == 1
    assert re.search(r'is empty <span class="muted">3</span>', page)
    assert "&lt;2&gt;.png" in page
    assert by_reason([]) == []


def test_versions_are_compared(browser: TestClient, client: TestClient, finished_job: str) -> None:
    changes = {"changes": (None, '{"base": 1, "exclude": ["case 2", "case 3"]}')}
    assert client.post("/v1/datasets/ds-pages/versions", files=changes).status_code == 201
    page = browser.get("/datasets/ds-pages?from=1&to=2").text
    assert "2 removed" in page
    assert "/versions/1/samples/case%202/overlay" in page
    assert "Nothing differs" in browser.get("/datasets/ds-pages?from=2&to=2").text


def test_who_may_only_read_is_told_so(context: Context, stranger: TestClient, finished_job: str) -> None:
    key = access.new_key()
    with context.sessions.begin() as session:
        access.add_key(session, key, name="reader", role=Role.READ, project_id=DEFAULT_PROJECT, created_by="tests")
    stranger.post("/login", data={"key": key})
    for path in ("/datasets/new", "/jobs/new?dataset=ds-pages"):
        answer = stranger.get(path)
        assert (answer.status_code, "needs a key with the role train" in answer.text) == (403, True)
    page = stranger.get(f"/jobs/{finished_job}").text
    assert "data-deed" not in page and "New job like it" not in page


def test_the_label_is_outlined_and_the_picture_kept(client: TestClient, finished_job: str) -> None:
    first = client.get(f"{OVERLAY}?size=128&format=png")
    picture = np.asarray(Image.open(io.BytesIO(first.content)).convert("RGB")).astype(int)
    assert picture.shape == (96, 128, 3)
    outline = np.argwhere((picture == (0, 114, 178)).all(-1))
    centre, radius = outline.mean(0), np.linalg.norm(outline - (48, 56), axis=1)  # the disc of case 1, twice as large
    assert np.allclose(centre, (48, 56), atol=2.5) and radius.min() > 16 and radius.max() < 23
    again = client.get(f"{OVERLAY}?size=128&format=png", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"{OVERLAY}?size=12").status_code == 422


def test_volumes_have_pages_too(browser: TestClient, client: TestClient) -> None:
    dataset_id = upload_volumes(client)["id"]
    page = browser.get(f"/datasets/{dataset_id}").text
    assert "<dd>volumes</dd>" in page and page.count("<img loading") == 6
    picture = client.get(f"/v1/datasets/{dataset_id}/versions/1/samples/case_000/overlay?size=64")
    assert max(Image.open(io.BytesIO(picture.content)).size) == 64
    form = browser.get(f"/jobs/new?dataset={dataset_id}").text
    assert 'name="patch_size"' in form and 'name="image_size"' not in form


def test_an_upload_form_has_every_option() -> None:
    fields = {field.name: field for field in form_fields(UploadFields.model_json_schema(), {}, {"name"})}
    assert fields.keys() == UploadFields.model_fields.keys() - {"name"}
    threshold = fields["mask_threshold"]
    assert (threshold.kind, threshold.default) == ("integer", "")
    assert threshold.attributes == {"min": 1, "max": 255, "step": 1}
    assert (fields["layout"].kind, fields["layout"].options[:2]) == ("choice", ["auto", "folders"])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_job_form_forgets_no_field(spatial_dims: int) -> None:
    schema = JobSpec.model_json_schema()
    apart = {"dataset_id", "dataset_version", "network", "method"}
    fields = form_fields(schema, {"epochs": "7"}, apart)
    shown = [field.name for _, group in grouped(fields, spatial_dims) for field in group]
    assert len(shown) == len(set(shown))
    hidden = "image_size" if spatial_dims == 3 else "patch_size"
    assert set(shown) == JobSpec.model_fields.keys() - apart - {hidden}
    epochs = next(field for field in fields if field.name == "epochs")
    assert (epochs.default, epochs.value, epochs.changed) == ("60", "7", True)
    assert [field.name for field in network_fields(schema, {})] == ["network.name", "network.arguments"]
    assert {name: bool(fields) for name, (_, fields) in method_fields(schema, {}).items()} == {
        "dale": True,
        "plain": False,
    }


class TestQueries:
    """What the database counts, on both databases."""

    @pytest.fixture
    def database_url(self, both_databases: str) -> str:
        return both_databases

    def test_samples_by_their_share_of_foreground(self, context: Context, add_dataset: Callable[..., str]) -> None:
        dataset_id = add_dataset(6)
        shares = [0.0, 0.01, 0.011, 0.3, 0.5, 1.0]
        with context.sessions.begin() as session:
            for row, share in zip(session.scalars(select(Sample).order_by(Sample.ordinal)), shares, strict=True):
                row.foreground = share
        with context.database.read() as session:
            found = balance(session, dataset_id, 1)
            assert (found.empty, found.counts) == (1, (1, 1, 0, 0, 0, 2, 1))
            assert found.mean == pytest.approx(sum(shares) / 6)
            assert balance(session, dataset_id, 2).counts == (0,) * 7
