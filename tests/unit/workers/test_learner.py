"""The learner: what a job's words do to its network, its views, its precision and its loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dale
from workers.contract.request import JobSpec
from workers.data import statistics_of
from workers.learner import Learner, dale_config
from workers.network import FirstOutput, InBfloat16, bare, build_network

CPU = torch.device("cpu")
UNET = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}}
DEEP = {"name": "BasicUNetPlusPlus", "arguments": {"features": [4, 4, 4, 4, 4, 4]}}


class Discs:
    """Twelve discs, for `workers.loop.network_epoch` and `statistics_of`."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:32, :32]
        discs = np.stack([(y - rng.integers(10, 22)) ** 2 + (x - rng.integers(10, 22)) ** 2 < 40 for _ in range(12)])
        noisy = 90 + 80 * discs[:, None] + rng.normal(0, 20, (12, 3, 32, 32))
        self.images = torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))
        self.labels = torch.from_numpy(discs.astype(np.uint8))

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[ordinals], self.labels[ordinals]


def spec_of(**options: object) -> JobSpec:
    given = {"dataset_id": "ds-1", "epochs": 4, "batch_size": 6, "image_size": 32, "network": UNET}
    return JobSpec.model_validate(given | options)


def learner_of(**options: object) -> Learner:
    return Learner(spec_of(**options), statistics_of(Discs(), 12, 2), steps=8, device=CPU)


def step(learner: Learner, epoch: int, confidence: float = 1.0) -> dale.Step:
    ordinals = torch.arange(6)
    images, labels = Discs().batch(ordinals)
    learner.begin_epoch(epoch)
    return learner.step(images, labels, ordinals, torch.full((6,), 1 / 6), torch.full((6,), confidence), epoch)


def weights(learner: Learner) -> Tensor:
    return nn.utils.parameters_to_vector(learner.student.parameters()).detach().clone()


def test_statistics_are_numpys() -> None:
    discs = Discs()
    found = statistics_of(discs, 12, 2)
    values = discs.images.numpy() / 255
    np.testing.assert_allclose(found.mean, values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.std, values.std((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.prior, np.bincount(discs.labels.numpy().ravel()) / discs.labels.numel(), rtol=1e-5)


def test_plain_training_never_asks_the_confidences() -> None:
    """In the last epoch too; doubted or believed, the step is the same."""
    spec = spec_of(method={"name": "plain"})
    assert [dale.strength(dale_config(spec), epoch, 4) for epoch in range(4)] == [0.0] * 4
    doubted, believed = learner_of(method={"name": "plain"}), learner_of(method={"name": "plain"})
    step(doubted, 3, 0.0)
    step(believed, 3, 1.0)
    assert torch.equal(weights(doubted), weights(believed))
    assert doubted.final is doubted.module


@pytest.mark.parametrize("method", [{"name": "dale"}, {"name": "dale", "stability": 1.0}])
def test_until_the_start_it_is_plain_training_then_confidences_count(method: dict) -> None:
    plain, believed, doubted = (learner_of(method=m) for m in ({"name": "plain"}, method, method))
    for epoch in (0, 1):
        losses = [step(learner, epoch, c).loss for learner, c in ((plain, 1.0), (believed, 1.0), (doubted, 0.0))]
        assert torch.equal(losses[0], losses[1])
        assert torch.equal(losses[0], losses[2])
    assert torch.equal(weights(plain), weights(doubted))
    step(believed, 2, 1.0)
    step(doubted, 2, 0.0)
    assert not torch.equal(weights(believed), weights(doubted))
    assert doubted.final is doubted.teacher.module


def test_every_hyperparameter_of_a_job_reaches_the_method() -> None:
    given = {
        "start": 0.1,
        "ramp": 0.2,
        "temperature": 0.3,
        "momentum": 0.4,
        "consistency": 6.0,
        "ema_decay": 0.7,
        "refinement": "sample",
        "mixing": 0.9,
        "mix_after": 3,
        "stability": 8.0,
        "alignment": "mmd",
        "alignment_weight": 9.0,
        "feature_layer": "model.0",
        "begin_with": "agreement",
    }
    assert set(given) == set(dale.DaleConfig.__dataclass_fields__)
    assert dale_config(spec_of(method={"name": "dale", **given})) == dale.DaleConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_the_views_are_those_of_the_job(augmentation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of(augmentation=augmentation, seed=7)
    seen: list[dale.Views] = []
    objective = learner.objective

    def spy(*arguments: Any) -> dale.Step:
        seen.append(arguments[3])
        return objective(*arguments)

    monkeypatch.setattr(learner, "objective", spy)
    step(learner, 1)
    assert torch.equal(seen[0].affine, dale.random_views(torch.arange(6), 1, 7, augmentation=augmentation).affine)


def test_a_smaller_step_than_the_first_of_its_epoch_does_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would pair differently on another number of ranks; nor does a rank that only stands in."""
    learner = learner_of(method={"name": "dale", "start": 0, "mixing": 1.0, "mix_after": 0})
    mixed: list[bool] = []
    objective = learner.objective

    def spy(*arguments: Any) -> dale.Step:
        mixed.append(bool(arguments[4].box.any()))
        return objective(*arguments)

    monkeypatch.setattr(learner, "objective", spy)
    images, labels = Discs().batch(torch.arange(6))
    learner.begin_epoch(0)
    for size, weight in ((6, 1 / 6), (6, 1 / 6), (4, 1 / 4), (2, 0.0)):
        rows = torch.arange(size)
        learner.step(images[:size], labels[:size], rows, torch.full((size,), weight), torch.ones(size), 0)
    assert mixed == [True, True, False, False]


@pytest.mark.parametrize("network", [UNET, DEEP], ids=["UNet", "several outputs"])
def test_bfloat16_computes_products_only(network: dict) -> None:
    """Weights, answer, loss and evidence stay float32; the answer is float32's but for rounding."""
    full, half = (learner_of(network=network, precision=p) for p in ("float32", "bfloat16"))
    torch.testing.assert_close(weights(half), weights(full), rtol=0, atol=0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    dtypes = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
        for module in half.module.modules()
        if isinstance(module, nn.Conv2d)
    ]
    ours = half.module.eval()(images)
    for hook in hooks:
        hook.remove()
    assert set(dtypes) == {torch.bfloat16}
    reference = full.module.eval()(images)
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, reference)
    torch.testing.assert_close(ours, reference, atol=0.05, rtol=0.05)
    taken = step(half, 3, 0.5)
    assert (taken.loss.dtype, taken.evidence.dtype) == (torch.float32, torch.float32)
    assert {parameter.dtype for parameter in half.student.parameters()} == {torch.float32}
    torch.testing.assert_close(taken.evidence, step(full, 3, 0.5).evidence, atol=0.05, rtol=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", [UNET, DEEP], ids=["UNet", "several outputs"])
def test_what_a_run_delivers_loads_into_the_bare_network(network: dict, precision: str) -> None:
    learner = learner_of(network=network, precision=precision)
    for method in (learner.module, learner.final):
        fresh = build_network(network["name"], learner.arguments)
        fresh.load_state_dict(bare(method).state_dict())  # refuses names that are not its own
    assert bare(learner.module) is learner.network


def test_bare_takes_off_every_wrapper_in_any_order() -> None:
    network = nn.Conv2d(3, 2, 1)
    assert bare(network) is network
    assert bare(InBfloat16(FirstOutput(network))) is network
    assert bare(FirstOutput(InBfloat16(network))) is network


@pytest.mark.parametrize("alignment", ["none", "mmd", "adversarial", "wasserstein"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("done", [1, 3])
def test_a_learner_goes_on_from_its_checkpoint(alignment: str, precision: str, done: int, tmp_path: Path) -> None:
    """The aligner and its place in the optimizer included, from either side of the start."""
    options = {"method": {"name": "dale", "alignment": alignment, "stability": 0.5}, "precision": precision}
    first, second = learner_of(**options), learner_of(**options)
    for epoch in range(done):
        step(first, epoch, 0.5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    assert not torch.equal(weights(second), weights(first))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for learner in (first, second):
        step(learner, 3, 0.5)
    torch.testing.assert_close(weights(second), weights(first), rtol=0, atol=1e-7)
    for mine, theirs in zip(second.teacher.parameters(), first.teacher.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-7)
