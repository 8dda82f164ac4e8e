"""The learner on patches of volumes: every ingredient that it has in two dimensions."""

from typing import Any

import pytest
import torch
from torch import nn

import dale
from workers.contract.request import JobSpec
from workers.data import Statistics, one_hot, to_network
from workers.learner import Learner

SIZE, BATCH = 16, 4
UNET = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}}
STATISTICS = Statistics(torch.zeros(1), torch.ones(1), torch.tensor([0.7, 0.2, 0.1]))
ACTING = {"name": "dale", "start": 0.0, "ramp": 0.0, "mix_after": 0, "mixing": 1.0}


def learner_of(**options: object) -> Learner:
    given = {"dataset_id": "ds-3d", "epochs": 4, "batch_size": BATCH, "patch_size": SIZE, "network": UNET}
    spec = JobSpec.model_validate(given | {"method": ACTING} | options)
    return Learner(spec, STATISTICS, 8, torch.device("cpu"), spatial_dims=3)


def patches(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(BATCH, 1, size, size, size, generator=torch.Generator().manual_seed(0)).half()
    return images, (images[:, 0] > 0.5).byte() + (images[:, 0] > 1.5).byte()


def step(learner: Learner) -> dale.Step:
    learner.begin_epoch(0)
    images, labels = patches(learner.spec.patch_size)
    return learner.step(
        images, labels, torch.arange(BATCH), torch.full((BATCH,), 1 / BATCH), torch.linspace(0, 1, BATCH), 0
    )


@pytest.mark.parametrize(
    "options",
    [
        {"method": {"name": "plain"}},
        {},
        {"method": {**ACTING, "stability": 1.0}},
        {"method": {**ACTING, "refinement": "pixel"}},
        *[{"method": {**ACTING, "alignment": kind}} for kind in ("mmd", "adversarial", "wasserstein")],
        {"precision": "bfloat16"},
        {"network": {"name": "DynUNet", "arguments": {}}},
        {"network": {"name": "SegResNet", "arguments": {"init_filters": 8}}},
        {"network": {"name": "BasicUNet", "arguments": {"features": [4] * 6}}, "patch_size": 32},
    ],
    ids=str,
)
def test_a_step_moves_the_network_and_yields_evidence(options: dict[str, Any]) -> None:
    learner = learner_of(**options)
    size = learner.spec.patch_size
    before = nn.utils.parameters_to_vector(learner.student.parameters()).detach().clone()
    taken = step(learner)
    assert taken.evidence.shape == (BATCH, 5)
    assert taken.loss.isfinite().all()
    fractions = taken.evidence[:, [0, 1, 2, 4]]
    assert ((fractions >= 0) & (fractions <= 1)).all()
    assert not torch.equal(nn.utils.parameters_to_vector(learner.student.parameters()), before)
    with torch.no_grad():
        answer = learner.final.eval()(to_network(patches(size)[0], STATISTICS))
    assert tuple(answer.shape) == (BATCH, 3, size, size, size)


def test_intensities_and_labels_come_to_the_network_as_they_are() -> None:
    images, labels = patches()
    assert torch.equal(to_network(images, STATISTICS), images.float())
    expected = torch.stack([labels == value for value in range(3)], dim=1).float()
    assert torch.equal(one_hot(labels, 3), expected)


def test_the_views_turn_in_three_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of()
    seen: list[Any] = []
    objective = learner.objective

    def spy(*arguments: Any) -> dale.Step:
        seen.extend(arguments[3:5])
        return objective(*arguments)

    monkeypatch.setattr(learner, "objective", spy)
    step(learner)
    assert torch.equal(seen[0].affine, dale.random_views(torch.arange(BATCH), 0, 0, 3).affine)
    assert tuple(seen[1].box.shape) == (BATCH, 1, SIZE, SIZE, SIZE)
    assert seen[1].box.any()
