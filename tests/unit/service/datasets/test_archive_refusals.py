"""Hostile and broken archives, each built here."""

import io
import stat
import struct
import tarfile
import zipfile
from typing import Any

import pytest

from service.datasets.archive import LARGEST_SINGLE_READ, Archive, MemberFault, _Guard
from service.datasets.limits import ImportLimits
from service.errors import Invalid


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def with_entry(upload: Any, info: zipfile.ZipInfo, data: bytes = b"x") -> io.BytesIO:
    sink = upload.zip(upload.good(1))
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr(info, data)
    sink.seek(0)
    return sink


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:/windows/x.png", "absolute"),
        ("../outside.png", "'..'"),
        ("images/../../x.png", "'..'"),
        ("images/./x.png", "'.'"),
        ("images\\x.png", "backslash"),
        ("images/a\nb.png", "control"),
        ("images/more.zip", "archive inside"),
        ("images/more.tar.gz", "archive inside"),
        ("elsewhere/more.7z", "archive inside"),
    ],
)
def test_names_that_no_dataset_needs(upload: Any, name: str, reason: str) -> None:
    faults = upload.faults(with_entry(upload, entry(name)))
    assert [fault.reason for fault in faults.values() if reason in fault.reason], faults
    assert all(fault.hint for fault in faults.values())


def test_a_name_with_a_hidden_end(upload: Any) -> None:
    """What follows a zero byte is cut off by unpackers, so the two names would differ."""
    data = with_entry(upload, entry("images/a.pngZhidden")).getvalue().replace(b"a.pngZhidden", b"a.png\0hidden")
    faults = upload.faults(io.BytesIO(data))
    assert any("control" in fault.reason for fault in faults.values())


@pytest.mark.parametrize(
    ("mode", "reason"), [(stat.S_IFLNK | 0o777, "symbolic link"), (stat.S_IFIFO | 0o644, "special file")]
)
def test_links_and_special_files(upload: Any, mode: int, reason: str) -> None:
    faults = upload.faults(with_entry(upload, entry("images/link.png", mode), b"/etc/passwd"))
    assert reason in faults["images/link.png"].reason


def test_encrypted_members(upload: Any) -> None:
    data = bytearray(upload.zip(upload.good(1)).getvalue())
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1  # general purpose flags of the last entry
    faults = upload.faults(io.BytesIO(bytes(data)))
    assert faults["masks/case 0.png"].reason == "is encrypted"


def test_unusual_packing(upload: Any) -> None:
    faults = upload.faults(upload.zip(upload.good(1), zipfile.ZIP_LZMA))
    assert "packing method 14" in faults["images/case 0.png"].reason


def test_every_fault_is_listed_at_once(upload: Any) -> None:
    sink = upload.zip(upload.good(1))
    with zipfile.ZipFile(sink, "a") as archive:
        for name in ("/a.png", "../b.png", "c.zip"):
            archive.writestr(entry(name), b"x")
    sink.seek(0)
    assert {"/a.png", "../b.png", "c.zip"} <= upload.faults(sink).keys()


def test_the_same_path_twice(upload: Any) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = with_entry(upload, entry("images/case 0.png"))
    assert upload.faults(file)["images/case 0.png"].reason == "is in the archive twice"


def test_member_limits(upload: Any) -> None:
    faults = upload.faults(upload.good(3), limits=ImportLimits(max_members=5))
    assert "more than 5" in faults[None].reason
    faults = upload.faults(upload.good(1), limits=ImportLimits(max_member_bytes=100))
    assert "unpacks to" in faults["images/case 0.png"].reason
    faults = upload.faults(upload.good(3), limits=ImportLimits(max_total_bytes=3000))
    assert "unpacks to" in faults[None].reason and "3000" in faults[None].hint


def test_a_bomb_is_refused_by_its_ratio(upload: Any) -> None:
    members = {**upload.good(1), "images/zeros.png": bytes(3_000_000), "masks/zeros.png": bytes(3_000_000)}
    faults = upload.faults(members, limits=ImportLimits(ratio_free_bytes=1_000_000))
    assert "times its size" in faults[None].reason


def test_a_bomb_that_lies_about_its_size(upload: Any) -> None:
    """The directory says 10 bytes, the data unpack to 3 MB: no more than announced is ever unpacked."""
    data = bytearray(upload.zip({**upload.good(1), "images/z.png": bytes(3_000_000), "masks/z.png": b"x"}).getvalue())
    place = data.index(b"images/z.png", data.index(b"PK\x01\x02")) - 46
    struct.pack_into("<I", data, place + 24, 10)
    faults = upload.faults(io.BytesIO(bytes(data)))
    assert "damaged" in faults["images/z.png"].reason
    assert (upload.scratch / "image").stat().st_size < 100_000


def test_a_directory_without_end_is_not_loaded(upload: Any) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(2000):
            archive.writestr(f"images/{number}.png", b"")
    sink.seek(0)
    faults = upload.faults(sink, limits=ImportLimits(max_members=500))
    assert "more than 500" in faults[None].reason
    with pytest.raises(Invalid, match="too many files"):  # while opening, before an entry of it is kept
        zipfile.ZipFile(_Guard(sink, 500))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="too many files"):
        _Guard(sink, 500).read(LARGEST_SINGLE_READ + 1)


def test_unpacking_stops_at_the_limit_whatever_was_announced(upload: Any) -> None:
    archive = Archive(upload.zip(upload.good(1)), ImportLimits())
    archive.limits = ImportLimits(max_member_bytes=100)
    with pytest.raises(MemberFault, match="more than 100 bytes"):
        archive.extract(archive.members[0], upload.scratch / "image")


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + b"x" * 200])
def test_what_is_no_zip(upload: Any, data: bytes) -> None:
    assert "zip" in upload.faults(io.BytesIO(data))[None].reason.lower()


def test_a_truncated_zip(upload: Any) -> None:
    data = upload.zip(upload.good(2)).getvalue()
    assert upload.faults(io.BytesIO(data[: len(data) // 2]))[None].hint


def test_a_tar_is_not_taken_for_a_zip(upload: Any) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("images/a.png"))
    assert upload.faults(io.BytesIO(sink.getvalue()))[None].reason


def test_damaged_member(upload: Any) -> None:
    members = upload.good(2)
    data = bytearray(upload.zip(members, zipfile.ZIP_STORED).getvalue())
    place = data.index(members["masks/case 1.png"]) + 60
    data[place] ^= 0xFF
    faults = upload.faults(io.BytesIO(bytes(data)))
    assert list(faults) == ["masks/case 1.png"]
    assert "damaged" in faults["masks/case 1.png"].reason


def test_junk_of_macs_is_ignored(upload: Any) -> None:
    members = upload.good(1)
    for name in ("__MACOSX/images/._case 0.png", "images/.DS_Store", "masks/._case 0.png", "images/Thumbs.db"):
        members[name] = b"junk"
    checked = upload.check(members)
    assert [sample.pair.name for sample in checked.samples] == ["case 0"]
    assert checked.warnings == []
