"""The student: the network's own forward pass, and beside it what the ingredients need, checked by hand."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import UNet
from torch import Tensor, nn

import dale
from dale.alignment import make_alignment

CLASSES = 3


def flat_unet() -> nn.Module:
    return UNet(2, 1, CLASSES, channels=[4, 8], strides=[2], num_res_units=1)


def solid_network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, CLASSES, 1))


# The network, its spatial size, and the layer whose input are the features before the head.
NETWORKS = pytest.mark.parametrize(
    ("make", "size", "head"),
    [(flat_unet, (16, 24), "model.2.0.conv"), (solid_network, (8, 10, 12), "2")],
    ids=["2D MONAI UNet", "3D"],
)


def batch(size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Images, targets with every class in every sample, and clear and fuzzy samples."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 1, *size, generator=generator)
    target = F.one_hot(torch.randint(CLASSES, (4, *size), generator=generator), CLASSES).movedim(-1, 1).float()
    return images, target, torch.tensor([1.0, 0.9, 0.2, 0.0])


def built(make, size: tuple[int, ...], **options: object) -> tuple[nn.Module, dale.Student]:
    torch.manual_seed(0)
    network = make()
    config = dale.DaleConfig(**options)  # type: ignore[arg-type]
    return network, dale.Student(network, config, torch.zeros(1, 1, *size), CLASSES, seed=5)


@NETWORKS
def test_without_a_target_it_is_the_network(make, size, head) -> None:
    network, student = built(make, size, stability=1.0, alignment="mmd")
    images, target, clear = batch(size)
    for answer in (student(images), student(images, target), student(images, None, clear)):
        assert torch.equal(answer.logits, network(images))
        assert answer.logits_half is None
        assert answer.alignment is None


@NETWORKS
def test_only_what_is_switched_on_is_computed(make, size, head) -> None:
    network, student = built(make, size)
    answer = student(*batch(size))
    assert torch.equal(answer.logits, network(batch(size)[0]))
    assert (answer.logits_half, answer.alignment) == (None, None)
    assert [name for name, _ in student.named_parameters()] == [f"network.{n}" for n, _ in network.named_parameters()]


@NETWORKS
def test_half_resolution_is_the_network_on_pooled_images(make, size, head) -> None:
    network, student = built(make, size, stability=1.0)
    images, target, clear = batch(size)
    answer = student(images, target, clear)
    pool = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
    assert answer.logits_half.shape == (4, CLASSES, *(s // 2 for s in size))
    torch.testing.assert_close(answer.logits_half, network(pool(images, 2)))
    assert answer.alignment is None


@NETWORKS
@pytest.mark.parametrize("kind", ["mmd", "adversarial", "wasserstein"])
def test_the_features_before_the_head_are_aligned(make, size, head, kind: str) -> None:
    """By a hook of our own; the run at half resolution, which comes later, must not replace the features."""
    network, student = built(make, size, alignment=kind, stability=1.0)
    images, target, clear = batch(size)
    answer = student(images, target, clear)
    caught = []
    hook = network.get_submodule(head).register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    network(images)
    hook.remove()
    expected = make_alignment(kind, caught[0].shape[1], CLASSES, 5)(caught[0], target, clear)
    torch.testing.assert_close(answer.alignment, expected)
    assert answer.alignment > 0


@NETWORKS
def test_a_named_layer_is_aligned(make, size, head) -> None:
    network, student = built(make, size, alignment="wasserstein", feature_layer=head)
    images, target, clear = batch(size)
    caught = []
    hook = network.get_submodule(head).register_forward_hook(lambda module, inputs, output: caught.append(output))
    answer = student(images, target, clear)
    hook.remove()
    expected = make_alignment("wasserstein", CLASSES, CLASSES, 5)(caught[0], target, clear)
    torch.testing.assert_close(answer.alignment, expected)


@NETWORKS
def test_gradients_reach_the_discriminator_and_the_features(make, size, head) -> None:
    network, student = built(make, size, alignment="adversarial")
    student(*batch(size)).alignment.backward()
    assert student.aligner is not None
    discriminator = list(student.aligner.parameters())
    assert len(discriminator) == 4
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in discriminator)
    assert {id(parameter) for parameter in discriminator} <= {id(parameter) for parameter in student.parameters()}
    first = next(network.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


@NETWORKS
def test_an_unknown_layer_is_refused(make, size, head) -> None:
    with pytest.raises(ValueError, match="has no layer 'nothing'"):
        built(make, size, alignment="mmd", feature_layer="nothing")


def test_building_it_leaves_the_network_as_it_was() -> None:
    """Batch statistics too, although the network is run once to count its features."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, CLASSES, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dale.Student(network, dale.DaleConfig(alignment="mmd"), torch.ones(1, 1, 8, 8), CLASSES)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@NETWORKS
def test_features_of_an_earlier_batch_are_never_aligned(make, size, head) -> None:
    _, student = built(make, size, alignment="mmd")
    student(*batch(size))
    assert student.tap is not None
    student.tap._hook.remove()  # as a compiled network may leave it out
    with pytest.raises(RuntimeError, match="has not run"):
        student(*batch(size))
