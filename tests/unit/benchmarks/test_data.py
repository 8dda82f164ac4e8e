"""Benchmark data: the pixels that the workers see, splits without leaks, noise with its truth."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dale.folders import BadFolder, write_truth
from dale.noise import CLEAN, Truth, dice
from dale.synthetic import lesion_image, write_samples
from tests.benchmarks.robustness.data import (
    Pool,
    known_truth,
    load,
    near_duplicate_groups,
    split,
    with_noise,
)
from workers.images import decode_image, decode_mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "lesions"
    write_samples(folder, samples=12, size=48, seed=1)
    return folder


def lesions(count: int, seed: int = 0) -> torch.Tensor:
    images = [lesion_image(64, rng)[0] for rng in np.random.default_rng(seed).spawn(count)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def re_encoded(images: torch.Tensor) -> torch.Tensor:
    copies = []
    for image in images.permute(0, 2, 3, 1).numpy():
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "JPEG", quality=60)
        copies.append(np.asarray(Image.open(sink)))
    return torch.from_numpy(np.stack(copies)).permute(0, 3, 1, 2).contiguous()


def pool_of(images: torch.Tensor) -> Pool:
    names = tuple(f"case {index:03}" for index in range(len(images)))
    return Pool(names, images, torch.zeros(len(images), 64, 64, dtype=torch.uint8), 2)


@pytest.fixture(scope="module")
def doubled() -> Pool:
    """60 pictures; the last 15 are brighter copies of the first 15."""
    images = lesions(45)
    return pool_of(torch.cat([images, (images[:15].float() * 0.8 + 30).to(torch.uint8)]))


def test_pixels_are_those_of_the_workers_and_the_cache_follows_the_files(folder: Path, tmp_path: Path) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(folder, data)
    name = "lesion-0002"
    Image.open(data / f"masks/{name}.png").save(tmp_path / "lossy.jpg", quality=95)
    pool = load(data, 32, cache=cache)
    assert len(pool) == 12
    assert pool.classes == 2
    for index, sample in enumerate(pool.names):
        image, mask = (data / part / f"{sample}.png" for part in ("images", "masks"))
        assert (pool.images[index].permute(1, 2, 0).numpy() == decode_image(image, 32)).all()
        assert (pool.masks[index].numpy() == decode_mask(mask, 32, [0, 255])).all()

    stored = [path.name for path in cache.iterdir()]
    assert len(stored) == 1
    again = load(data, 32, cache=cache)
    assert torch.equal(again.images, pool.images)
    assert torch.equal(again.masks, pool.masks)
    assert [path.name for path in cache.iterdir()] == stored

    (cache / stored[0]).write_bytes(b"cut off")
    assert torch.equal(load(data, 32, cache=cache).images, pool.images)

    (data / f"masks/{name}.png").unlink()
    shutil.move(tmp_path / "lossy.jpg", data / f"masks/{name}.jpg")
    changed = load(data, 32, cache=cache)
    assert changed.classes == 2
    assert (changed.masks != pool.masks).float().mean() < 0.01
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(data / f"images/{name}.png")
    os.utime(data / f"images/{name}.png", ns=(0, 0))
    assert not load(data, 32, cache=cache).images[pool.names.index(name)].any()
    assert set(load(data, 32, 5, cache=cache).names) < set(pool.names)

    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(data / f"images/{name}.png")
    with pytest.raises(BadFolder, match="48 x 40 pixels, its mask 48 x 48"):
        load(data, 32, cache=cache)


def test_near_duplicates_are_copies_and_not_other_pictures() -> None:
    images = lesions(40)
    brighter = (images.float() + 25).clamp(0, 255).to(torch.uint8)
    flat = (images.float() * 0.6 + 20).to(torch.uint8)
    groups = near_duplicate_groups(torch.cat([images, brighter, flat, re_encoded(images)]))
    assert groups.shape == (160,)
    assert len(set(groups[:40])) == 40
    for copies in groups[40:].reshape(3, 40):
        assert (copies == groups[:40]).all()
    assert len(set(near_duplicate_groups(torch.cat([images, images.flip(3)])))) == 80


def test_groups_never_straddle_and_the_test_set_does_not_know_the_seed(doubled: Pool) -> None:
    groups = dict(zip(doubled.names, near_duplicate_groups(doubled.images), strict=True))
    drawn = [split(doubled, seed, train=24) for seed in range(8)]
    for part in drawn:
        sets = [set(pool.names) for pool in (part.train, part.validation, part.test)]
        assert [len(names) for names in sets] == [24, 2, 18]
        assert len(set.union(*sets)) == 24 + 2 + 18
        kept = [{groups[name] for name in names} for names in sets]
        assert sum(map(len, kept)) == len(set.union(*kept))
        assert part.test.names == drawn[0].test.names
    assert len({part.train.names for part in drawn}) == 8
    assert split(doubled, 3, train=24).train.names == drawn[3].train.names
    for name, image in zip(drawn[0].train.names, drawn[0].train.images, strict=True):
        assert torch.equal(image, doubled.images[doubled.names.index(name)])

    shuffled = doubled.take(torch.randperm(60, generator=torch.Generator().manual_seed(0)))
    assert split(shuffled, 3, train=24).test.names == drawn[0].test.names
    whole = split(doubled, 0, test=10)
    assert len(whole.test) == 10
    assert 48 <= len(whole.train) + len(whole.validation) <= 50  # a pair may not fit any more
    assert len(whole.validation) == pytest.approx(0.1 * len(whole.train), abs=1)
    with pytest.raises(BadFolder, match="too few"):
        split(pool_of(torch.cat([lesions(1)] * 6)), 0)


def test_another_folder_as_test_set_and_labels_known_to_be_right(doubled: Pool) -> None:
    elsewhere = Pool(tuple("abc"), re_encoded(doubled.images[:3]), doubled.masks[:3], 2)
    part = split(doubled, 0, test_pool=elsewhere)
    assert part.test is elsewhere
    seen = {*part.train.names, *part.validation.names}
    copies = {doubled.names[index] for index in (0, 1, 2, 45, 46, 47)}
    assert not seen & copies
    assert 52 <= len(seen) <= 54

    clean = [index % 2 == 0 for index in range(60)]
    part = split(doubled, 0, clean=clean)
    assert len(part.test) == round(0.3 * 15)  # 30 without a copy, of which 15 are clean; no copy pair is clean in both
    assert all(clean[doubled.names.index(name)] for name in part.test.names)


def test_noise_is_seeded_and_its_truth_belongs_to_the_masks(folder: Path, tmp_path: Path) -> None:
    pool = load(folder, 48, cache=tmp_path)
    shuffled = pool.take([7, 3, *(i for i in range(12) if i not in {3, 7})])
    masks, truth = with_noise(shuffled.masks, shuffled.names, "dilate,erode", 0.5, 4)
    assert tuple(record.id for record in truth) == shuffled.names
    assert sum(record.kind != CLEAN for record in truth) == 6
    assert {record.kind for record in truth} == {CLEAN, "dilate", "erode"}
    for before, after, record in zip(shuffled.masks.numpy(), masks.numpy(), truth, strict=True):
        assert dice(after, before) == pytest.approx(record.dice)
        assert (after != before).any() == (record.kind != CLEAN)
        assert record.kind != "dilate" or (after >= before).all()
        assert record.kind != "erode" or (after <= before).all()
    assert torch.equal(masks, with_noise(shuffled.masks, shuffled.names, "dilate,erode", 0.5, 4)[0])
    assert not torch.equal(masks, with_noise(shuffled.masks, shuffled.names, "dilate,erode", 0.5, 5)[0])
    for kinds, ratio in (("none", 0.4), ("mixed", 0.0)):
        masks, truth = with_noise(shuffled.masks, shuffled.names, kinds, ratio, 0)
        assert torch.equal(masks, shuffled.masks)
        assert {record.kind for record in truth} == {CLEAN}
    with pytest.raises(ValueError, match="unknown kind"):
        with_noise(shuffled.masks, shuffled.names, "dilute", 0.4, 0)


def test_known_truth_comes_in_the_order_of_the_samples(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth.csv", [Truth("a", CLEAN, 1.0), Truth("b", "student", 0.6), Truth("c", CLEAN, 1.0)])
    assert [(record.id, record.kind) for record in known_truth(tmp_path / "truth.csv", ["b", "a"])] == [
        ("b", "student"),
        ("a", CLEAN),
    ]
    with pytest.raises(BadFolder, match="nothing of 1 samples, the first of them 'd'"):
        known_truth(tmp_path / "truth.csv", ["a", "d"])
