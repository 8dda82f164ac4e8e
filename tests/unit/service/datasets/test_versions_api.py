"""New versions over HTTP: what they hold, what is refused, and that the earlier ones stay as they were."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.api.dependencies import Context
from service.datasets.correcting import Correction, read_base
from service.datasets.warned import carried
from service.db import datasets
from service.db.tables import AuditEntry, DatasetVersion, Sample
from service.errors import Conflict, FieldError
from tests.volumes import nifti
from workers.contract import keys, tables
from workers.contract.store import StoreUnavailable

Correct = Callable[..., httpx.Response]
SHAPE = (6, 7, 8)
VOLUME = np.random.default_rng(0).normal(100, 30, SHAPE).astype(np.float32)
LABEL = (VOLUME > 120).astype(np.uint8)


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def create(client: TestClient, upload: Any) -> Callable[[dict[str, bytes]], str]:
    """Upload a dataset: `create(members) -> id`."""

    def create(members: dict[str, bytes]) -> str:
        answer = client.post("/v1/datasets", files={"file": ("x.zip", upload.zip(members))}, data={"name": "lesions"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    return create


@pytest.fixture
def correct(client: TestClient, upload: Any) -> Correct:
    """Post a correction: `correct(id, masks, exclude=…, base=…)`."""

    def correct(dataset: str, masks: Any = None, headers: Any = None, **changes: Any) -> httpx.Response:
        parts: dict[str, Any] = {"changes": (None, json.dumps(changes), "application/json")}
        if masks is not None:
            parts["file"] = ("masks.zip", upload.zip(masks), "application/zip")
        return client.post(f"/v1/datasets/{dataset}/versions", files=parts, headers=headers)

    return correct


def faults(answer: httpx.Response) -> dict[str, str]:
    """The reasons of a refusal by file or field."""
    assert answer.status_code == 422, answer.text
    return {error.get("file") or error["field"]: error["reason"] for error in answer.json()["errors"]}


def test_a_version_is_its_base_but_for_the_changes(
    create: Callable[..., str], correct: Correct, client: TestClient, context: Context, upload: Any
) -> None:
    members = upload.good(4)
    dataset = create(members)
    first = client.get(f"/v1/datasets/{dataset}/versions/1/samples").json()
    mask = upload.encode(upload.disc(size=(20, 30)).T.copy().T[::-1].copy())
    answer = correct(dataset, {"masks/case 2.png": mask}, exclude=["case 1"])
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{dataset}/versions/2"
    assert client.get(answer.headers["location"]).json() == made
    assert client.get(f"/v1/datasets/{dataset}").json()["newest"] == made
    assert (made["number"], made["sample_count"], made["mask_values"]) == (2, 3, [0, 255])

    rows = client.get(made["samples"]).json()["samples"]
    assert [(row["sample"], row["ordinal"]) for row in rows] == [("case 0", 0), ("case 2", 1), ("case 3", 2)]
    assert [client.get(row["mask"]).content for row in rows] == [
        members["masks/case 0.png"],
        mask,
        members["masks/case 3.png"],
    ]
    assert client.get(rows[1]["image"]).content == members["images/case 2.png"]
    table = tables.from_parquet(context.store.get(keys.version(dataset, 2)), tables.SAMPLES)
    assert table["mask_sha256"].to_pylist() == [row["mask_sha256"] for row in rows]
    assert table["ordinal"].to_pylist() == [0, 1, 2]
    assert table["foreground"].to_pylist() == pytest.approx([row["foreground"] for row in rows])

    assert client.get(f"/v1/datasets/{dataset}/versions/1/samples").json() == first, "versions do not change"
    with context.database.read() as session:
        values = session.scalars(select(Sample.label_values).where(Sample.dataset_id == dataset, Sample.version == 2))
        assert values.all() == [",255,"] * 3
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "version.create")).one()
    assert entry.target == dataset
    assert entry.details == {"number": 2, "base": 1, "samples": 3, "excluded": 1, "relabelled": 1, "added": 0}


def test_the_base_may_be_an_older_version(create: Callable[..., str], correct: Correct, upload: Any) -> None:
    dataset = create(upload.good(3))
    assert correct(dataset, exclude=["case 0"]).json()["number"] == 2
    made = correct(dataset, exclude=["case 1"], base=1).json()
    assert (made["number"], made["sample_count"]) == (3, 2)
    assert correct(dataset, exclude=["case 1"], base=9).status_code == 404


def test_masks_are_brought_to_one_form(
    create: Callable[..., str], correct: Correct, client: TestClient, upload: Any
) -> None:
    dataset = create(upload.good(2))
    colours = upload.encode(np.stack([upload.disc()] * 3, axis=-1))
    made = correct(dataset, {"masks/case 1.png": colours})
    row = client.get(made.json()["samples"]).json()["samples"][1]
    mask = client.get(row["mask"])
    assert mask.content != colours
    assert mask.headers["content-type"] == "image/png"


def test_every_fault_is_named_and_nothing_is_stored(
    create: Callable[..., str], correct: Correct, client: TestClient, context: Context, upload: Any
) -> None:
    dataset = create(upload.good(4))
    before = list(context.store.list(""))
    masks = {
        "masks/case 0.png": b"no image",
        "masks/case 1.png": upload.encode(upload.disc(size=(8, 8))),
        "masks/case 2.png": upload.encode(upload.disc(7)),
        "masks/case 3.png": upload.encode(upload.disc()[::-1].copy()),
        "masks/case 9.png": upload.encode(upload.disc()),
        "masks/case 8.nii.gz": b"",
        "images/new.png": upload.photo(),
        "other/new.png": upload.photo(),
    }
    found = faults(correct(dataset, masks, exclude=["case 3", "nobody"]))
    assert found == {
        "masks/case 0.png": "is not a PNG, JPEG or TIFF image",
        "masks/case 1.png": "is 8 x 8, its image 30 x 20 pixels",
        "masks/case 2.png": "has the values 7",
        "masks/case 3.png": "is of a sample to exclude",
        "masks/case 9.png": "is of no sample: the version has none named 'case 9'",
        "masks/case 8.nii.gz": "is not PNG, JPEG or TIFF by its name (.nii.gz)",
        "images/new.png": "has no mask",
        "other/new.png": "is not directly in images/ or masks/",
        "exclude": "version 1 has no sample 'nobody'",
    }
    assert list(context.store.list("")) == before
    assert len(client.get(f"/v1/datasets/{dataset}/versions").json()["versions"]) == 1


def test_a_version_as_a_whole_must_make_sense(create: Callable[..., str], correct: Correct, upload: Any) -> None:
    members = upload.good(2)
    dataset = create(members)
    same = {"masks/case 0.png": members["masks/case 0.png"]}
    empty = upload.encode(np.zeros((20, 30), dtype=np.uint8))
    assert faults(correct(dataset)) == {"changes": "change nothing"}
    assert faults(correct(dataset, same)) == {"changes": "change nothing"}
    assert faults(correct(dataset, exclude=["case 0", "case 1"])) == {"exclude": "leaves no sample"}
    assert faults(correct(dataset, {f"masks/case {number}.png": empty for number in range(2)})) == {
        "changes": "leave only empty masks"
    }


def test_warnings_of_samples_that_stay_are_kept(
    create: Callable[..., str], correct: Correct, client: TestClient, upload: Any
) -> None:
    members = upload.good(6)
    empty = upload.encode(np.zeros((20, 30), dtype=np.uint8))
    members |= {f"masks/case {number}.png": empty for number in (0, 1, 2)}
    members["images/case 5.png"] = members["images/case 4.png"]
    members["notes.txt"] = b"ignored"
    dataset = create(members)

    def warnings(number: int) -> list[tuple[str, str]]:
        found = client.get(f"/v1/datasets/{dataset}/versions/{number}").json()["warnings"]
        return [(warning["file"], warning["reason"]) for warning in found]

    first = [(f"masks/case {number}.png", "is empty") for number in (0, 1, 2)]
    assert warnings(1)[1:] == [
        *first,
        ("images/case 5.png", "is the same image as images/case 4.png, with another mask"),
    ]
    mask = upload.encode(upload.disc())
    same = {"masks/case 3.png": members["masks/case 3.png"]}
    assert correct(dataset, {"masks/case 1.png": mask, **same}, exclude=["case 0"]).status_code == 201
    repeated = ("case 5", "is the same image as case 4, with another mask")
    told = ("masks/case 3.png", "is the mask that is there already in version 1")
    assert warnings(2) == [("masks/case 2.png", "is empty"), told, repeated]
    assert correct(dataset, {"masks/case 3.png": empty}).status_code == 201
    assert warnings(3) == [("masks/case 2.png", "is empty"), ("masks/case 3.png", "is empty"), repeated]
    assert correct(dataset, exclude=["case 4"]).status_code == 201
    assert warnings(4) == [("masks/case 2.png", "is empty"), ("masks/case 3.png", "is empty")]


def test_warnings_of_channels_belong_to_their_case() -> None:
    found = [
        FieldError(file=file, reason="is odd")
        for file in ("top/imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/b.nii.gz", "dataset.json", None)
    ]
    assert [warning.file for warning in carried(found, {"a", "b"}, {"b"})] == [found[0].file, found[1].file]
    assert carried(found, {"a", "a_0000"}, {"a_0000"}) == [found[1]]


def test_parts_that_cannot_be_used(create: Callable[..., str], client: TestClient, upload: Any) -> None:
    url = f"/v1/datasets/{create(upload.good(1))}/versions"
    assert faults(client.post(url, json={"exclude": []})).keys() == {"Content-Type"}
    for parts, field in (
        ({"changes": (None, "{")}, None),
        ({"changes": (None, '{"excluded": []}')}, "excluded"),
        ({"changes": (None, '{"base": 0}')}, "base"),
        ({"file": (None, "text")}, "file"),
        ({"masks": ("m.zip", b"")}, "masks"),
        ({"file": ("m.zip", b"no zip")}, "file"),
    ):
        answer = client.post(url, files=parts)
        assert answer.status_code == 422, parts
        assert [error.get("field") for error in answer.json()["errors"]] == [field], parts


def test_volumes(create: Callable[..., str], correct: Correct, client: TestClient, context: Context) -> None:
    names = "abc"
    members = {f"images/{name}.nii.gz": nifti(VOLUME + number) for number, name in enumerate(names)}
    dataset = create(members | {f"masks/{name}.nii.gz": nifti(LABEL) for name in names})
    moved = np.diag([-1.0, -1.0, 1.0, 1.0])
    moved[0, 3] = 5
    refused = {
        "masks/a.nii.gz": nifti(LABEL[:, :, :4]),
        "masks/b.nii.gz": nifti(LABEL * 2),
        "masks/c.nii.gz": nifti(LABEL, moved),
    }
    found = faults(correct(dataset, refused))
    assert found.keys() == refused.keys()
    assert found["masks/a.nii.gz"] == "has 6 x 7 x 4 voxels, its image 6 x 7 x 8"
    assert found["masks/b.nii.gz"] == "has the values 2"
    assert "its image" in found["masks/c.nii.gz"]
    mask = nifti(1 - LABEL)
    made = correct(dataset, {"masks/b.nii.gz": mask}, exclude=["a"])
    assert made.status_code == 201, made.text
    rows = client.get(made.json()["samples"]).json()["samples"]
    assert [(row["sample"], row["depth"]) for row in rows] == [("b", 8), ("c", 8)]
    assert all(row["spacing"] for row in rows)
    assert client.get(rows[0]["mask"]).content == mask
    table = tables.from_parquet(context.store.get(keys.version(dataset, 2)), tables.VOLUMES)
    assert table["foreground"].to_pylist() == pytest.approx([1 - LABEL.mean(), LABEL.mean()])


def test_a_repeated_request_makes_one_version(create: Callable[..., str], correct: Correct, upload: Any) -> None:
    dataset = create(upload.good(3))
    once = {"Idempotency-Key": "once"}
    answers = [correct(dataset, headers=once, exclude=["case 0"]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert correct(dataset, headers=once, exclude=["case 1"]).status_code == 422


def test_of_two_at_once_the_second_is_refused(create: Callable[..., str], context: Context, upload: Any) -> None:
    dataset = create(upload.good(3))
    with context.database.read() as session:
        base = read_base(session, dataset, None)
    works = [Correction(context.store, context.settings.import_limits, base, [f"case {n}"], None) for n in range(2)]
    for work in works:
        work.check()
    with context.sessions.begin() as session:
        works[0].record(session)
    written = context.store.get(keys.version(dataset, 2))
    with pytest.raises(Conflict), context.sessions.begin() as session:
        works[1].record(session)
    assert context.store.get(keys.version(dataset, 2)) == written, "the list of the first one stays"


@pytest.mark.parametrize("method", ["put", "put_file"])
def test_a_store_that_fails_leaves_no_version(
    create: Callable[..., str],
    correct: Correct,
    context: Context,
    upload: Any,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    dataset = create(upload.good(3))
    masks = {"masks/case 0.png": upload.encode(upload.disc()[::-1].copy())}
    with monkeypatch.context() as broken:

        def fail(*_args: Any, **_kwargs: Any) -> None:
            raise StoreUnavailable("the store is away")

        broken.setattr(type(context.store), method, fail)
        assert correct(dataset, masks, headers={"Idempotency-Key": "again"}).status_code == 503
    with context.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DatasetVersion)) == 1
        assert session.scalar(select(func.count()).select_from(Sample)) == 3
    assert not context.store.exists(keys.version(dataset, 2))
    assert correct(dataset, masks, headers={"Idempotency-Key": "again"}).json()["number"] == 2


def test_a_large_list_of_names_fits(create: Callable[..., str], correct: Correct, upload: Any) -> None:
    dataset = create(upload.good(1))
    answer = correct(dataset, exclude=["x" * 200 + str(number) for number in range(6000)])
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 6000


def test_what_changed_from_one_version_to_another(
    create: Callable[..., str], correct: Correct, client: TestClient, upload: Any
) -> None:
    dataset = create(upload.good(5))
    correct(dataset, {"masks/case 4.png": upload.encode(upload.disc()[::-1].copy())}, exclude=["case 0", "case 3"])
    url = f"/v1/datasets/{dataset}/versions"
    assert client.get(f"{url}/1/diff/2").json() == {
        "added": 0,
        "removed": 2,
        "relabelled": 1,
        "changed_image": 0,
        "samples": [
            {"sample": "case 0", "changes": ["removed"]},
            {"sample": "case 3", "changes": ["removed"]},
            {"sample": "case 4", "changes": ["relabelled"]},
        ],
        "next_page_token": None,
    }
    back = client.get(f"{url}/2/diff/1").json()
    assert (back["added"], back["removed"], back["relabelled"]) == (2, 0, 1)
    same = client.get(f"{url}/2/diff/2").json()
    assert (same["added"], same["removed"], same["relabelled"], same["samples"]) == (0, 0, 0, [])
    assert client.get(f"{url}/1/diff/3").status_code == client.get(f"{url}/3/diff/1").status_code == 404

    names, token = [], ""
    while token is not None:
        page = client.get(f"{url}/1/diff/2", params={"page_size": 1, "page_token": token}).json()
        assert page["removed"] == 2, "counts are of all, on every page"
        names += [row["sample"] for row in page["samples"]]
        token = page["next_page_token"]
    assert names == ["case 0", "case 3", "case 4"]


def test_image_and_mask_of_a_sample_may_both_differ(
    create: Callable[..., str], client: TestClient, context: Context, upload: Any
) -> None:
    dataset = create(upload.good(1))
    with context.sessions.begin() as session:
        rows = datasets.rows(session, dataset, 1)
        version = DatasetVersion(dataset_id=dataset, number=2, mask_values=[0, 255], warnings=[], layout="folders")
        datasets.add_version(session, version, [{**rows[0], "image_sha256": "0" * 64, "mask_sha256": "1" * 64}])
    found = client.get(f"/v1/datasets/{dataset}/versions/1/diff/2").json()
    assert found["samples"] == [{"sample": "case 0", "changes": ["relabelled", "changed_image"]}]
    assert (found["relabelled"], found["changed_image"]) == (1, 1)
