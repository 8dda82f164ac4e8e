"""Tapped features."""

import pytest
import torch
from monai.networks.nets import AttentionUnet, SegResNet, UNet
from torch import Tensor, nn

import dale
from dale.features import FeatureTap, feature_channels


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("units", [0, 2])
def test_a_unets_head_makes_its_output_from_the_features(spatial_dims: int, units: int) -> None:
    torch.manual_seed(0)
    network = UNet(spatial_dims, 1, 2, (8, 16, 32), (2, 2), num_res_units=units).eval()
    tap = FeatureTap(network, None, 2)
    image = torch.rand(2, 1, *[16] * spatial_dims)
    output = network(image)
    assert tap.features.shape == (2, 16, *[8] * spatial_dims)  # decoder and skip connection, 8 channels each
    assert torch.equal(network.model[2](tap.features), output)
    assert feature_channels(network, tap, image[:1]) == 16


def test_other_networks_have_features_too() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    segresnet = SegResNet(2, in_channels=3, out_channels=2).eval()
    attention = AttentionUnet(2, 3, 2, (8, 16), (2,)).eval()
    for network, head in ((segresnet, segresnet.conv_final[-1]), (attention, attention.model[-1])):
        tap = FeatureTap(network, None, 2)
        output = network(image)
        assert tap.features.shape == (1, 8, 32, 32)
        assert torch.equal(head(tap.features), output)


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    )


def test_convolutions_from_classes_to_classes_belong_to_the_head() -> None:
    network = layers()
    tap = FeatureTap(network, None, 2)
    output = network(torch.rand(2, 3, 8, 8))
    torch.testing.assert_close(network[2:](tap.features.clone()), output)


def test_a_wide_network_before_the_head_is_not_taken_for_it() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1))
    tap = FeatureTap(network, None, 4)
    assert feature_channels(network, tap, torch.rand(1, 3, 4, 4)) == 8


def test_a_named_layers_output_with_its_graph() -> None:
    network = layers()
    tap = FeatureTap(network, "1", 2)
    image = torch.rand(2, 3, 8, 8)
    network(image)
    tap.features.sum().backward()
    assert network[1].bias.grad is not None and network[2].weight.grad is None
    torch.testing.assert_close(network[1].bias.grad, torch.full((4,), 2.0 * 64))


def test_the_last_call_counts() -> None:
    network = layers()
    tap = FeatureTap(network, None, 2)
    first, second = torch.rand(1, 3, 8, 8), torch.rand(3, 3, 8, 8)
    network(first)
    network(second)
    assert tap.features.shape == (3, 4, 8, 8)


def test_a_closed_tap_catches_nothing() -> None:
    network = layers()
    for layer in (None, "1"):
        tap = FeatureTap(network, layer, 2)
        network(torch.rand(1, 3, 8, 8))
        tap.close()
        network(torch.rand(1, 3, 8, 8))
        with pytest.raises(RuntimeError, match="has not run"):
            _ = tap.features
        tap.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_counting_channels_leaves_the_network_as_it_was() -> None:
    network = layers().train()
    network[3].eval()  # a frozen part; the batch statistics are live
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert feature_channels(network, FeatureTap(network, "2", 2), torch.rand(1, 3, 8, 8)) == 2
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_teacher_made_before_the_tap_is_not_tapped() -> None:
    network = layers()
    teacher = dale.make_teacher(network, 0.9)
    tap = FeatureTap(network, None, 2)
    network(torch.rand(2, 3, 8, 8))
    caught = tap.features
    teacher(torch.rand(5, 3, 8, 8))
    assert tap.features is caught


def test_impossible_taps_are_refused() -> None:
    network = UNet(2, 1, 2, (8, 16), (2,), num_res_units=0)
    with pytest.raises(ValueError, match=r"UNet has no layer 'model.3'; the nearest names are .*model\.2"):
        FeatureTap(network, "model.3", 2)
    with pytest.raises(ValueError, match="no convolution with 5 output channels"):
        FeatureTap(network, None, 5)


def test_features_without_space_are_refused() -> None:
    class Pair(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image, image

    for layer, found in ((Pair(), "tuple"), (nn.Flatten(), r"\(1, 48\)")):
        network = nn.Sequential(layer)
        FeatureTap(network, "0", 2)
        with pytest.raises(TypeError, match=found):
            network(torch.rand(1, 3, 4, 4))
