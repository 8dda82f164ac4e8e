"""Corruptions are real, relative to the lesion, reproducible, and do what their names say."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score

from dale.noise import KINDS, MAX_DICE, ImpossibleCorruption, corrupt, corrupt_dataset, dice, parse_kinds
from dale.synthetic import lesion_image


def disk(size: int, radius: float, centre: tuple[float, float] | None = None) -> np.ndarray:
    cy, cx = centre or (size / 2, size / 2)
    y, x = np.indices((size, size))
    return (np.hypot(y - cy, x - cx) <= radius).astype(np.uint8)


def nested(size: int) -> np.ndarray:
    """Class 2 within class 1."""
    return disk(size, size / 5) + disk(size, size / 9)


SHAPES = {
    "disk": disk(96, 15),
    "tiny": disk(96, 1.2),
    "huge": disk(96, 44),
    "two": disk(96, 9, (25, 25)) | disk(96, 12, (65, 60)),
    "at the edge": disk(96, 20, (0, 40)),
    "nested": nested(96),
    "oblong": disk(96, 10).repeat(2, axis=1)[:, :96],
    "boolean": disk(96, 15).astype(bool),
}
DONOR = disk(64, 8, (12, 50))


def reference_dice(a: np.ndarray, b: np.ndarray) -> float:
    classes = [c for c in np.union1d(a, b).tolist() if c]
    return float(f1_score(a.ravel(), b.ravel(), labels=classes, average="macro", zero_division=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_corruption_is_real(kind: str, shape: str) -> None:
    mask = SHAPES[shape]
    given = mask.copy()
    impossible = {("tiny", "erode"), ("tiny", "polygon"), ("huge", "extra")}
    for seed in range(12):
        try:
            new = corrupt(mask, kind, np.random.default_rng(seed), donor=DONOR)
        except ImpossibleCorruption:
            assert (shape, kind) in impossible
            continue
        assert new.shape == mask.shape
        assert new.dtype == mask.dtype
        assert set(np.unique(new)) <= set(np.unique(mask))
        assert dice(new, mask) == pytest.approx(reference_dice(mask.astype(int), new.astype(int)))
        assert dice(new, mask) < MAX_DICE
        assert (mask == given).all(), "the given mask was changed"


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_mask(kind: str) -> None:
    mask = SHAPES["disk"]
    first, second, other = (corrupt(mask, kind, np.random.default_rng(seed), donor=DONOR) for seed in (7, 7, 8))
    assert (first == second).all()
    if kind not in {"missed", "swapped"}:
        assert (first != other).any()


@pytest.mark.parametrize("radius", [6, 12, 24])
def test_strength_is_relative_to_the_lesion(radius: int) -> None:
    mask = disk(160, radius)
    area = mask.sum()
    y, x = ndimage.center_of_mass(mask)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        wide = corrupt(mask, "dilate", rng)
        assert (wide[mask > 0] > 0).all()
        assert 1.25**2 * 0.85 < wide.sum() / area < 2.3
        narrow = corrupt(mask, "erode", rng)
        assert (mask[narrow > 0] > 0).all()
        assert 0.25 < narrow.sum() / area < 0.8**2 * 1.15
        moved = corrupt(mask, "displace", rng)
        ny, nx = ndimage.center_of_mass(moved)
        assert 0.3 * radius < np.hypot(ny - y, nx - x) < 1.1 * radius
        assert moved.sum() == area


def test_polygon_is_coarse_and_box_is_a_box() -> None:
    mask = disk(128, 30)
    for seed in range(10):
        polygon = corrupt(mask, "polygon", np.random.default_rng(seed))
        assert 0.3 < polygon.sum() / mask.sum() < 0.95  # 3 corners of a circle: .41, 5 corners: .76
        box = corrupt(mask, "box", np.random.default_rng(seed))
        ys, xs = np.nonzero(box)
        assert box.sum() == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
        assert (box[mask > 0] > 0).all()


def test_missed_removes_whole_components_and_extra_adds_one() -> None:
    mask = SHAPES["two"]
    labels, _ = ndimage.label(mask)
    for seed in range(10):
        missed = corrupt(mask, "missed", np.random.default_rng(seed))
        kept = [bool((missed[labels == number] > 0).all()) for number in (1, 2)]
        gone = [bool((missed[labels == number] == 0).all()) for number in (1, 2)]
        assert sorted([*kept, *gone]) == [False, False, True, True]
        extra = corrupt(mask, "extra", np.random.default_rng(seed))
        assert (extra[mask > 0] > 0).all()
        assert ndimage.label(extra)[1] >= 3


def test_border_kinds_keep_nested_classes_nested() -> None:
    mask = nested(96)
    for kind in ("dilate", "box"):
        new = corrupt(mask, kind, np.random.default_rng(0))
        assert ((new == 2) == (mask == 2)).all(), kind


def test_swapped_is_the_other_mask_in_this_size() -> None:
    donor = disk(48, 6, (10, 10))
    new = corrupt(disk(96, 20, (60, 60)), "swapped", np.random.default_rng(0), donor=donor)
    assert (new == donor.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_empty_masks_allow_only_extra() -> None:
    empty = np.zeros((64, 64), np.uint8)
    for kind in KINDS:
        if kind == "extra":
            assert set(np.unique(corrupt(empty, kind, np.random.default_rng(0)))) == {0, 1}
        else:
            with pytest.raises(ImpossibleCorruption, match="empty"):
                corrupt(empty, kind, np.random.default_rng(0), donor=DONOR)


def test_a_full_mask_can_be_corrupted() -> None:
    full = np.ones((64, 64), np.uint8)
    for kind in ("erode", "displace", "missed", "swapped"):
        assert dice(corrupt(full, kind, np.random.default_rng(1), donor=DONOR), full) < MAX_DICE


def test_real_means_a_dice_below_085() -> None:
    assert MAX_DICE <= 0.85


def test_bad_arguments_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"'smear'.*dilate"):
        corrupt(SHAPES["disk"], "smear", rng)
    with pytest.raises(ValueError, match="float64"):
        corrupt(SHAPES["disk"].astype(float), "dilate", rng)
    with pytest.raises(ValueError, match="'smear'"):
        parse_kinds("erode,smear")
    with pytest.raises(ValueError, match=r"1\.5"):
        corrupt_dataset({"a": SHAPES["disk"]}, 1.5, KINDS, rng)
    assert parse_kinds("mixed") == KINDS
    assert parse_kinds("erode, box") == ("erode", "box")


def dataset(count: int) -> dict[str, np.ndarray]:
    return {f"s{i:03d}": lesion_image(48, rng)[1] for i, rng in enumerate(np.random.default_rng(3).spawn(count))}


def test_a_dataset_gets_exactly_the_share_and_tells_the_truth() -> None:
    masks = dataset(60)
    new, truth = corrupt_dataset(masks, 0.3, KINDS, np.random.default_rng(0))
    assert [record.id for record in truth] == sorted(masks)
    assert sum(record.kind != "clean" for record in truth) == 18
    assert {record.kind for record in truth} == {*KINDS, "clean"}  # 18 corruptions, 9 kinds in turn
    for record in truth:
        assert record.dice == pytest.approx(dice(new[record.id], masks[record.id]))
        assert (record.kind == "clean") == (new[record.id] == masks[record.id]).all()
        assert record.kind == "clean" or record.dice < MAX_DICE
    again, truth_again = corrupt_dataset(masks, 0.3, KINDS, np.random.default_rng(0))
    assert truth == truth_again
    assert all((new[name] == again[name]).all() for name in masks)


def test_samples_that_cannot_be_corrupted_are_replaced_by_others() -> None:
    masks = {f"empty{i}": np.zeros((32, 32), np.uint8) for i in range(5)} | {f"full{i}": disk(32, 8) for i in range(5)}
    _, truth = corrupt_dataset(masks, 0.5, ["erode"], np.random.default_rng(0))
    assert {record.id for record in truth if record.kind == "erode"} == {f"full{i}" for i in range(5)}
    with pytest.raises(ImpossibleCorruption, match="only 5 of 6"):
        corrupt_dataset(masks, 0.6, ["erode"], np.random.default_rng(0))
