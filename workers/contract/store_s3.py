"""Objects in any S3 (MinIO, Ceph RGW, SeaweedFS, AWS), through the `minio` client."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from workers.contract.store import CHUNK, ObjectMissing, StoreRefuses, StoreUnavailable, check_key, check_prefix

ACCESS_KEY, SECRET_KEY = "DALE_S3_ACCESS_KEY", "DALE_S3_SECRET_KEY"
CONNECT_S, READ_S, RETRIES = 5.0, 60.0, 3
MISSING = ("NoSuchKey", "NoSuchObject")
HINTS = {
    "NoSuchBucket": "create the bucket first",
    "InvalidAccessKeyId": f"check {ACCESS_KEY}",
    "SignatureDoesNotMatch": f"check {SECRET_KEY}",
    "AccessDenied": f"check {ACCESS_KEY}, {SECRET_KEY} and what the key may do",
}


@dataclass(frozen=True)
class S3Location:
    """The parts of an `s3://` store URL; it never holds credentials."""

    bucket: str
    prefix: str  # "" or "some/folder/"
    endpoint: str  # host:port
    secure: bool
    region: str
    public_endpoint: str | None = None  # where browsers reach the store, if that is another address
    public_secure: bool = False
    virtual_host: bool | None = (
        None  # the bucket is in the host's name (True) or in the path; None: as AWS is known for
    )
    ca_file: str | None = None  # PEM file of who signs the server's certificate; None: those the system trusts

    @classmethod
    def from_url(cls, url: str) -> S3Location:
        """Parse `s3://bucket/prefix?endpoint=http://host:port&region=…&public_endpoint=https://…&style=…&ca=…`.

        `style` is `path` (http://host/bucket/key) or `virtual` (http://bucket.host/key); without it, virtual on AWS
        alone. `ca` is a PEM file, on each machine that opens the store.

        Raises:
            ValueError: a part is missing, unknown, or holds credentials.
        """
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError(f"credentials do not belong in the store URL: set {ACCESS_KEY} and {SECRET_KEY}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(options.keys() - {"endpoint", "region", "secure", "public_endpoint", "style", "ca"})
        if unknown or not parts.netloc or parts.fragment:
            what = f"unknown option {unknown[0]!r}" if unknown else "no bucket"
            raise ValueError(f"store URL with {what}; it must look like s3://bucket/prefix?endpoint=http://host:port")
        prefix = unquote(parts.path).strip("/")
        if prefix:
            check_key(prefix)
        secure = {"": None, "0": False, "1": True}.get(options.get("secure", ""), "?")
        if secure == "?":
            raise ValueError(f"store URL: secure must be 0 or 1, not {options['secure']!r}")
        style = options.get("style", "")
        if style not in ("", "path", "virtual"):
            raise ValueError(f"store URL: style must be path or virtual, not {style!r}")
        ca_file = options.get("ca") or None
        if ca_file and not Path(ca_file).is_file():
            raise ValueError(f"store URL: there is no file {ca_file} (ca)")
        endpoint, tls = _endpoint(options.get("endpoint", "https://s3.amazonaws.com"), default_tls=secure is not False)
        public, public_tls = None, False
        if options.get("public_endpoint"):
            public, public_tls = _endpoint(options["public_endpoint"], default_tls=True)
        return cls(
            bucket=parts.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=endpoint,
            secure=tls,
            region=options.get("region") or "us-east-1",
            public_endpoint=public,
            public_secure=public_tls,
            virtual_host=style == "virtual" if style else None,
            ca_file=ca_file,
        )


def _endpoint(value: str, default_tls: bool) -> tuple[str, bool]:
    tls = default_tls
    if "://" in value:
        scheme, _, value = value.partition("://")
        if scheme not in ("http", "https"):
            raise ValueError(f"store URL: endpoint must begin with http:// or https://, not {scheme}://")
        tls = scheme == "https"
    host = value.rstrip("/")
    if not host or "/" in host or "@" in host:
        raise ValueError("store URL: endpoint must be http://host:port, without path or credentials")
    return host, tls


class S3Store:
    """Objects of one bucket, below one prefix. Safe to share between threads."""

    def __init__(self, location: S3Location, access_key: str, secret_key: str) -> None:
        self.location = location
        self._bucket, self._prefix = location.bucket, location.prefix
        # With the region given the client never asks the server for it; presigning needs no network.
        self._client = _client(location, location.endpoint, location.secure, access_key, secret_key)
        self._signer = self._client
        if location.public_endpoint:
            self._signer = _client(location, location.public_endpoint, location.public_secure, access_key, secret_key)

    @classmethod
    def from_url(cls, url: str) -> S3Store:
        """Open the store of a URL with the credentials of the environment.

        Raises:
            ValueError: the URL is incomplete, or a credential is not set.
        """
        location = S3Location.from_url(url)
        missing = [name for name in (ACCESS_KEY, SECRET_KEY) if not os.environ.get(name)]
        if missing:
            raise ValueError(f"the S3 store at {location.endpoint} needs {' and '.join(missing)} in the environment")
        return cls(location, os.environ[ACCESS_KEY], os.environ[SECRET_KEY])

    def create_bucket(self) -> None:
        """Make the bucket if it is not there."""
        with self._faults(""):
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object."""
        name = self._name(key)
        with self._faults(key):
            self._client.put_object(self._bucket, name, io.BytesIO(data), len(data), content_type=content_type)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Write an object from a file; a large one goes up in parts and appears when the last is there."""
        name = self._name(key)
        with path.open("rb") as file, self._faults(key):
            length = os.fstat(file.fileno()).st_size
            self._client.put_object(self._bucket, name, file, length, content_type=content_type)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        return b"".join(self.read(key))

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"impossible range: start {start}, length {length}")
        name = self._name(key)
        if length == 0:
            self.size(key)
            return iter(())
        try:
            with self._faults(key):
                response = self._client.get_object(self._bucket, name, offset=start, length=length or 0)
        except _PastTheEnd:
            return iter(())
        return self._chunks(key, response)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        name = self._name(key)
        with self._faults(key):
            return int(self._client.stat_object(self._bucket, name).size)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with the prefix, sorted by the server; fetched page by page."""
        full = self._prefix + check_prefix(prefix)
        with self._faults(prefix):
            for entry in self._client.list_objects(self._bucket, prefix=full, recursive=True):
                yield entry.object_name.removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        name = self._name(key)
        with self._faults(key):
            self._client.remove_object(self._bucket, name)

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str | None:
        """A URL for a download under this file name; signing needs no network."""
        plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
        return str(
            self._signer.presigned_get_object(
                self._bucket,
                self._name(key),
                expires=timedelta(seconds=expires_s),
                response_headers={
                    "response-content-disposition": disposition,
                    "response-content-type": media_type,
                },
            )
        )

    def presigned_put(self, key: str, expires_s: int) -> str | None:
        """A URL for an upload; signing needs no network."""
        return str(self._signer.presigned_put_object(self._bucket, self._name(key), timedelta(seconds=expires_s)))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _chunks(self, key: str, response: Any) -> Iterator[bytes]:
        try:
            with self._faults(key):
                yield from response.stream(CHUNK)
        finally:
            response.close()
            response.release_conn()

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        where = f"S3 at {self.location.endpoint}, bucket {self._bucket!r}"
        try:
            yield
        except S3Error as error:
            code = error.code or "an error without a code"
            if code in MISSING:
                raise ObjectMissing(key) from error
            if code == "InvalidRange":
                raise _PastTheEnd from error
            if code in HINTS:
                raise StoreRefuses(f"{where} answers {code}: {HINTS[code]} (key {key!r})") from error
            raise StoreUnavailable(f"{where} answers {code} (key {key!r})") from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(f"{where} cannot be reached: {type(error).__name__}: {error}") from error


class _PastTheEnd(Exception):
    """The range begins behind the object's last byte."""


def _client(location: S3Location, endpoint: str, secure: bool, access_key: str, secret_key: str) -> Any:
    client: Any = Minio(
        endpoint,
        access_key=access_key,
        secret_key=secret_key,
        secure=secure,
        region=location.region,
        http_client=_http(location.ca_file),
    )
    if location.virtual_host is True:
        client.enable_virtual_style_endpoint()
    elif location.virtual_host is False:
        client.disable_virtual_style_endpoint()
    return client


def _http(ca_file: str | None) -> urllib3.PoolManager:
    """Every wait has an end: bounded tries, bounded connect and read times."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
        maxsize=16,
        retries=urllib3.Retry(total=RETRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_file,
    )
