"""Styles belong to annotators: whole ones are corrupted, each with a hand of their own."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from dale.annotators import STYLES, assign_annotators, corrupt_by_annotator
from dale.noise import CLEAN, MAX_DICE, ImpossibleCorruption, Truth, dice
from dale.synthetic import lesion_image


@pytest.fixture(scope="module")
def masks() -> dict[str, np.ndarray]:
    found = {f"s{i:02d}": lesion_image(128, rng)[1] for i, rng in enumerate(np.random.default_rng(3).spawn(50))}
    assert any(not mask.any() for mask in found.values())
    return found


def corrupted(
    masks: dict[str, np.ndarray], seed: int, kind: str = "dilate", ratio: float = 0.4, people: int = 5
) -> tuple[dict[str, np.ndarray], list[Truth]]:
    rng = np.random.default_rng(seed)
    results = list(corrupt_by_annotator(masks, ratio, assign_annotators(masks, people, rng), kind, rng))
    return {truth.id: mask for mask, truth in results}, [truth for _, truth in results]


def test_samples_are_dealt_out_evenly_and_by_the_seed() -> None:
    names = [f"s{i}" for i in range(23)]
    first, again, other = (assign_annotators(names, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sorted(Counter(first.values()).values()) == [4, 4, 5, 5, 5]
    assert set(first.values()) == {"a0", "a1", "a2", "a3", "a4"}
    assert set(first) == set(names)
    assert first == again == assign_annotators(reversed(names), 5, np.random.default_rng(1))
    assert first != other
    with pytest.raises(ValueError, match="annotators is 0"):
        assign_annotators(names, 0, np.random.default_rng(0))


@pytest.mark.parametrize("kind", STYLES)
def test_whole_annotators_are_corrupted_and_nobody_else(masks: dict[str, np.ndarray], kind: str) -> None:
    new, truth = corrupted(masks, 0, kind)
    assert [record.id for record in truth] == sorted(masks)
    styled = {record.annotator for record in truth if record.kind != CLEAN}
    assert len(styled) == 2
    impossible = 0
    for record in truth:
        assert record.dice == pytest.approx(dice(new[record.id], masks[record.id]))
        if record.kind == CLEAN:
            assert (new[record.id] == masks[record.id]).all()
            impossible += record.annotator in styled
        else:
            assert record.kind == kind
            assert record.dice < MAX_DICE
        if record.annotator in styled and masks[record.id].any() and kind != "extra":  # `extra` needs room
            assert record.kind == kind
    assert impossible <= 3
    assert 0.4 - 3 / 50 <= np.mean([record.kind != CLEAN for record in truth]) <= 0.4


@pytest.mark.parametrize("ratio", [0.1, 0.35, 0.5, 0.8, 1.0])
def test_the_share_is_the_nearest_that_annotators_allow(ratio: float) -> None:
    counts = {"ann": 9, "bob": 4, "cy": 13, "dee": 2, "eve": 6}  # given by a dataset, not dealt out
    people = {f"{person}{i}": person for person, count in counts.items() for i in range(count)}
    full = lesion_image(40, np.random.default_rng(6))[1]
    assert full.any()
    for seed in range(4):
        results = corrupt_by_annotator(
            dict.fromkeys(people, full), ratio, people, "missed", np.random.default_rng(seed)
        )
        done = sum(truth.kind != CLEAN for _, truth in results)
        groups = [sum(group) for size in range(6) for group in combinations(counts.values(), size)]
        assert abs(done - ratio * 34) == pytest.approx(min(abs(group - ratio * 34) for group in groups))


def test_the_same_seed_gives_the_same_masks(masks: dict[str, np.ndarray]) -> None:
    first, truth = corrupted(masks, 4)
    again, truth_again = corrupted(masks, 4)
    other, _ = corrupted(masks, 5)
    assert truth == truth_again
    assert all((first[name] == again[name]).all() for name in masks)
    assert any((first[name] != other[name]).any() for name in masks)


@pytest.mark.parametrize(("kind", "low", "high"), [("dilate", 0.25, 0.5), ("erode", 0.2, 0.4)])
def test_each_annotator_has_one_relative_width(
    masks: dict[str, np.ndarray], kind: str, low: float, high: float
) -> None:
    typical = []
    for seed in range(3):
        new, truth = corrupted(masks, seed, kind)
        widths: dict[str, list[tuple[float, float]]] = {}
        for record in truth:
            if record.kind == CLEAN:
                continue
            before, after = masks[record.id] > 0, new[record.id] > 0
            inside = before if kind == "dilate" else ~before  # the widest step is over the other side's pixels
            width = ndimage.distance_transform_edt(~inside)[before ^ after].max()
            areas = np.bincount(ndimage.label(before)[0].ravel())[1:]
            widths.setdefault(record.annotator, []).append((width, np.average(np.sqrt(areas / np.pi), weights=areas)))
        assert len(widths) == 2
        for pairs in widths.values():
            width, radius = np.array(pairs).T
            share = np.median(width / radius)
            assert low - 0.03 < share < high + 0.03
            assert (np.abs(width - share * radius) <= 1).all(), "further off than pixels explain"
            assert np.ptp(radius) > 5
            typical.append(share)
    assert np.ptp(typical) > 0.05, "all annotators have the same hand"


def test_bad_arguments_are_named(masks: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="unknown style 'swapped'"):
        corrupted(masks, 0, "swapped")
    with pytest.raises(ValueError, match=r"1\.5"):
        corrupted(masks, 0, ratio=1.5)
    with pytest.raises(ValueError, match="no annotator is given for s01"):
        list(corrupt_by_annotator({"s01": masks["s01"]}, 0.5, {}, "erode", np.random.default_rng(0)))
    with pytest.raises(ImpossibleCorruption, match="more annotators"):
        corrupted(masks, 0, ratio=0.1, people=2)
    with pytest.raises(ImpossibleCorruption, match="another style"):
        corrupted({f"e{i}": np.zeros((32, 32), np.uint8) for i in range(4)}, 0)
    _, truth = corrupted(masks, 0, ratio=0)
    assert {record.kind for record in truth} == {CLEAN}
