"""Images that are nearly the same are told, and are never split; of many images in little time."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from service.datasets import duplicates
from service.datasets.checked import Findings
from service.datasets.duplicates import DISTANCE, alike, fingerprint
from tests.volumes import nifti


def scene(seed: int) -> Image.Image:
    """Soft blobs: as smooth as a photograph of skin."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return noise.resize((240, 180), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def bits(first: bytes | None, second: bytes | None) -> int:
    assert first and second
    return bin(int.from_bytes(first) ^ int.from_bytes(second)).count("1")


@pytest.mark.parametrize("seed", range(5))
def test_the_same_image_otherwise_stored_has_nearly_the_same_fingerprint(seed: int) -> None:
    image = scene(seed)
    own = fingerprint(image)
    jpeg = Image.open(io.BytesIO(encoded(image, "JPEG", quality=30)))
    stored = [jpeg, image.resize((120, 90)), ImageEnhance.Brightness(image).enhance(0.7), image.convert("L")]
    wide = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    assert max(bits(own, fingerprint(other)) for other in [*stored, wide]) <= DISTANCE
    assert bits(own, fingerprint(scene(seed + 100))) > 2 * DISTANCE


def test_an_image_of_one_colour_is_like_no_other() -> None:
    assert fingerprint(Image.new("RGB", (64, 64), (9, 9, 9))) is None


def test_pairs_are_those_of_a_search_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    marks: list[bytes | None] = [rng.bytes(32) for _ in range(60)]
    for _ in range(40):  # chains: each like an earlier one, but for up to 30 bits
        flipped = int.from_bytes(marks[int(rng.integers(len(marks)))] or b"")
        for bit in rng.choice(256, int(rng.integers(0, 30)), replace=False):
            flipped ^= 1 << int(bit)
        marks.append(flipped.to_bytes(32))
    marks[5] = None
    found = Findings([], [])
    links = list(alike(marks, [None] * len(marks), found))
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(len(marks)), 2)
        if marks[a] and marks[b] and bits(marks[a], marks[b]) <= DISTANCE
    ]
    assert {(a, b) for a, b, _ in links} <= set(pairs)
    assert all(bits(marks[a], marks[b]) == distance for a, b, distance in links)
    assert components(len(marks), [(a, b) for a, b, _ in links]) == components(len(marks), pairs)
    assert len(links) == len(marks) - len(components(len(marks), pairs)), "no pair more than hold them together"
    assert not found.warnings


def components(count: int, pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    of = {place: frozenset([place]) for place in range(count)}
    for a, b in pairs:
        for place in (joined := of[a] | of[b]):
            of[place] = joined
    return set(of.values())


def test_kinds_are_not_compared() -> None:
    mark = bytes(range(32))
    links = list(alike([mark, mark, mark], [(1, 2, 3), (3, 2, 1), (1, 2, 3)], Findings([], [])))
    assert links == [(0, 2, 0)]


def test_too_many_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 2)
    found = Findings([], [])
    marks = [bytes([number]) * 32 for number in (1, 2, 3, 1)]
    assert list(alike(marks, [None] * 4, found)) == [(0, 3, 0)]
    assert "only equal ones were looked for" in found.warnings[0].reason


def files(upload: Any, images: dict[str, Image.Image]) -> dict[str, bytes]:
    mask = upload.encode(upload.disc(size=(180, 240)))
    return {f"images/{name}.png": encoded(image) for name, image in images.items()} | {
        f"masks/{name}.png": mask for name in images
    }


def test_nearly_equal_images_are_told_and_drawn_as_one(upload: Any) -> None:
    images = {f"{seed:02}": scene(seed) for seed in range(12)}
    again = {f"{seed:02} again": ImageEnhance.Brightness(scene(seed)).enhance(0.9) for seed in range(12)}
    checked = upload.check(files(upload, images | again), test_share=0.4)
    splits = {sample.pair.name: sample.facts.split for sample in checked.samples}
    assert set(splits.values()) == {"train", "test"}
    assert all(splits[name] == splits[f"{name} again"] for name in images)
    told = {warning.file: warning.reason for warning in checked.warnings}
    assert told.keys() == {f"images/{name}.png" for name in again}
    assert told["images/03 again.png"].startswith("is nearly the same image as images/03.png (")


def test_a_given_split_that_parts_them_is_warned_of(upload: Any) -> None:
    images = {"a": scene(0), "b": ImageEnhance.Brightness(scene(0)).enhance(0.9), "c": scene(1)}
    checked = upload.check(files(upload, images) | {"samples.csv": b"name,split\nb,test\n"})
    reasons = [warning.reason for warning in checked.warnings if warning.file == "images/a.png"]
    assert reasons == ["is nearly the same image as images/b.png, and one is trained on, one held out"]


def test_a_long_list_is_cut(upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_LISTED", 2)
    images = {f"{number}": ImageEnhance.Brightness(scene(0)).enhance(1 - number / 20) for number in range(6)}
    reasons = [warning.reason for warning in upload.check(files(upload, images)).warnings]
    assert len(reasons) == 3
    assert reasons[2] == "3 more pairs of images are nearly the same"


def test_volumes_by_their_middle_plane(upload: Any) -> None:
    rng = np.random.default_rng(0)
    coarse = [rng.normal(100, 30, (8, 8, 8)).repeat(4, 0).repeat(4, 1).repeat(4, 2) for _ in range(2)]
    volumes = {"a": coarse[0], "b": coarse[0] * 1.1 + rng.normal(0, 1, (32, 32, 32)), "c": coarse[1]}
    label = (coarse[0] > 100).astype(np.uint8)
    members = {f"images/{name}.nii.gz": nifti(values.astype(np.float32)) for name, values in volumes.items()}
    members |= {f"masks/{name}.nii.gz": nifti(label) for name in volumes}
    assert [warning.file for warning in upload.check(members).warnings] == ["images/b.nii.gz"]
