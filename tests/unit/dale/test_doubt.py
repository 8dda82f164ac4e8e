"""The doubt about a label, of each pixel and of the whole, against its definition written out in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dale
from dale.objective import SMOOTH

SHAPES = pytest.mark.parametrize("shape", [(12, 10), (5, 7, 6)], ids=["2D", "3D"])
CLASSES = pytest.mark.parametrize("classes", [2, 3])


def one_hot(classes: Tensor, count: int) -> Tensor:
    return F.one_hot(classes, count).movedim(-1, 1).float()


def drawn(shape: tuple[int, ...], classes: int, sharpness: float = 2.0) -> tuple[Tensor, Tensor]:
    """Probabilities and labels of four samples, independent of each other."""
    generator = torch.Generator().manual_seed(0)
    logits = sharpness * torch.randn(4, classes, *shape, generator=generator)
    return torch.softmax(logits, 1), one_hot(torch.randint(classes, (4, *shape), generator=generator), classes)


def by_definition(probabilities: Tensor, label: Tensor) -> list[float]:
    """Pixel by pixel and sample by sample: the square of what the best class has more than the label's, over areas."""
    doubts = []
    for p, y in zip(probabilities.double().numpy(), label.numpy().argmax(1), strict=True):
        disagreement = predicted = given = 0.0
        for place in np.ndindex(*y.shape):
            here = p[:, *place]
            disagreement += (here.max() - here[y[place]]) ** 2
            predicted += here[1:].sum()
            given += y[place] != 0
        doubts.append(disagreement / (predicted + given + SMOOTH * y.size))
    return doubts


@SHAPES
@CLASSES
def test_doubt_is_its_definition(shape: tuple[int, ...], classes: int) -> None:
    probabilities, label = drawn(shape, classes)
    found = dale.doubt(probabilities, label)
    assert found.tolist() == pytest.approx(by_definition(probabilities, label), abs=1e-6)
    assert found.min() > 0.1
    assert len(set(found.tolist())) == 4


@SHAPES
def test_doubt_of_a_sure_network_is_one_minus_dice(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, *shape, generator=generator) > threshold for threshold in (0.5, 0.7))
    b[0] = a[0]
    overlap = (a & b).flatten(1).sum(1).double()
    sizes = (a.flatten(1).sum(1) + b.flatten(1).sum(1)).double()
    smooth = SMOOTH * a[0].numel()
    found = dale.doubt(one_hot(a.long(), 2), one_hot(b.long(), 2))
    torch.testing.assert_close(found.double(), 1 - (2 * overlap + smooth) / (sizes + smooth), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.double(), 1 - 2 * overlap / sizes, atol=5e-3, rtol=0)
    assert found[0] == 0


def test_a_sure_network_of_another_foreground_class_doubts_such_a_pixel_once() -> None:
    """Missing and spurious pixels weigh one over the areas of both; so does a pixel of the wrong class."""
    label, guess = torch.zeros(3, 8, 8, dtype=torch.long), torch.zeros(3, 8, 8, dtype=torch.long)
    label[:, 2:6, 2:6] = 1
    guess[0, 2:6, 2:6] = 2
    guess[2, :, 6:] = 2
    areas = [16 + 16, 16, 16 + 16]
    wrong = [16, 16, 16 + 16]
    expected = [n / (area + SMOOTH * 64) for n, area in zip(wrong, areas, strict=True)]
    assert dale.doubt(one_hot(guess, 3), one_hot(label, 3)).tolist() == pytest.approx(expected)


@CLASSES
def test_pixels_that_the_network_is_unsure_of_do_not_count(classes: int) -> None:
    """The same wrong label, doubted where the network is sure and excused where every class is as likely."""
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    label[:, 4:20, 4:20] = 1
    sure = one_hot(torch.zeros_like(label), classes)
    unsure = torch.full_like(sure, 1 / classes)
    unsure[:, 0] += 0.01
    unsure[:, 1] -= 0.01
    given = one_hot(label, classes)
    assert float(dale.doubt(sure, given)) > 0.95
    assert float(dale.doubt(unsure, given)) < 0.02
    soft = 1 - float(dale.soft_dice(unsure, given))
    assert soft > 0.4

    half = sure.clone()
    half[..., 12:] = unsure[..., 12:]
    [counted] = dale.doubt_map(half, given)
    assert (counted[4:20, 4:12] == 1).all()
    assert counted[:, 12:].max() < 0.03


@SHAPES
@CLASSES
@pytest.mark.parametrize("sharpness", [0.1, 2.0, 50.0])
def test_doubt_lies_between_0_and_1_and_is_0_for_the_best_guess(
    shape: tuple[int, ...], classes: int, sharpness: float
) -> None:
    probabilities, label = drawn(shape, classes, sharpness)
    guess = one_hot(probabilities.argmax(1), classes)
    empty = one_hot(torch.zeros(4, *shape, dtype=torch.long), classes)
    for p in (probabilities, empty):
        for given in (label, guess, empty):
            doubts = dale.doubt(p, given)
            assert doubts.min() >= 0
            assert doubts.max() <= 1
    assert (dale.doubt(probabilities, guess) == 0).all()
    assert (dale.doubt(empty, empty) == 0).all()


def test_a_missed_and_a_displaced_lesion_are_doubted_in_full() -> None:
    lesion, empty = torch.zeros(1, 64, 64, dtype=torch.long), torch.zeros(1, 64, 64, dtype=torch.long)
    lesion[:, 8:40, 8:40] = 1
    elsewhere = lesion.roll(32, (2,)).flip(1)
    elsewhere[:, 8:40, 8:40] = 0
    for given, predicted in ((lesion, empty), (empty, lesion), (lesion, elsewhere)):
        assert float(dale.doubt(one_hot(predicted, 2), one_hot(given, 2))) > 0.99


@SHAPES
@CLASSES
def test_bfloat16_is_summed_in_float32(shape: tuple[int, ...], classes: int) -> None:
    probabilities, label = drawn(shape, classes)
    rounded = probabilities.bfloat16()
    for given in (label.bfloat16(), label.bool()):
        doubts, where = dale.doubt(rounded, given), dale.doubt_map(rounded, given)
        assert (doubts.dtype, where.dtype) == (torch.float32, torch.float32)
        assert doubts.tolist() == pytest.approx(by_definition(rounded, label), abs=1e-6)


def test_pixels_are_doubted_for_the_label_and_not_for_the_network() -> None:
    p = torch.tensor([[0.9, 0.5, 0.45, 0.1], [0.1, 0.5, 0.55, 0.9]])[None, :, None]  # (1, 2, 1, 4)
    background = one_hot(torch.zeros(1, 1, 4, dtype=torch.long), 2)
    assert dale.doubt_map(p, background)[0, 0].tolist() == pytest.approx([0, 0, 0.1, 0.8])
    assert dale.doubt_map(p, 1 - background)[0, 0].tolist() == pytest.approx([0.8, 0, 0, 0])


def test_shapes_that_differ_are_refused() -> None:
    probabilities, label = drawn((12, 10), 2)
    for function in (dale.doubt, dale.doubt_map):
        with pytest.raises(ValueError, match=r"\(4, 2, 12, 10\).*\(4, 2, 12, 5\) differ in shape"):
            function(probabilities, label[..., :5])


def test_what_is_remembered_is_the_moving_average_of_the_doubts() -> None:
    """Of predictions of three epochs, against numpy; neither of the two Dice has a part in it."""
    generator, momentum = torch.Generator().manual_seed(1), 0.6
    _, label = drawn((12, 10), 2)
    state, seen = dale.ConfidenceState(4), []
    for _ in range(3):
        p = torch.softmax(2 * torch.randn(4, 2, 12, 10, generator=generator), 1)
        seen.append(by_definition(p, label))
        columns = [dale.doubt(p, label), torch.rand(4), torch.rand(4), torch.zeros(4), torch.rand(4)]
        state.observe(torch.arange(4), torch.stack(columns, 1), momentum=momentum)
    expected = np.average(seen, axis=0, weights=[momentum**2, momentum, 1])
    assert state.trajectory.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
