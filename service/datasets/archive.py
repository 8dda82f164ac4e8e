"""An uploaded zip, read without trusting anything that it says about itself."""

from __future__ import annotations

import hashlib
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid

CHUNK = 1024 * 1024
ENTRY = b"PK\x01\x02"  # begins every entry of a zip's directory
LARGEST_SINGLE_READ = 1 << 20  # zipfile reads more at once only when it loads the directory
NESTED = re.compile(r"(\.(zip|tar|tgz|bz2|xz|zst|7z|rar|jar|lzma)|(?<!\.nii)\.gz)$", re.IGNORECASE)
JUNK = re.compile(r"(^|/)(__MACOSX(/|$)|\.DS_Store$|\._|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LAYOUT_HINT = (
    "the zip must hold a folder images/ and a folder masks/ with files of the same names, "
    "or be in nnU-Net's raw format: imagesTr/, labelsTr/ and dataset.json; "
    "or hold one .json in COCO's format and the images that it names; "
    "or DICOM series and segmentations (SEG) of them"
)


class MemberFault(Exception):
    """A file of the archive cannot be unpacked; says why."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True)
class Member:
    """A file of the archive that has passed every check that needs no unpacking."""

    path: str  # as it is called in the archive, for messages
    info: zipfile.ZipInfo

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Unpack it to `target` as it is; see `Archive.extract`."""
        return archive.extract(self, target)


@dataclass(frozen=True)
class Extracted:
    """What unpacking a member found out."""

    size: int
    sha256: str
    notes: tuple[str, ...] = ()  # what deserves a look, where it was converted


class Archive:
    """The members of a zip. Making one refuses what no honest dataset contains, all faults at once."""

    def __init__(self, file: IO[bytes], limits: ImportLimits) -> None:
        self.limits = limits
        try:
            self._zip = zipfile.ZipFile(_Guard(file, limits.max_members))
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, OSError) as error:
            raise Invalid(
                "The upload is not a readable zip file.",
                [FieldError(field="file", reason=str(error), hint="upload a .zip; check that it is complete")],
            ) from error
        entries = self._zip.infolist()
        if len(entries) > limits.max_members:
            raise _too_many(limits.max_members)
        faults = [fault for info in entries for fault in self._faults(info)]
        faults += _duplicates(entries)
        faults += self._bomb(entries)
        if faults:
            raise Invalid("The archive contains what a dataset must not contain.", faults)
        self.members = [
            Member(info.filename, info) for info in entries if not info.is_dir() and not JUNK.search(info.filename)
        ]

    def peek(self, member: Member, size: int) -> bytes:
        """The first bytes of a file, fewer where it has no more.

        Raises:
            MemberFault: it is damaged.
        """
        with _unpacking(), self._zip.open(member.info) as source:
            return source.read(size)

    def extract(self, member: Member, target: Path) -> Extracted:
        """Unpack one file to `target`, in chunks.

        Raises:
            MemberFault: it is damaged, or larger than the limit.
        """
        digest = hashlib.sha256()
        size = 0
        with target.open("wb") as sink:
            for chunk in self.stream(member):
                size += len(chunk)
                digest.update(chunk)
                sink.write(chunk)
        return Extracted(size, digest.hexdigest())

    def stream(self, member: Member) -> Iterator[bytes]:
        """Unpack one file, a chunk at a time.

        Raises:
            MemberFault: it is damaged, or larger than the limit.
        """
        size = 0
        with _unpacking(), self._zip.open(member.info) as source:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > self.limits.max_member_bytes:
                    raise MemberFault(f"unpacks to more than {self.limits.max_member_bytes} bytes")
                yield chunk

    def _faults(self, info: zipfile.ZipInfo) -> Iterator[FieldError]:
        name = info.orig_filename
        shown = _printable(name)
        parts = name.rstrip("/").split("/")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or re.match(r"^[A-Za-z]:", name):
            yield FieldError(file=shown, reason="has an absolute path", hint="paths inside a zip must be relative")
        if "\\" in name:
            yield FieldError(
                file=shown,
                reason="has a backslash in its name",
                hint="separate folders with '/'; make the zip with another tool",
            )
        if ".." in parts or "." in parts:
            yield FieldError(file=shown, reason="has '..' or '.' in its path", hint="use plain folder names")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            yield FieldError(file=shown, reason="has control characters in its name", hint="rename the file")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
            yield FieldError(file=shown, reason=f"is {what}", hint="put the file itself into the zip")
        if info.flag_bits & 0x1:
            yield FieldError(file=shown, reason="is encrypted", hint="make the zip without a password")
        if info.compress_type not in PACKING:
            yield FieldError(
                file=shown,
                reason=f"uses packing method {info.compress_type}",
                hint="use the usual 'deflate' or no packing at all",
            )
        if NESTED.search(name) and not JUNK.search(name):
            yield FieldError(file=shown, reason="is an archive inside the archive", hint="unpack it first")
        if info.file_size > self.limits.max_member_bytes:
            yield FieldError(
                file=shown,
                reason=f"unpacks to {info.file_size} bytes",
                hint=f"at most {self.limits.max_member_bytes} are accepted for one file",
            )

    def _bomb(self, entries: list[zipfile.ZipInfo]) -> Iterator[FieldError]:
        limits = self.limits
        unpacked = sum(info.file_size for info in entries)
        packed = sum(info.compress_size for info in entries)
        if unpacked > limits.max_total_bytes:
            yield FieldError(
                field="file",
                reason=f"unpacks to {unpacked} bytes",
                hint=f"at most {limits.max_total_bytes} are accepted; split the dataset",
            )
        if unpacked > limits.ratio_free_bytes and unpacked > limits.max_ratio * max(packed, 1):
            yield FieldError(
                field="file",
                reason=f"unpacks to {unpacked / max(packed, 1):.0f} times its size",
                hint=f"at most {limits.max_ratio:g} times is accepted; store images as PNG or JPEG",
            )


@contextmanager
def _unpacking() -> Iterator[None]:
    """What zipfile raises over a damaged file becomes a fault of it."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MemberFault(f"is damaged in the archive: {error}", "make the zip again") from error


def sha256(path: Path) -> str:
    """Hash a file in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Guard:
    """A file that refuses the one huge read with which `zipfile` would load an endless directory."""

    def __init__(self, file: IO[bytes], max_members: int) -> None:
        self._file = file
        self._max_members = max_members
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        """Zip files are read from their end; SpooledTemporaryFile lacks this method in Python 3.10."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read, unless it is more directory than `max_members` entries of honest length need."""
        if size > max(LARGEST_SINGLE_READ, self._max_members * 400):
            raise _too_many(self._max_members)
        data = self._file.read(size)
        if len(data) > 65_536 and data.startswith(ENTRY) and data.count(ENTRY) > self._max_members:
            raise _too_many(self._max_members)
        return data


def _too_many(limit: int) -> Invalid:
    fault = FieldError(
        field="file",
        reason=f"has more than {limit} files and folders",
        hint="split the dataset",
    )
    return Invalid("The archive contains too many files.", [fault])


def _duplicates(entries: list[zipfile.ZipInfo]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for info in entries:
        if info.filename in seen and not JUNK.search(info.filename):
            yield FieldError(file=_printable(info.filename), reason="is in the archive twice", hint="keep one of them")
        seen.add(info.filename)


def _printable(name: str) -> str:
    shown = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)[:300]
