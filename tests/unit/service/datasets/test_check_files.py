"""Layout, images and masks: what is accepted, what is refused, and in which words."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.datasets.checking import class_values
from service.datasets.limits import ImportLimits


def test_a_good_upload(upload: Any) -> None:
    seen = []
    checked = upload.check(upload.good(3), progress=lambda done, total: seen.append((done, total)))
    assert [sample.pair.name for sample in checked.samples] == ["case 0", "case 1", "case 2"]
    assert checked.mask_values == [0, 255]
    assert checked.warnings == []
    first = checked.samples[0]
    assert (first.width, first.height) == (30, 20)
    assert first.foreground == pytest.approx((upload.disc() > 0).mean())
    assert first.label_values == tuple(np.unique(upload.disc()[upload.disc() > 0]).tolist())
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_one_common_folder_is_fine(upload: Any) -> None:
    checked = upload.check({f"my data/{name}": data for name, data in upload.good(2).items()})
    assert len(checked.samples) == 2


def test_formats_and_modes_that_are_accepted(upload: Any) -> None:
    disc = upload.disc()
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    wide = grey.astype(np.uint16) * 200
    images = {
        "a.jpg": upload.photo(1, kind="JPEG"),
        "b.jpeg": upload.encode(grey, "JPEG"),
        "c.tif": upload.photo(2, kind="TIFF"),
        "d.TIFF": upload.encode(wide, "TIFF"),
        "e.png": upload.encode(wide, "PNG"),
        "f.png": upload.encode(grey, mode="P"),
        "g.png": upload.encode(grey, mode="RGBA"),
        "h.png": upload.encode(grey, mode="1"),
        "i.jpg": upload.encode(grey, "JPEG", mode="CMYK"),
        "j.tif": upload.encode(grey.astype(np.float32), "TIFF"),
        "k.tif": upload.encode(grey, "TIFF", compression="tiff_lzw"),
    }
    palette = Image.fromarray((disc > 0).astype(np.uint8) * 255).convert("P")
    palette.putpalette([0, 0, 0] * 255 + [9, 200, 30])
    sink = io.BytesIO()
    palette.save(sink, "PNG")
    masks = {
        "a.png": upload.encode(disc),
        "b.tif": upload.encode(disc, "TIFF"),
        "c.png": upload.encode(disc, mode="1"),
        "d.png": upload.encode(disc, mode="RGB"),
        "e.png": upload.encode(disc, mode="RGBA"),
        "f.png": sink.getvalue(),
        "g.png": upload.encode(disc.astype(np.uint16)),
        "h.png": upload.encode(disc, mode="LA"),
        "i.png": upload.encode(disc),
        "j.png": upload.encode(disc),
        "k.png": upload.encode(disc),
    }
    checked = upload.check(
        {f"images/{name}": data for name, data in images.items()}
        | {f"masks/{name}": data for name, data in masks.items()}
    )
    assert checked.mask_values == [0, 255]
    assert [sample.pair.name for sample in checked.samples] == list("abcdefghijk")
    share = (disc > 0).mean()
    assert all(sample.foreground == pytest.approx(share) for sample in checked.samples)
    assert [sample.pair.name for sample in checked.samples if sample.mask_encoded] == list("cdefgh")
    assert {sample.media_type for sample in checked.samples} == {"image/png", "image/jpeg", "image/tiff"}
    # However a mask came, what is stored has the same pixels: six different encodings, one stored blob.
    assert len({sample.mask_sha256 for sample in checked.samples if sample.mask_encoded}) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "is empty"),
        ({"a.png": b"x"}, "no images/ and masks/"),
        ({"images/a.png": b"x"}, "no images/ and masks/"),
        ({"images/a.png": b"x", "labels/a.png": b"x"}, "no images/ and masks/"),
        ({"a/images/1.png": b"", "a/masks/1.png": b"", "b/images/1.png": b"", "b/masks/1.png": b""}, "more than once"),
    ],
)
def test_layouts_that_are_not_understood(upload: Any, members: dict[str, bytes], reason: str) -> None:
    fault = upload.faults(members)[None]
    assert reason in fault.reason
    assert "images/" in fault.hint


def test_bad_names_and_partners_are_all_listed(upload: Any) -> None:
    members = upload.good(1) | {
        "images/alone.png": upload.photo(),
        "masks/lonely.png": upload.encode(upload.disc()),
        "images/deep/x.png": upload.photo(),
        "images/notes.txt": b"hello",
        "images/noending": b"hello",
        "images/case 0.jpg": upload.photo(kind="JPEG"),
        "images/...png": upload.photo(),
        f"images/{'n' * 201}.png": upload.photo(),
        "README.md": b"about",
    }
    faults = upload.faults(members)
    expected = {
        "images/alone.png": "has no mask",
        "masks/lonely.png": "has no image",
        "images/deep/x.png": "in a folder below",
        "images/notes.txt": "not PNG, JPEG or TIFF",
        "images/noending": "not PNG, JPEG or TIFF",
        "images/case 0.jpg": "same name as",
        "images/...png": "no usable name",
        f"images/{'n' * 201}.png": "201 characters",
    }
    assert faults.keys() == expected.keys()
    for path, reason in expected.items():
        assert reason in faults[path].reason
        assert faults[path].hint


def test_what_lies_beside_the_folders_is_a_warning(upload: Any) -> None:
    checked = upload.check({f"d/{k}": v for k, v in upload.good(1).items()} | {"d/LICENSE": b"x", "note.txt": b"x"})
    assert {warning.file for warning in checked.warnings} == {"d/LICENSE", "note.txt"}


def test_bad_images_and_masks_are_all_listed(upload: Any) -> None:
    disc = upload.encode(upload.disc())
    pages = [Image.new("L", (30, 20), number) for number in range(2)]
    tiff, animated = io.BytesIO(), io.BytesIO()
    pages[0].save(tiff, "TIFF", save_all=True, append_images=pages[1:])
    pages[0].save(animated, "PNG", save_all=True, append_images=pages[1:])
    rotated = Image.new("RGB", (30, 20)).getexif()
    rotated[0x0112] = 6
    nan = np.full((20, 30), np.nan, np.float32)
    half = np.dstack([upload.disc()] * 3 + [np.full((20, 30), 128, np.uint8)])
    bad_images = {
        "text.png": (b"hello", "not a PNG, JPEG or TIFF"),
        "gif.png": (upload.encode(upload.disc(), "GIF"), "not a PNG, JPEG or TIFF"),
        "cut.png": (upload.photo()[:900], "cannot be decoded"),
        "cut2.jpg": (upload.photo(kind="JPEG")[:700], "cannot be decoded"),
        "pages.tif": (tiff.getvalue(), "holds 2 images"),
        "moving.png": (animated.getvalue(), "holds 2 images"),
        "turned.jpg": (upload.photo(kind="JPEG", exif=rotated), "orientation 6"),
        "turned2.tif": (upload.encode(upload.disc(), "TIFF", tiffinfo={274: 3}), "orientation 3"),
        "nan.tif": (upload.encode(nan, "TIFF"), "finite"),
        "huge.png": (upload.photo(size=(300, 300)), "300 x 300 pixels"),
    }
    bad_masks = {
        "size": (upload.encode(upload.disc(size=(21, 30))), "is 30 x 21, its image 30 x 20"),
        "colour": (upload.photo(), "colour image"),
        "clear": (upload.encode(half), "transparent"),
        "wide": (upload.encode(upload.disc().astype(np.uint16) * 100), "values from 0 to 25500"),
        "float": (upload.encode(upload.disc().astype(np.float32), "TIFF"), "colour mode F"),
        "empty": (b"", "not a PNG, JPEG or TIFF"),
    }
    members = {}
    for name, (data, _) in bad_images.items():
        members[f"images/{name}"] = data
        members[f"masks/{name.partition('.')[0]}.png"] = disc
    for name, (data, _) in bad_masks.items():
        members[f"images/{name}.png"] = upload.photo()
        members[f"masks/{name}.png"] = data
    faults = upload.faults(members, limits=ImportLimits(max_pixels=50_000))
    expected = {f"images/{name}": reason for name, (_, reason) in bad_images.items()}
    expected |= {f"masks/{name}.png": reason for name, (_, reason) in bad_masks.items()}
    assert faults.keys() == expected.keys()
    for path, reason in expected.items():
        assert reason in faults[path].reason, (path, faults[path])
        assert faults[path].hint, path


def test_a_pixel_bomb_is_refused_before_decoding(upload: Any) -> None:
    """30000 x 30000 pixels in a few kilobytes: beyond Pillow's own limit as well."""
    bomb = upload.encode(np.zeros((1, 1), np.uint8))
    header = bomb[:16] + (30_000).to_bytes(4, "big") * 2 + bomb[24:29]
    import zlib

    header += zlib.crc32(header[12:29]).to_bytes(4, "big")
    faults = upload.faults({"images/a.png": header + bomb[33:], "masks/a.png": upload.encode(upload.disc())})
    assert "pixels" in faults["images/a.png"].reason


def test_damaged_files_are_faults_never_crashes(upload: Any, break_bytes: Any) -> None:
    sources = [upload.photo(kind=kind) for kind in ("PNG", "JPEG", "TIFF")]
    members = upload.good(1)
    for seed in range(60):
        members[f"images/{seed}.png"] = break_bytes(sources[seed % 3], seed)
        members[f"masks/{seed}.png"] = break_bytes(sources[seed % 3], seed + 1000)
    faults = upload.faults(members)
    assert len(faults) > 60
    assert all(fault.reason for fault in faults.values())


def values_upload(upload: Any, *masks: np.ndarray, kind: str = "PNG") -> dict[str, bytes]:
    members = {}
    for number, mask in enumerate(masks):
        members[f"images/{number}.png"] = upload.photo(number, size=mask.shape)
        members[f"masks/{number}.{'jpg' if kind == 'JPEG' else 'png'}"] = upload.encode(mask, kind)
    return members


def test_class_numbers(upload: Any) -> None:
    mask = upload.disc(1)
    mask[:3] = 2
    assert upload.check(values_upload(upload, mask, upload.disc(1))).mask_values == [0, 1, 2]
    assert upload.check(values_upload(upload, upload.disc(7))).mask_values == [0, 7]


def test_the_odd_mask_is_named(upload: Any) -> None:
    faults = upload.faults(values_upload(upload, upload.disc(), upload.disc(), upload.disc(), upload.disc(1)))
    assert faults.keys() == {None, "masks/3.png"}
    assert faults["masks/3.png"].reason == "has mask values 0, 1"
    assert faults["masks/3.png"].hint == (
        "most masks use 0, 255; to make 1 class 255: remap=1=255; to make it background: remap=1=0"
    )
    assert "0, 1, 255" in faults[None].reason


def test_grey_masks_need_a_threshold(upload: Any) -> None:
    blurred = values_upload(upload, upload.disc(), np.roll(upload.disc(), 3, 1), kind="JPEG")
    faults = upload.faults(blurred)
    assert "mask_threshold" in faults["masks/0.jpg"].hint
    assert "mask_threshold" in faults[None].hint
    checked = upload.check(blurred, mask_threshold=128)
    assert checked.mask_values == [0, 255]
    assert all(sample.mask_encoded and sample.mask_media_type == "image/png" for sample in checked.samples)
    assert checked.samples[0].foreground == pytest.approx((upload.disc() > 0).mean(), abs=0.02)


def test_the_threshold_itself_counts_as_foreground(upload: Any) -> None:
    mask = np.full((20, 30), 99, np.uint8)
    mask[:5] = 100
    mask[5:8] = 0
    assert upload.check(values_upload(upload, mask), mask_threshold=100).samples[0].foreground == pytest.approx(5 / 20)


def test_gaps_missing_background_and_empty_datasets(upload: Any) -> None:
    gap = upload.disc(1)
    gap[:3] = 3
    assert "0, 1, 3" in upload.faults(values_upload(upload, gap))[None].reason
    assert "1, 2" in upload.faults(values_upload(upload, upload.disc(1) + 1))[None].reason
    empty = np.zeros((20, 30), np.uint8)
    assert upload.faults(values_upload(upload, empty, empty))[None].reason == "every mask is empty"


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ({"a": (0, 255), "b": (0,)}, [0, 255]),
        ({"a": (0, 1), "b": (255,)}, []),
        ({"a": (255,), "b": (0,)}, [0, 255]),
        ({"a": (0, 1), "b": (0, 2)}, [0, 1, 2]),
        ({"a": (1, 2)}, []),
        ({"a": tuple(range(65))}, []),
        ({"a": tuple(range(64))}, list(range(64))),
    ],
)
def test_class_values(masks: dict[str, tuple[int, ...]], expected: list[int]) -> None:
    values, faults = class_values(masks, set(), 64)
    assert values == expected
    assert bool(faults) == (not expected)


def test_lossy_class_numbers_are_refused() -> None:
    assert class_values({"a.jpg": (0, 1, 2)}, {"a.jpg"}, 64)[1]
    assert class_values({"a.jpg": (0, 255)}, {"a.jpg"}, 64) == ([0, 255], [])


def test_warnings(upload: Any) -> None:
    members = upload.good(2)
    members["images/copy.png"] = members["images/case 0.png"]
    members["masks/copy.png"] = members["masks/case 0.png"]
    members["images/other.png"] = members["images/case 0.png"]
    members["masks/other.png"] = members["masks/case 1.png"]
    members["images/flat.png"] = upload.encode(np.full((20, 30, 3), 7, np.uint8))
    members["masks/flat.png"] = upload.encode(np.zeros((20, 30), np.uint8))
    reasons = {(warning.file, warning.reason) for warning in upload.check(members).warnings}
    assert reasons == {
        ("images/copy.png", "is the same image as images/case 0.png, with the same mask"),
        ("images/other.png", "is the same image as images/case 0.png, with another mask"),
        ("images/flat.png", "has the same colour everywhere"),
        ("masks/flat.png", "is empty"),
    }


def test_names_are_compared_in_one_spelling(upload: Any) -> None:
    """Macs write ö as two characters, others as one; the two belong together."""
    image, mask = upload.good(1).values()
    checked = upload.check({"images/o\u0308.png": image, "masks/\u00f6.png": mask})
    assert [sample.pair.name for sample in checked.samples] == ["\u00f6"]
