"""Reasons name the fault that was made, and measure it; doubt is about the label, not about the network."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn.functional import one_hot

import dale
from dale.noise import ImpossibleCorruption, corrupt
from dale.review import AGREE, Reason, review
from dale.synthetic import lesion_image

DRAWS = 40
KIND_OF = {"missed": "missing", "extra": "extra", "dilate": "wide", "erode": "narrow", "displace": "displaced"}


def hot(mask: np.ndarray, classes: int = 2) -> torch.Tensor:
    return one_hot(torch.from_numpy(mask.astype(int)), classes).movedim(-1, 0)


def softened(mask: np.ndarray, classes: int = 2) -> torch.Tensor:
    """What a good network would say: each class blurred, (C, *spatial)."""
    return torch.stack(
        [torch.from_numpy(ndimage.gaussian_filter(part, 1.0)) for part in hot(mask, classes).float().numpy()]
    )


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    away = np.indices(shape) - np.reshape(centre, (-1, *[1] * len(shape)))
    return (np.sqrt((away**2).sum(0)) <= radius).astype(np.uint8)


def ellipse(rng: np.random.Generator) -> np.ndarray:
    dy, dx = np.indices((80, 80)) - rng.uniform(25, 55, (2, 1, 1))
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 1)
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    return (np.hypot(along * ratio, across / ratio) <= rng.uniform(7, 18)).astype(np.uint8)


def lesion(rng: np.random.Generator) -> np.ndarray:
    mask = lesion_image(80, rng)[1]
    return mask if mask.any() else lesion(rng)


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[np.ndarray]]:
    streams = [np.random.default_rng(seed) for seed in range(DRAWS)]
    return {"ellipse": [ellipse(rng) for rng in streams], "lesion": [lesion(rng) for rng in streams]}


@pytest.mark.parametrize("shape", ["ellipse", "lesion"])
@pytest.mark.parametrize("kind", KIND_OF)
def test_the_reason_is_the_fault_that_was_made(shapes: dict[str, list[np.ndarray]], shape: str, kind: str) -> None:
    found = []
    for seed, mask in enumerate(shapes[shape]):
        try:
            label = corrupt(mask, kind, np.random.default_rng(seed))
        except ImpossibleCorruption:
            continue
        found.append(review(softened(mask), hot(label)).kind)
    assert len(found) >= 0.9 * DRAWS
    assert found.count(KIND_OF[kind]) >= 0.9 * len(found), found


@pytest.mark.parametrize("shape", ["ellipse", "lesion"])
def test_clean_labels_have_no_reason(shapes: dict[str, list[np.ndarray]], shape: str) -> None:
    reasons = [review(softened(mask), hot(mask)) for mask in shapes[shape]]
    assert {reason.kind for reason in reasons} == {"none"}
    assert reasons[0] == Reason("none", 0.0, "px", "label and prediction agree")


def test_distances_are_those_that_monai_measures(shapes: dict[str, list[np.ndarray]]) -> None:
    from monai.metrics import compute_average_surface_distance

    kinds = []
    for seed, shape in enumerate(shapes["ellipse"][:12]):
        mask = np.pad(shape, 20)  # for MONAI the image's edge is a border
        label = corrupt(mask, "box", np.random.default_rng(seed))
        reason = review(hot(mask).float(), hot(label), [0.5, 0.25])
        kinds.append(reason.kind)
        expected = compute_average_surface_distance(
            hot(label)[None], hot(mask)[None], symmetric=reason.kind == "border", spacing=[0.5, 0.25]
        )
        assert reason.amount == pytest.approx(expected.item(), rel=1e-4)
    assert set(kinds) == {"border", "wide"}
    assert reason.kind == "border"
    assert reason.text == f"the border is off by {reason.amount:.2g} mm on average"


def test_sizes_are_counts_of_pixels_or_mm() -> None:
    first, second = ball((64, 64), (20, 20), 9), ball((64, 64), (46, 44), 6)
    both = first | second
    size = int(second.sum())
    assert review(hot(both).float(), hot(first)) == Reason(
        "missing", size, "px²", f"the model sees a lesion of {size} px² where the label has none"
    )
    assert review(hot(first).float(), hot(both), [0.5, 2.0]) == Reason(
        "extra", size, "mm²", f"the label has a lesion of {size} mm² where the model sees none"
    )
    assert review(hot(first).float(), hot(both), [0.5, 0.5]).amount == pytest.approx(size / 4)
    empty = np.zeros_like(first)
    total = int(both.sum())
    assert review(hot(both).float(), hot(empty)) == Reason(
        "missing", total, "px²", f"the model sees 2 lesions, together {total} px² where the label has none"
    )
    assert review(hot(empty).float(), hot(both)).kind == "extra"
    assert review(hot(empty).float(), hot(empty)).kind == "none"


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_widths_in_2d_and_3d(scale: float) -> None:
    for shape, centre in (((64, 64), (30, 33)), ((32, 48, 48), (16, 24, 24))):
        spacing = None if scale == 1 else [scale] * len(shape)
        unit = "px" if scale == 1 else "mm"
        small, large = ball(shape, centre, 7), ball(shape, centre, 12)
        wide, narrow = review(hot(small).float(), hot(large), spacing), review(hot(large).float(), hot(small), spacing)
        assert (wide.kind, narrow.kind) == ("wide", "narrow")
        assert wide.unit == narrow.unit == unit
        assert wide.amount == pytest.approx(5 * scale, rel=0.06)
        assert narrow.amount == pytest.approx(5 * scale, rel=0.06)
        assert wide.text == f"the label is {wide.amount:.2g} {unit} wider all around"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ((-6, 0), "6 px above what"),
        ((6, 1), "6.1 px below what"),
        ((0, -6), "6 px to the left of what"),
        ((1, 6), "6.1 px to the right of what"),
        ((-5, -5), "7.1 px to the upper left of what"),
        ((4, 6), "7.2 px to the lower right of what"),
    ],
)
def test_direction_and_length_of_a_displacement(step: tuple[int, int], words: str) -> None:
    mask = ball((64, 64), (32, 32), 10)
    reason = review(softened(mask), hot(np.roll(mask, step, (0, 1))))
    assert reason.kind == "displaced"
    assert reason.amount == pytest.approx(np.hypot(*step), abs=0.05)
    assert reason.text == f"the label lies {words} the model sees"


def test_a_displacement_in_3d_is_measured_in_mm() -> None:
    mask = ball((24, 40, 40), (12, 20, 20), 8)
    label = np.roll(mask, (2, -4, 0), (0, 1, 2))
    reason = review(softened(mask), hot(label), [3.0, 0.5, 0.5])
    assert reason.amount == pytest.approx(np.hypot(6, 2), rel=0.02)
    assert reason.text == "the label lies 6.3 mm off what the model sees, toward the last slice"
    assert review(hot(mask * 0).float(), hot(mask), [3, 0.5, 0.5]).unit == "mm³"


def test_without_any_overlap_the_gap_is_told() -> None:
    here, there = ball((64, 64), (16, 20), 6), ball((64, 64), (46, 20), 6)
    assert review(hot(here).float(), hot(there)) == Reason(
        "disjoint", 18, "px", "label and prediction do not overlap: they lie 18 px apart"
    )
    assert review(hot(here).float(), hot(there), [2, 1]).amount == 36


def test_several_classes() -> None:
    core, whole, other = ball((64, 64), (26, 26), 6), ball((64, 64), (26, 26), 12), ball((64, 64), (52, 52), 8)
    mask = whole + core + 3 * other  # 2 within 1, and 3 alone
    assert review(softened(mask, 4), hot(mask, 4)).kind == "none"
    wrong = np.where(mask == 3, 2, mask)
    size = int(other.sum())
    assert review(hot(mask, 4).float(), hot(wrong, 4), [1, 1]) == Reason(
        "wrong_class", size, "mm²", f"the label has class 2 where the model sees class 3, on {size} mm²"
    )
    assert review(softened(mask, 4), hot(np.where(mask == 3, 0, mask), 4)).kind == "missing"
    assert review(softened(mask, 4), hot(corrupt(mask, "dilate", np.random.default_rng(0)), 4)).kind == "wide"


def test_a_small_missed_lesion_counts_beside_a_large_right_one() -> None:
    large, small = ball((96, 96), (40, 40), 24), ball((96, 96), (84, 84), 7)
    dice = 2 * large.sum() / (2 * large.sum() + small.sum())
    assert dice > AGREE
    assert review(hot(large | small).float(), hot(large)).kind == "missing"
    speck = ball((96, 96), (84, 84), 2)
    assert review(hot(large | speck).float(), hot(large)).kind == "none"


def test_the_edge_of_the_image_is_no_border() -> None:
    mask, label = ball((64, 64), (0, 30), 12), ball((64, 64), (0, 30), 17)
    assert review(hot(mask).float(), hot(label)).amount == pytest.approx(5, rel=0.06)


def test_a_full_image_has_its_edge_for_a_border() -> None:
    full, inner = np.ones((40, 40), np.uint8), np.pad(np.ones((28, 28), np.uint8), 6)
    assert review(hot(inner).float(), hot(full)).kind == "wide"
    narrow = review(hot(full).float(), hot(inner))
    assert (narrow.kind, narrow.amount) == ("narrow", 6)


def test_an_outline_that_was_never_filled_misses_its_inside() -> None:
    disk = ball((40, 40), (20, 20), 9)
    outline = disk & ~ndimage.binary_erosion(disk)
    size = int(disk.sum() - outline.sum())
    assert (
        review(hot(disk).float(), hot(outline)).text
        == f"the model sees a lesion of {size} px² where the label has none"
    )


def test_every_pair_of_masks_gets_a_reason() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(200):
        shape = (5, 7) if rng.random() < 0.7 else (3, 5, 4)
        seen, drawn = (rng.integers(1, 3, shape) * (rng.random(shape) < rng.choice([0, 0.1, 0.6, 1])) for _ in range(2))
        reason = review(hot(seen, 3).float(), hot(drawn, 3), [0.5, 1, 2][: len(shape)])
        kinds.add(reason.kind)
        assert np.isfinite(reason.amount)
        assert reason.amount > 0 or reason.kind == "none"
    assert kinds >= {"none", "missing", "extra", "disjoint", "wrong_class", "border"}


def test_empty_space_around_the_lesions_changes_nothing() -> None:
    small, large = ball((30, 30), (14, 15), 6), ball((30, 30), (14, 15), 9)
    far = [np.pad(mask, ((20, 50), (0, 31))) for mask in (small, large)]
    assert review(hot(small).float(), hot(large)) == review(hot(far[0]).float(), hot(far[1]))


def test_doubt_marks_the_wrong_pixels_only() -> None:
    mask = ball((20, 40, 40), (10, 20, 20), 7)
    label = corrupt(mask[10], "displace", np.random.default_rng(0))
    for clean, given in ((mask[10], label), (mask, np.roll(mask, 5, 2))):
        p = softened(clean)[None].bfloat16()
        doubt = dale.doubt_map(p, hot(given)[None].bool())
        assert doubt.dtype == torch.float32
        assert doubt.shape == (1, *clean.shape)
        assert (doubt[0].numpy() > 0.5).sum() > 0.5 * (clean != given).sum()
        assert ((doubt[0] == 0) == (p[0].argmax(0).numpy() == given)).all()
        plain = 1 - (p * hot(given)[None]).sum(1)  # doubts the blurred border as well
        assert (plain[0].float().numpy()[clean == given] > 0.3).any()


def test_bfloat16_and_soft_labels_are_reviewed_alike() -> None:
    small, large = ball((64, 64), (30, 33), 8), ball((64, 64), (30, 33), 13)
    expected = review(hot(small).float(), hot(large))
    assert review(hot(small).bfloat16().requires_grad_(), hot(large) * 0.8 + 0.1) == expected


def test_bad_arguments_are_named() -> None:
    mask = hot(ball((16, 16), (8, 8), 4))
    with pytest.raises(ValueError, match=r"\(2, 16, 16\).*\(2, 16, 8\)"):
        review(mask.float(), mask[..., :8])
    with pytest.raises(ValueError, match=r"differ in shape"):
        dale.doubt_map(mask[None].float(), mask)
    with pytest.raises(ValueError, match="2 positive numbers"):
        review(mask.float(), mask, [1, 1, 1])
    with pytest.raises(ValueError, match="2 positive numbers"):
        review(mask.float(), mask, [1, 0])
    with pytest.raises(ValueError, match="H, W"):
        review(mask[0].float(), mask[0])
