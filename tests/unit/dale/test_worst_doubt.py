"""What labels are ranked by: the doubt about the worst part of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize_scalar
from torch import Tensor

import dale
from dale.consistency import WORST
from dale.objective import SMOOTH

SHAPES = pytest.mark.parametrize("shape", [(12, 10), (6, 5, 4)])
CLASSES = pytest.mark.parametrize("classes", [2, 3])
SHARES = pytest.mark.parametrize("share", [0.05, WORST, 0.5])


def one_hot(indices: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(indices, classes).movedim(-1, 1).float()


def drawn(shape: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Predictions and unrelated labels of four samples."""
    generator = torch.Generator().manual_seed(len(shape) + classes)
    probabilities = torch.softmax(2 * torch.randn(4, classes, *shape, generator=generator), 1)
    return probabilities, one_hot(torch.randint(classes, (4, *shape), generator=generator), classes)


def squares_and_sizes(probabilities: Tensor, label: Tensor, share: float) -> list[tuple[np.ndarray, float]]:
    """Of each sample: d^2 of every pixel, and how many of them count."""
    d = dale.doubt_map(probabilities, label).flatten(1).double().numpy() ** 2
    areas = (probabilities[:, 1:] + label[:, 1:]).flatten(1).double().sum(1).numpy() + SMOOTH * d.shape[1]
    return list(zip(d, share * areas, strict=True))


@SHAPES
@CLASSES
@SHARES
def test_it_is_the_mean_over_the_pixels_doubted_most(shape: tuple[int, ...], classes: int, share: float) -> None:
    """Against a linear programme that may choose any pixels, and the form of Rockafellar and Uryasev."""
    probabilities, label = drawn(shape, classes)
    found = dale.worst_doubt(probabilities, label, share)
    for (squares, size), value in zip(squares_and_sizes(probabilities, label, share), found.tolist(), strict=True):
        chosen = linprog(-squares, A_eq=np.ones((1, len(squares))), b_eq=[size], bounds=(0, 1))
        assert value == pytest.approx(-chosen.fun / size, abs=1e-6)
        tail = minimize_scalar(
            lambda t, d=squares, m=size: t + np.maximum(d - t, 0).sum() / m, bounds=(0, 1), options={"xatol": 1e-9}
        )
        assert value == pytest.approx(tail.fun, abs=1e-5)
    assert len(set(found.tolist())) == 4


@SHAPES
def test_of_all_that_is_doubted_it_is_the_doubt(shape: tuple[int, ...]) -> None:
    probabilities, label = drawn(shape, 2)
    near = torch.softmax(probabilities.log() + 2 * label, 1)
    for squares, size in squares_and_sizes(near, label, 1.0):
        assert 0 < np.count_nonzero(squares) < size
    torch.testing.assert_close(dale.worst_doubt(near, label, 1.0), dale.doubt(near, label))


def test_a_part_that_is_surely_wrong_counts_as_the_whole() -> None:
    """A sure network: all that is wrong over what may be, up to 1."""
    label, guess = torch.zeros(3, 64, 64, dtype=torch.long), torch.zeros(3, 64, 64, dtype=torch.long)
    label[:, 8:40, 8:40] = 1  # 1024 pixels
    guess[1, 8:40, 8:32] = 1  # a quarter too wide
    guess[2, 8:40, 8:39] = 1  # a column of 32 pixels
    found = dale.worst_doubt(one_hot(guess, 2), one_hot(label, 2))
    counted = WORST * (1024 + 992 + SMOOTH * 4096)
    assert found.tolist() == pytest.approx([1, 1, 32 / counted], abs=1e-6)


def test_a_sure_small_fault_comes_before_a_lesion_that_is_hardly_seen() -> None:
    """By the doubt it is the other way round."""
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    label[:, 8:40, 8:40] = 1
    seen = one_hot(label, 2)
    faulty, faint = seen[:1].clone(), seen[1:].clone()
    faulty[:, :, 8:40, 34:40] = torch.tensor([1.0, 0.0])[:, None, None]  # surely no lesion there
    faint[:, :, 8:40, 8:40] = torch.tensor([0.75, 0.25])[:, None, None]  # rather no lesion at all
    probabilities = torch.cat([faulty, faint])
    whole, worst = dale.doubt(probabilities, one_hot(label, 2)), dale.worst_doubt(probabilities, one_hot(label, 2))
    assert whole[0] < whole[1]
    assert worst[0] > 0.9
    assert worst[1] < 0.3


@SHAPES
@CLASSES
def test_it_lies_between_0_and_1(shape: tuple[int, ...], classes: int) -> None:
    probabilities, label = drawn(shape, classes)
    guess = one_hot(probabilities.argmax(1), classes)
    empty, full = torch.zeros(4, *shape, dtype=torch.long), torch.ones(4, *shape, dtype=torch.long)
    sure = [one_hot(indices, classes) for indices in (empty, full)]
    for p in (probabilities, *sure):
        for given in (label, guess, *sure):
            for share in (1e-6, WORST, 1.0):
                found = dale.worst_doubt(p, given, share)
                assert found.dtype == torch.float32
                assert ((found >= 0) & (found <= 1)).all()
    assert (dale.worst_doubt(probabilities, guess) == 0).all()
    assert (dale.worst_doubt(sure[0], sure[0]) == 0).all()
    assert dale.worst_doubt(sure[0], sure[1]).tolist() == pytest.approx([1] * 4)


def test_bfloat16_is_summed_in_float32() -> None:
    probabilities, label = drawn((12, 10), 3)
    rounded = probabilities.bfloat16()
    expected = dale.worst_doubt(rounded.float(), label)
    for given in (label.bfloat16(), label.bool()):
        torch.testing.assert_close(dale.worst_doubt(rounded, given), expected)


def test_shapes_that_differ_are_refused() -> None:
    probabilities, label = drawn((12, 10), 2)
    with pytest.raises(ValueError, match="differ in shape"):
        dale.worst_doubt(probabilities, label[..., :5])
