"""Uploading over HTTP: all of it or nothing, and what can be read afterwards."""

import hashlib
import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import event, func, select

from service.api.dependencies import Context
from service.datasets.collecting import collect
from service.datasets.limits import ImportLimits
from service.db.base import Base, now
from service.settings import Settings
from workers.contract import keys, tables
from workers.contract.store import StoreUnavailable
from workers.contract.store_s3 import ACCESS_KEY, SECRET_KEY, S3Store

Post = Callable[..., httpx.Response]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def post(client: TestClient, upload: Any) -> Post:
    def post(members: Any, name: str = "lesions", headers: dict[str, str] | None = None, **fields: str) -> Any:
        file = upload.zip(members) if isinstance(members, dict) else members
        return client.post(
            "/v1/datasets",
            files={"file": ("x.zip", file, "application/zip")},
            data={"name": name, **fields},
            headers=headers,
        )

    return post


@pytest.fixture
def nothing_left(context: Context) -> Callable[[], None]:
    """Neither an object nor a row of a dataset exists."""

    def check() -> None:
        assert list(context.store.list("")) == []
        with context.database.read() as session:
            for name in ("datasets", "dataset_versions", "samples"):
                assert session.scalar(select(func.count()).select_from(Base.metadata.tables[name])) == 0, name

    return check


def test_upload_and_read_back(post: Post, client: TestClient, context: Context, upload: Any) -> None:
    members = upload.good(3)
    members["masks/case 2.png"] = members["masks/case 1.png"]  # a mask that two samples share
    answer = post(members, name="  three lesions ")
    assert answer.status_code == 201, answer.text
    dataset = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert (dataset["name"], dataset["newest"]["sample_count"]) == ("three lesions", 3)
    assert dataset["newest"]["mask_values"] == [0, 255]
    assert client.get(answer.headers["location"]).json() == dataset
    assert client.get("/v1/datasets").json()["datasets"] == [dataset]
    assert client.get(dataset["versions"]).json() == {"versions": [dataset["newest"]]}
    assert client.get(dataset["versions"] + "/1").json() == dataset["newest"]

    listed = client.get(dataset["newest"]["samples"]).json()["samples"]
    assert [(row["sample"], row["ordinal"], row["width"], row["height"]) for row in listed] == [
        ("case 0", 0, 30, 20),
        ("case 1", 1, 30, 20),
        ("case 2", 2, 30, 20),
    ]
    for row in listed:
        for part, folder in (("image", "images"), ("mask", "masks")):
            original = members[f"{folder}/{row['sample']}.png"]
            got = client.get(row[part])
            assert got.content == original, "blobs keep the original bytes"
            assert got.headers["content-type"] == "image/png"
            assert got.headers["etag"] == f'"{hashlib.sha256(original).hexdigest()}"'
            assert got.headers["x-content-type-options"] == "nosniff"
            again = client.get(row[part], headers={"If-None-Match": got.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")

    # The worker's view: 3 images and 2 distinct masks, and the list of samples.
    stored = list(context.store.list(keys.dataset(dataset["id"])))
    assert len(stored) == 3 + 2 + 1
    raw = context.store.get(keys.version(dataset["id"], 1))
    table = tables.from_parquet(raw, tables.SAMPLES)
    assert table["name"].to_pylist() == ["case 0", "case 1", "case 2"]
    assert table["ordinal"].to_pylist() == [0, 1, 2]
    assert table["image_sha256"].to_pylist() == [row["image_sha256"] for row in listed]
    assert table["foreground"].to_pylist() == pytest.approx([row["foreground"] for row in listed])
    assert json.loads(pq.read_schema(io.BytesIO(raw)).metadata[tables.MASK_VALUES]) == [0, 255]


def test_blobs_are_written_once(post: Post, upload: Any, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = type(context.store).put_file, []

    def counted(store: Any, key: str, *rest: Any, **kwargs: Any) -> None:
        written.append(key)
        write(store, key, *rest, **kwargs)

    monkeypatch.setattr(type(context.store), "put_file", counted)
    members = upload.good(1)
    for name in ("copy 1", "copy 2"):
        members[f"images/{name}.png"] = members["images/case 0.png"]
        members[f"masks/{name}.png"] = members["masks/case 0.png"]
    assert post(members).status_code == 201
    assert len(written) == len(set(written)) == 3
    assert written[-1].endswith("versions/1.parquet"), "the list comes last: it says that all blobs are there"


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("TIFF", "image/tiff"), ("PNG", "image/png")])
def test_images_come_back_as_what_they_are(
    post: Post, client: TestClient, upload: Any, kind: str, media_type: str
) -> None:
    ending = {"JPEG": "jpg", "TIFF": "tif", "PNG": "png"}[kind]
    members = {f"images/a.{ending}": upload.photo(kind=kind), "masks/a.png": upload.encode(upload.disc())}
    row = client.get(post(members).json()["newest"]["samples"]).json()["samples"][0]
    assert client.get(row["image"]).headers["content-type"] == media_type


def test_thresholded_masks_are_stored_binary(post: Post, client: TestClient, upload: Any) -> None:
    members = {"images/a.png": upload.photo(), "masks/a.jpg": upload.encode(upload.disc(), "JPEG")}
    assert post(members).status_code == 422
    dataset = post(members, mask_threshold="128").json()
    row = client.get(dataset["newest"]["samples"]).json()["samples"][0]
    mask = client.get(row["mask"])
    assert mask.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(mask.content))
    assert (image.mode, image.size, sorted(set(image.tobytes()))) == ("L", (30, 20), [0, 255])
    assert hashlib.sha256(mask.content).hexdigest() == row["mask_sha256"]


def test_warnings_are_kept_with_the_version(post: Post, client: TestClient, upload: Any) -> None:
    members = upload.good(1)
    members["images/copy.png"], members["masks/copy.png"] = members["images/case 0.png"], members["masks/case 0.png"]
    newest = post(members).json()["newest"]
    assert newest["warnings"][0]["file"] == "images/copy.png"
    assert "same image as" in newest["warnings"][0]["reason"]
    assert client.get(newest["samples"].removesuffix("/samples")).json() == newest


def test_a_refusal_lists_every_file_and_leaves_nothing(
    post: Post, upload: Any, nothing_left: Callable[[], None]
) -> None:
    members = upload.good(3) | {
        "images/bad.png": b"x",
        "masks/bad.png": b"y",
        "images/alone.png": upload.photo(),
    }
    answer = post(members)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {fault["file"] for fault in problem["errors"]} == {"images/bad.png", "masks/bad.png", "images/alone.png"}
    assert all(fault["reason"] and fault["hint"] for fault in problem["errors"])
    nothing_left()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"mask_threshold": "0"}, "mask_threshold"),
        ({"mask_threshold": "256"}, "mask_threshold"),
        ({"mask_threshold": "grey"}, "mask_threshold"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_bad_fields(
    post: Post, upload: Any, fields: dict[str, str], field: str, nothing_left: Callable[[], None]
) -> None:
    answer = post(upload.good(1), **fields)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    nothing_left()


def test_missing_parts_and_other_content_types(client: TestClient, upload: Any) -> None:
    answer = client.post("/v1/datasets", data={"name": "x"}, files={"other": ("a", b"x")})
    assert answer.status_code == 422
    assert "file" in {fault["field"] for fault in answer.json()["errors"]}
    answer = client.post("/v1/datasets", json={"name": "x"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Content-Type"
    answer = client.post("/v1/datasets", files={"file": ("a.zip", upload.zip(upload.good(1)))})
    assert [fault["field"] for fault in answer.json()["errors"]] == ["name"]


def test_strangers_are_refused_before_their_upload_is_read(stranger: TestClient) -> None:
    """The body is none that could be parsed, and still the answer is about the key."""
    answer = stranger.post("/v1/datasets", content=b"x" * 1000, headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 401
    for path in ("", "/ds-1", "/ds-1/versions", "/ds-1/versions/1/samples/a/image"):
        assert stranger.get(f"/v1/datasets{path}").status_code == 401


@pytest.mark.parametrize(
    "path",
    ["ds-none", "ds-none/versions", "ds-none/versions/1", "ds-none/versions/1/samples"]
    + [f"ds-none/versions/1/samples/a/{part}" for part in ("image", "mask")],
)
def test_what_is_not_there(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/datasets/{path}")
    assert answer.status_code == 404
    assert "ds-none" in answer.json()["detail"]


def test_versions_and_samples_that_are_not_there(post: Post, client: TestClient, upload: Any) -> None:
    dataset = post(upload.good(1)).json()
    assert "no version 2" in client.get(dataset["versions"] + "/2").json()["detail"]
    assert "no sample 'z'" in client.get(dataset["newest"]["samples"] + "/z/image").json()["detail"]
    assert client.get(dataset["versions"] + "/0").status_code == 422
    assert client.get(dataset["versions"] + f"/{10**20}").status_code == 422


def test_lists_are_paged(post: Post, client: TestClient, upload: Any) -> None:
    names = [f"set {number}" for number in range(5)]
    for name in names:
        assert post(upload.good(3), name=name).status_code == 201
    seen, token = [], None
    while True:
        page = client.get("/v1/datasets", params={"page_size": 2, **({"page_token": token} if token else {})}).json()
        seen += [dataset["name"] for dataset in page["datasets"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == names[::-1]
    path = client.get("/v1/datasets").json()["datasets"][0]["newest"]["samples"]
    first = client.get(path, params={"page_size": 2}).json()
    second = client.get(path, params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert [row["sample"] for row in first["samples"] + second["samples"]] == ["case 0", "case 1", "case 2"]
    assert second["next_page_token"] is None


def test_the_same_upload_twice_creates_once(post: Post, client: TestClient, upload: Any, context: Context) -> None:
    headers = {"Idempotency-Key": "once"}
    first = post(upload.good(2), headers=headers)
    objects = list(context.store.list(""))
    again = post(upload.good(2), headers=headers)
    assert (again.status_code, again.json(), again.headers["location"]) == (
        201,
        first.json(),
        first.headers["location"],
    )
    assert list(context.store.list("")) == objects
    assert len(client.get("/v1/datasets").json()["datasets"]) == 1
    assert post(upload.good(3), headers=headers).status_code == 422
    assert post(upload.good(2), name="other", headers=headers).status_code == 422
    assert list(context.store.list("")) == objects


@pytest.mark.parametrize("headers", [None, {"Idempotency-Key": "again"}])
def test_a_store_that_fails_at_any_step_leaves_nothing(
    post: Post,
    upload: Any,
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: Callable[[], None],
    headers: dict[str, str] | None,
) -> None:
    """3 samples are 6 blobs and the list: the store fails at each of the 7 writes, also after having written."""
    write = type(context.store).put_file
    for failing in range(7):
        calls = 0

        def fails(store: Any, key: str, path: Path, *rest: Any, failing: int = failing, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls <= failing or failing % 2:
                write(store, key, path, *rest, **kwargs)
            if calls > failing:
                raise StoreUnavailable("S3 at 10.0.0.1 cannot be reached")

        monkeypatch.setattr(type(context.store), "put_file", fails)
        answer = post(upload.good(3), headers=headers)
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert "10.0.0.1" not in answer.text
        assert calls == failing + 1
        nothing_left()
    monkeypatch.undo()
    assert post(upload.good(3), headers=headers).status_code == 201, "the same upload works once the store is back"


@pytest.mark.parametrize("headers", [None, {"Idempotency-Key": "again"}])
@pytest.mark.parametrize("step", ["INSERT INTO samples", "COMMIT"])
def test_a_database_that_fails_leaves_nothing(
    post: Post,
    upload: Any,
    context: Context,
    nothing_left: Callable[[], None],
    step: str,
    headers: dict[str, str] | None,
) -> None:
    broken = True
    wrote_samples = False

    def on_execute(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        nonlocal wrote_samples
        wrote_samples = wrote_samples or statement.startswith("INSERT INTO samples")
        if broken and statement.startswith(step):
            raise sqlite3.OperationalError("disk I/O error")

    def on_commit(_connection: Any) -> None:
        nonlocal wrote_samples
        if broken and wrote_samples and step == "COMMIT":
            wrote_samples = False
            raise sqlite3.OperationalError("disk I/O error")

    event.listen(context.database.engine, "before_cursor_execute", on_execute)
    event.listen(context.database.engine, "commit", on_commit)
    try:
        assert post(upload.good(3), headers=headers).status_code == 500
        broken = False
        nothing_left()
        assert post(upload.good(3), headers=headers).status_code == 201
    finally:
        event.remove(context.database.engine, "before_cursor_execute", on_execute)
        event.remove(context.database.engine, "commit", on_commit)


def test_an_undo_that_fails_keeps_going(
    post: Post, upload: Any, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one object cannot be removed, the others are, and the first failure is what is answered."""
    delete, write = type(context.store).delete, type(context.store).put_file
    kept: list[str] = []
    written: list[str] = []

    def put_file(store: Any, key: str, *rest: Any, **kwargs: Any) -> None:
        written.append(key)
        if len(written) == 5:
            raise StoreUnavailable("gone")
        write(store, key, *rest, **kwargs)

    def fails_once(store: Any, key: str) -> None:
        if key == written[2]:
            kept.append(key)
            raise StoreUnavailable("gone")
        delete(store, key)

    monkeypatch.setattr(type(context.store), "put_file", put_file)
    monkeypatch.setattr(type(context.store), "delete", fails_once)
    assert post(upload.good(3)).status_code == 503
    assert kept == [written[2]]
    (mark,) = context.store.list(keys.importing())
    assert list(context.store.list("")) == [written[2], mark]
    monkeypatch.undo()
    assert collect(context.database, context.store) == 0, "it may still be under way"
    context.store.put(mark, (now() - timedelta(days=2)).isoformat().encode())
    assert collect(context.database, context.store) == 1
    assert list(context.store.list("")) == []


class TestLimits:
    @pytest.fixture
    def settings(self, tmp_path: Path, database_url: str) -> Settings:
        return Settings(
            data_dir=tmp_path / "data",
            database_url=database_url,
            network_check=False,
            max_upload_bytes=20_000,
            import_limits=ImportLimits(max_pixels=500),
        )

    def test_a_body_that_is_too_large(self, post: Post, upload: Any, nothing_left: Callable[[], None]) -> None:
        answer = post(upload.good(30))
        assert answer.status_code == 413
        assert "20000" in answer.json()["detail"]
        nothing_left()

    def test_limits_come_from_the_settings(self, post: Post, upload: Any) -> None:
        answer = post(upload.good(1))
        assert answer.status_code == 422
        assert "30 x 20 pixels" in answer.json()["errors"][0]["reason"]


@pytest.mark.real
class TestOnS3:
    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'dale.db'}"

    @pytest.fixture
    def settings(self, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
        needed = ("DALE_TEST_S3_ENDPOINT", "DALE_TEST_S3_ACCESS_KEY", "DALE_TEST_S3_SECRET_KEY")
        missing = [name for name in needed if not os.environ.get(name)]
        if missing:
            pytest.fail(f"needs a real S3 server: set {', '.join(missing)} (see .ci/run)")
        endpoint, access, secret = (os.environ[name] for name in needed)
        monkeypatch.setenv(ACCESS_KEY, access)
        monkeypatch.setenv(SECRET_KEY, secret)
        url = f"s3://test-{uuid4().hex}/dale?endpoint={endpoint}"
        store = S3Store.from_url(url)
        store.create_bucket()
        yield Settings(data_dir=tmp_path, database_url=database_url, store_url=url, network_check=False)
        for key in list(store.list("")):
            store.delete(key)
        store._client.remove_bucket(store.location.bucket)

    def test_upload_and_read_back(self, post: Post, client: TestClient, context: Context, upload: Any) -> None:
        members = upload.good(3)
        dataset = post(members).json()
        assert len(list(context.store.list(keys.dataset(dataset["id"])))) == 7
        for row in client.get(dataset["newest"]["samples"]).json()["samples"]:
            assert client.get(row["image"]).content == members[f"images/{row['sample']}.png"]
            assert client.get(row["mask"]).content == members[f"masks/{row['sample']}.png"]

    def test_a_bad_upload_leaves_nothing(self, post: Post, upload: Any, nothing_left: Callable[[], None]) -> None:
        assert post(upload.good(1) | {"images/bad.png": b"x"}).status_code == 422
        nothing_left()
