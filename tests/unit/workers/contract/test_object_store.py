"""One suite for both stores; the S3 half talks to a real server."""

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from workers.contract.store import ObjectMissing, ObjectStore, StoreUnavailable, check_key, open_store
from workers.contract.store_local import WRITING, LocalStore
from workers.contract.store_s3 import ACCESS_KEY, SECRET_KEY, S3Location, S3Store

SETTINGS = ("DALE_TEST_S3_ENDPOINT", "DALE_TEST_S3_ACCESS_KEY", "DALE_TEST_S3_SECRET_KEY")


def s3_url(monkeypatch: pytest.MonkeyPatch, bucket: str) -> str:
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if missing:
        pytest.fail(f"needs a real S3 server: set {', '.join(missing)} (see .ci/run)")
    endpoint, access, secret = (os.environ[name] for name in SETTINGS)
    monkeypatch.setenv(ACCESS_KEY, access)
    monkeypatch.setenv(SECRET_KEY, secret)
    return f"s3://{bucket}/some/folder?endpoint={endpoint}"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    if request.param == "local":
        yield open_store((tmp_path / "objects with space").as_uri())
        return
    s3 = open_store(s3_url(monkeypatch, f"test-{uuid4().hex}"))
    assert isinstance(s3, S3Store)
    s3.create_bucket()
    yield s3
    for key in list(s3.list("")):
        s3.delete(key)
    s3._client.remove_bucket(s3.location.bucket)


def test_what_is_put_comes_back(store: ObjectStore) -> None:
    store.put("a/b.bin", b"first")
    store.put("a/b.bin", b"second", "text/plain")
    assert store.get("a/b.bin") == b"second"
    assert store.size("a/b.bin") == 6
    assert store.exists("a/b.bin")
    store.put("a/empty", b"")
    assert store.get("a/empty") == b""


def test_names_with_odd_characters_survive(store: ObjectStore) -> None:
    for key in ("a/ö ü+&=?#%41.png", "a/'quoted'\".txt", "a/x y"):
        store.put(key, key.encode())
    assert sorted(store.list("a/")) == sorted(["a/ö ü+&=?#%41.png", "a/'quoted'\".txt", "a/x y"])
    assert all(store.get(key) == key.encode() for key in store.list("a/"))


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, None, b""),
        (99, 5, b""),
        (4, 0, b""),
        (0, 1, b"0"),
    ],
)
def test_ranges(store: ObjectStore, start: int, length: int | None, expected: bytes) -> None:
    store.put("digits", b"0123456789")
    assert b"".join(store.read("digits", start, length)) == expected


def test_impossible_ranges_are_refused(store: ObjectStore) -> None:
    store.put("digits", b"0123456789")
    with pytest.raises(ValueError, match="range"):
        store.read("digits", -1)
    with pytest.raises(ValueError, match="range"):
        store.read("digits", 0, -5)


def test_missing_objects(store: ObjectStore) -> None:
    store.put("folder/there", b"x")
    for key in ("nothing", "folder", "folder/there/below"):
        assert not store.exists(key)
        with pytest.raises(ObjectMissing, match="no object under"):
            store.get(key)
        with pytest.raises(ObjectMissing):
            store.read(key)  # at once, before the first chunk
        with pytest.raises(ObjectMissing):
            store.read(key, 5, 0)
        with pytest.raises(ObjectMissing):
            store.size(key)


def test_deleting_twice_is_fine(store: ObjectStore) -> None:
    store.put("a/b/c", b"x")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/was")
    assert not store.exists("a/b/c")
    store.put("a/b/c", b"y")
    assert store.get("a/b/c") == b"y"


def test_listing_is_by_prefix_and_sorted(store: ObjectStore) -> None:
    keys = ["jobs/1/a", "jobs/1/b/c", "jobs/10/a", "jobs/1/b-c", "other"]
    for key in keys:
        store.put(key, b"x")
    assert list(store.list("jobs/1/")) == ["jobs/1/a", "jobs/1/b-c", "jobs/1/b/c"]
    assert list(store.list("jobs/1")) == ["jobs/1/a", "jobs/1/b-c", "jobs/1/b/c", "jobs/10/a"]
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("nothing/")) == []


def test_listing_goes_past_one_page_of_the_server(store: ObjectStore) -> None:
    for number in range(1005):
        store.put(f"many/{number:04}", b"")
    assert list(store.list("many/")) == [f"many/{number:04}" for number in range(1005)]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "a//b",
        "a/",
        "../x",
        "a/../b",
        "a/..",
        "./a",
        "a\\b",
        "a\nb",
        "a\0b",
        ".writing/x",
        "x" * 901,
    ],
)
def test_bad_keys_are_refused_by_every_method(store: ObjectStore, key: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for act in (
        lambda: store.put(key, b""),
        lambda: store.put_file(key, file),
        lambda: store.get(key),
        lambda: store.read(key),
        lambda: store.size(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(ValueError, match="key"):
            act()
    for prefix in ("../", "/", "a/../", "a//"):
        with pytest.raises(ValueError, match="key"):
            list(store.list(prefix))


def test_a_large_file_is_streamed(store: ObjectStore, tmp_path: Path) -> None:
    """17 MiB goes to S3 in several parts; what comes back has the same hash and arrives in chunks."""
    source = tmp_path / "large"
    with source.open("wb") as file:
        for part in range(17):
            file.write(bytes([part]) * (1024 * 1024 - 1) + b"!")
    store.put_file("large", source, "application/zip")
    assert store.size("large") == source.stat().st_size
    digest, chunks = hashlib.sha256(), 0
    for chunk in store.read("large"):
        digest.update(chunk)
        chunks += 1
    assert digest.hexdigest() == hashlib.sha256(source.read_bytes()).hexdigest()
    assert chunks >= 17
    assert b"".join(store.read("large", 1024 * 1024 - 2, 3)) == b"\0!\1"


def test_half_an_object_is_never_seen(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("a/half", tmp_path / "does not exist")
    assert list(store.list("")) == []


def test_a_reader_that_stops_early_leaves_the_store_usable(store: ObjectStore) -> None:
    store.put("big", b"x" * 3_000_000)
    for _ in range(40):  # more than the connections of the pool
        next(iter(store.read("big")))
    assert store.size("big") == 3_000_000


def test_threads_write_and_delete_side_by_side(store: ObjectStore) -> None:
    def work(name: int) -> None:
        for turn in range(20):
            store.put(f"shared/folder/{name}", bytes([turn]))
            assert store.get(f"shared/folder/{name}") == bytes([turn])
            store.delete(f"shared/folder/{name}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(store.list("")) == []


def test_local_folder_removed_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, faults = Path.mkdir, [FileExistsError(17, "File exists"), FileNotFoundError(2, "No such file")]

    def mkdir(folder: Path, *arguments: object, **options: object) -> None:
        if folder.name == "folder" and faults:
            raise faults.pop()
        made(folder, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    LocalStore(tmp_path).put("folder/a", b"x")
    assert faults == []
    assert LocalStore(tmp_path).get("folder/a") == b"x"


def test_local_failed_write_keeps_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.contract.store_local.os.fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        store.put("a/b", b"new")
    assert store.get("a/b") == b"old"
    assert list((tmp_path / WRITING).iterdir()) == []


def test_local_unfinished_files_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"x")
    (tmp_path / WRITING / "half").write_bytes(b"x")
    assert list(store.list("")) == ["a"]


def test_local_has_no_presigned_urls(tmp_path: Path) -> None:
    assert LocalStore(tmp_path).presigned_get("a", 60, "a.bin", "application/zip") is None


@pytest.mark.real
def test_presigned_download(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(s3_url(monkeypatch, f"test-{uuid4().hex}"))
    assert isinstance(store, S3Store)
    store.create_bucket()
    store.put("result/model.pt", b"0123456789")
    url = store.presigned_get("result/model.pt", 60, 'mödel "1".pt', "application/x-model")
    assert url is not None
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-type"] == "application/x-model"
    assert (
        answer.headers["content-disposition"]
        == "attachment; filename=\"m_del _1_.pt\"; filename*=UTF-8''m%C3%B6del%20%221%22.pt"
    )
    part = httpx.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert httpx.get(url.replace("model.pt", "other.pt")).status_code == 403
    assert httpx.get(url.partition("?")[0]).status_code == 403
    secret = os.environ[SECRET_KEY]
    assert secret not in url


@pytest.mark.real
def test_wrong_credentials_and_missing_bucket_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3_url(monkeypatch, f"test-{uuid4().hex}")
    with pytest.raises(StoreUnavailable, match="create the bucket first"):
        open_store(url).put("a", b"x")
    with pytest.raises(StoreUnavailable, match="create the bucket first"):
        list(open_store(url).list(""))
    monkeypatch.setenv(SECRET_KEY, "not the secret")
    with pytest.raises(StoreUnavailable, match=SECRET_KEY):
        open_store(url).put("a", b"x")
    monkeypatch.setenv(ACCESS_KEY, "nobody")
    with pytest.raises(StoreUnavailable, match=ACCESS_KEY):
        open_store(url).get("a")
    with pytest.raises(StoreUnavailable):  # HEAD answers have no body to say why
        open_store(url).exists("a")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def local_s3(port: int) -> S3Store:
    return S3Store(S3Location.from_url(f"s3://bucket?endpoint=http://127.0.0.1:{port}"), "access", "secret")


def test_s3_server_gone() -> None:
    store = local_s3(free_port())
    for act in (
        lambda: store.put("a", b"x"),
        lambda: store.get("a"),
        lambda: list(store.list("")),
    ):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            act()


def test_s3_connection_lost_in_the_middle_of_an_object() -> None:
    """A cut connection is an error, never a shorter object."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

        thread = threading.Thread(target=answer)
        thread.start()
        store = local_s3(server.getsockname()[1])
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.get("a")
        thread.join()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("/data", "scheme"),
        ("http://host/x", "scheme"),
        ("file://host/x", "must look like"),
        ("file:data", "must look like"),
        ("s3://?endpoint=http://h:1", "no bucket"),
        ("s3://key:secret@bucket?endpoint=http://h:1", "credentials"),
        ("s3://bucket?endpoint=http://h:1&color=red", "unknown option 'color'"),
        ("s3://bucket?endpoint=ftp://h:1", "http"),
        ("s3://bucket?endpoint=http://h:1/path", "without path"),
        ("s3://bucket?endpoint=h:1&secure=maybe", "secure"),
        ("s3://bucket?endpoint=http://h:1&style=new", "style must be path or virtual"),
        ("s3://bucket?endpoint=https://h:1&ca=/nowhere/ca.pem", "there is no file /nowhere/ca.pem"),
        ("s3://bucket/../x?endpoint=http://h:1", "key"),
    ],
)
def test_bad_urls_are_refused(url: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS_KEY, "a")
    monkeypatch.setenv(SECRET_KEY, "s")
    with pytest.raises(ValueError, match=fault) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_s3_without_credentials_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCESS_KEY, "a")
    monkeypatch.delenv(SECRET_KEY, raising=False)
    with pytest.raises(ValueError, match=f"needs {SECRET_KEY} in the environment"):
        open_store("s3://bucket?endpoint=http://h:1")


def test_s3_urls_are_understood() -> None:
    plain = S3Location.from_url("s3://bucket?endpoint=http://h:9000")
    assert (plain.bucket, plain.prefix, plain.endpoint, plain.secure) == ("bucket", "", "h:9000", False)
    full = S3Location.from_url("s3://bucket/a/b/?endpoint=h:1&secure=0&region=eu&public_endpoint=https://files.example")
    assert (full.prefix, full.secure, full.region) == ("a/b/", False, "eu")
    assert (full.public_endpoint, full.public_secure) == ("files.example", True)
    url = S3Store(full, "access", "secret").presigned_get("x", 60, "x", "text/plain")
    assert url is not None and url.startswith("https://files.example/bucket/a/b/x?")


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ("endpoint=http://h:9000", "http://h:9000/bucket/x?"),
        ("endpoint=http://h:9000&style=virtual", "http://bucket.h:9000/x?"),
        (
            "endpoint=http://h:9000&style=virtual&public_endpoint=https://files.example",
            "https://bucket.files.example/x?",
        ),
        ("", "https://bucket.s3.us-east-1.amazonaws.com/x?"),
        ("style=path", "https://s3.us-east-1.amazonaws.com/bucket/x?"),
    ],
)
def test_the_bucket_is_in_the_path_or_in_the_host(options: str, address: str) -> None:
    store = S3Store(S3Location.from_url(f"s3://bucket?{options}"), "access", "secret")
    url = store.presigned_get("x", 60, "x", "text/plain")
    assert url is not None
    assert url.startswith(address)


@pytest.mark.real
def test_tls_with_an_authority_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = s3_url(monkeypatch, bucket := f"test-{uuid4().hex}")
    location = S3Location.from_url(plain)
    certificate = tmp_path / "ca.pem"
    with tls_before(location.endpoint, certificate) as port:
        url = f"s3://{bucket}?endpoint=https://127.0.0.1:{port}"
        store = open_store(f"{url}&ca={certificate}")
        assert isinstance(store, S3Store)
        store.create_bucket()
        store.put("a", b"0123456789")
        assert store.get("a") == b"0123456789"
        assert b"".join(store.read("a", 2, 3)) == b"234"
        link = store.presigned_get("a", 60, "a", "text/plain")
        assert link is not None
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(link, verify=trusting).content == b"0123456789"
        with pytest.raises(StoreUnavailable, match=r"cannot be reached.*(?i:certificate)"):
            open_store(url).get("a")


@contextmanager
def tls_before(endpoint: str, certificate: Path) -> Iterator[int]:
    """Port of a server that speaks TLS, with a certificate that it has signed itself, and passes all on."""
    key = certificate.with_suffix(".key")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, _, port = endpoint.partition(":")

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port or 80))
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_valid_keys_pass() -> None:
    for key in ("a", "a/.hidden", "datasets/ds-1/blobs/0f", "a b/ü..x"):
        assert check_key(key) == key
