"""DALE in anyone's own loop: it finds wrong labels, is what a job runs, and can be taken up again."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

import dale
from dale.review import review
from dale.training import Dale
from workers.contract.request import DaleMethod, JobSpec, NetworkSpec
from workers.data import one_hot, statistics_of, to_network
from workers.learner import MAX_GRADIENT_NORM, WEIGHT_DECAY, Learner, _learning_rate
from workers.loop import confidence_epoch, network_epoch
from workers.network import build_network, constructor_arguments
from workers.sampling import Plan

GUIDE = (Path(__file__).parents[3] / "docs/library.md").read_text()


def discs(count: int, size: int, axes: int = 2, classes: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 1, *spatial) of a disc or ball, bright (class 1) or dark (2), and class indices (N, *spatial)."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(*[torch.arange(size)] * axes, indexing="ij"))
    images, labels = [], []
    for number in range(count):
        centre = size * (0.3 + 0.4 * torch.rand(axes, generator=generator))
        radius = size * (0.05 + 0.05 * axes + 0.1 * torch.rand(1, generator=generator))
        inside = ((grid - centre.view(-1, *[1] * axes)).square().sum(0) < radius**2).long()
        value = number % (classes - 1) + 1
        images.append((0, 2, -2)[value] * inside + 0.5 * torch.randn(inside.shape, generator=generator))
        labels.append(value * inside)
    return torch.stack(images)[:, None], torch.stack(labels)


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )


def test_the_example_of_the_guide_finds_missed_lesions() -> None:
    images, truth = discs(48, 24)
    missed = torch.arange(48) % 4 == 0
    given = one_hot(torch.where(missed[:, None, None], 0, truth), 2)
    dataset = [(images[i], given[i], i) for i in range(48)]
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    example = next(code for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "dale.Dale(" in code)
    _, found, method_in_use = example.partition("\nepochs = 150\n")  # before it: its own data
    assert found
    names: dict[str, Any] = {"network": small_network(), "dataset": dataset, "loader": loader}
    exec("import dale, torch\nepochs = 24\n" + method_in_use.replace("lr=1e-3", "lr=1e-2"), names)  # noqa: S102
    method, look_first = names["method"], names["look_first"]

    assert roc_auc_score(missed, -method.score()) >= 0.9
    assert missed[look_first[:8]].all()
    assert names["believed"][missed].mean() < 0.2
    assert names["believed"][~missed].mean() > 0.9
    with torch.no_grad():
        seen = names["model"](images).softmax(1)
    assert float(dale.soft_dice(seen, one_hot(truth, 2)).mean()) > 0.8
    worst = int(look_first[0])
    assert review(seen[worst], given[worst]).kind == "missing"


class InMemory:
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[ordinals], self.labels[ordinals]


HINTS = dale.Hints(trusted=torch.arange(22) % 5 == 0, annotator=torch.arange(22) % 4)
RECIPES: list[tuple[dict[str, Any], dale.Hints | None]] = [
    ({}, None),
    ({"alignment": "adversarial", "stability": 0.5}, None),
    ({"temperature": 0.2, "refinement": "sample"}, HINTS),
]


@pytest.mark.parametrize(("options", "hints"), RECIPES)
def test_it_is_what_a_job_runs(options: dict[str, Any], hints: dale.Hints | None) -> None:
    grey, labels = discs(22, 16)
    labels[::4] = 0
    samples = InMemory((grey * 40 + 90).clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1), labels)
    spec = JobSpec(
        dataset_id="d",
        network=NetworkSpec(name="UNet", arguments={"channels": [4, 8], "strides": [2], "num_res_units": 1}),
        method=DaleMethod(start=0.2, ramp=0.2, mix_after=4, **options),
        epochs=8,
        batch_size=4,
        image_size=16,
        learning_rate=1e-2,
        seed=3,
    )
    statistics, plan = statistics_of(samples, 22, 2), Plan(22, 4, spec.seed, 0, 1)
    total = plan.steps * spec.epochs

    learner = Learner(spec, statistics, total, torch.device("cpu"))
    state = dale.ConfidenceState(22, hints=hints)
    for epoch in range(spec.epochs):
        evidence, _ = network_epoch(learner, samples, plan, state.confidence, epoch)
        metrics = confidence_epoch(learner, state, evidence, epoch)

    torch.manual_seed(spec.seed)
    network = build_network("UNet", constructor_arguments(spec.network, channels=3, classes=2, image_size=16))
    method = Dale(
        network,
        samples=22,
        epochs=spec.epochs,
        prior=statistics.prior,
        config=learner.config,
        hints=hints,
        seed=spec.seed,
        augmentation=spec.augmentation,
        example=torch.zeros(1, 3, 16, 16),
    )
    optimizer = torch.optim.AdamW(method.parameters(), lr=spec.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, total))
    for epoch in range(spec.epochs):
        for ordinals, _ in plan.batches(epoch):
            images, given = samples.batch(ordinals)
            loss = method.loss(to_network(images, statistics), one_hot(given, 2), ordinals)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(method.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            method.after_step()
        partition = method.end_epoch()

    assert state.confidence.min() < 0.9  # the confidences did act
    for found, expected in (
        (method.confidence, state.confidence),
        (method.score(), state.score()),
        (method.state.border, state.border),
        (torch.tensor(partition.threshold), torch.tensor(metrics["threshold"])),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for mine, theirs in zip(method.teacher.parameters(), learner.teacher.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


class InBfloat16(nn.Module):
    """Computes and answers in bfloat16, as under mixed precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            answer: Tensor = self.network(images)
        return answer


def test_volumes_of_three_classes_in_bfloat16() -> None:
    """A network that knows bright from dark at the start, so that few steps will do."""
    images, truth = discs(12, 12, axes=3, classes=3)
    missed = torch.arange(12) % 4 == 0
    labels = one_hot(torch.where(missed.view(-1, 1, 1, 1), 0, truth), 3)
    prior = labels.mean((0, 2, 3, 4))
    config = dale.DaleConfig(start=0.25, ramp=0.0, alignment="mmd", stability=0.5)

    def trained(mixed: bool) -> Dale:
        layers = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 3, 1))
        network = InBfloat16(layers) if mixed else layers
        method = Dale(network, samples=12, epochs=4, prior=prior, config=config, example=images[:1])
        with torch.no_grad():
            layers[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1) / 27)  # mean brightness and darkness
            layers[0].bias.zero_()
            layers[2].weight.copy_(torch.tensor([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]]).view(3, 2, 1, 1, 1))
            layers[2].bias.copy_(torch.tensor([0.0, -8.0, -8.0]))
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
        for _ in range(4):
            for index in torch.arange(12).split(4):
                loss = method.loss(images[index], labels[index], index)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                method.after_step()
            method.end_epoch()
        return method

    method, exact = trained(mixed=True), trained(mixed=False)
    assert method.teacher(images).dtype == torch.bfloat16
    assert method.confidence.dtype == torch.float32
    assert method.confidence.isfinite().all()
    assert method.confidence[missed].max() < 0.5 < method.confidence[~missed].min()
    torch.testing.assert_close(method.score(), exact.score(), rtol=0, atol=0.03)


def run(method: Dale, optimizer: torch.optim.Optimizer, batches: list[tuple[int, Tensor]], data: Any) -> None:
    """Steps over (epoch, index); an epoch ends with its batch 2."""
    images, labels = data
    for number, index in batches:
        loss = method.loss(images[index], labels[index], index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step()
        if number % 3 == 2:
            method.end_epoch()


@pytest.mark.parametrize("stop", [9, 13])  # at the end of an epoch, and within one
def test_a_run_taken_up_again_equals_one_that_was_not_disturbed(stop: int) -> None:
    images, truth = discs(12, 16)
    truth[::4] = 0
    data = (images, one_hot(truth, 2))
    config = dale.DaleConfig(start=0.3, ramp=0.2, alignment="adversarial")

    def begin(seed: int) -> tuple[Dale, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1))
        method = Dale(network, samples=12, epochs=6, prior=[0.9, 0.1], config=config, example=images[:1])
        return method, torch.optim.AdamW(method.parameters(), lr=5e-2)

    generator = torch.Generator().manual_seed(5)
    batches = list(enumerate(i for _ in range(6) for i in torch.randperm(12, generator=generator).split(4)))
    undisturbed = begin(0)
    run(*undisturbed, batches, data)

    first = begin(0)
    run(*first, batches[:stop], data)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in first], file)
    file.seek(0)
    again = begin(1)
    for part, state in zip(again, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    run(*again, batches[stop:], data)

    assert undisturbed[0].confidence.min() < 0.99
    assert again[0].epoch == 6
    torch.testing.assert_close(again[0].confidence, undisturbed[0].confidence, rtol=0, atol=0)
    torch.testing.assert_close(again[0].score(), undisturbed[0].score(), rtol=0, atol=0)
    for (name, mine), other in zip(again[0].named_parameters(), undisturbed[0].parameters(), strict=True):
        assert torch.equal(mine, other), name


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    images, truth = discs(4, 8)
    return images, one_hot(truth, 2)


def method_for(batch: tuple[Tensor, Tensor], **options: Any) -> Dale:
    torch.manual_seed(0)
    return Dale(small_network(), **{"samples": 6, "epochs": 4, "prior": [0.8, 0.2], **options})


def test_what_is_not_met_keeps_its_trajectory_and_the_last_evidence_counts(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    twice, once = method_for(batch), method_for(batch)
    for method in (twice, once):
        method.loss(images, labels, torch.arange(4))
        method.end_epoch()
    before = once.score().clone()
    assert before[4:].eq(1).all()  # never met

    twice.loss(images[:2], labels[:2].flip(1), torch.tensor([1, 2]))  # replaced by what comes now
    for method in (twice, once):
        method.loss(images[[3, 1, 2]], labels[[3, 1, 2]], torch.tensor([2, 1, 2]))  # 2: the image 2, not the image 3
        method.end_epoch()
    assert torch.equal(twice.score(), once.score())
    assert torch.equal(once.score()[[0, 3]], before[[0, 3]])
    assert once.score()[1] != before[1]
    assert once.state.epochs_seen.tolist() == [1, 2, 2, 1, 0, 0]
    other = method_for(batch)
    other.loss(images, labels, torch.arange(4))
    other.end_epoch()
    other.loss(images[[1, 2]], labels[[1, 2]], torch.tensor([1, 2]))
    other.end_epoch()
    torch.testing.assert_close(other.score(), once.score())


def test_the_teacher_stays_in_evaluation_mode_and_takes_no_gradient(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    method = method_for(batch, config=dale.DaleConfig(start=0.0)).eval().train()
    assert method.student.network.training
    assert not any(module.training for module in method.teacher.modules())
    method.loss(images, labels, torch.arange(4)).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())


def test_errors_say_what_to_do(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    method, index = method_for(batch), torch.arange(4)
    with pytest.raises(RuntimeError, match="call `loss` before `end_epoch`"):
        method.end_epoch()
    with pytest.raises(
        ValueError, match=r"\(4, 2, 8, 8\); got of shape \(4, 8, 8\).*one_hot\(labels.long\(\), 2\)"
    ) as e:
        method.loss(images, labels.argmax(1), index)
    remedy = re.search(r"torch\.nn\.functional\S*.*$", str(e.value))[0]  # type: ignore[index]
    assert torch.equal(eval(remedy, {"torch": torch, "labels": labels.argmax(1)}), labels.long())  # noqa: S307
    with pytest.raises(ValueError, match="do not sum to 1"):
        method.loss(images, labels * 255, index)
    with pytest.raises(ValueError, match="index must be 4 integers"):
        method.loss(images, labels, index[:3])
    for wrong in (-1, 6):
        with pytest.raises(IndexError, match=f"index {wrong} is none of 6 samples"):
            method.loss(images, labels, torch.tensor([0, 1, 2, wrong]))
    with pytest.raises(ValueError, match="prior has 3 values, but Sequential has no convolution with 3"):
        method_for(batch, prior=[0.5, 0.3, 0.2])
    for prior in ([1.0], [90.0, 10.0], [[0.5, 0.5]]):
        with pytest.raises(ValueError, match="share of the pixels of each class"):
            method_for(batch, prior=prior)
    with pytest.raises(ValueError, match=r"example=images\[:1\]"):
        method_for(batch, config=dale.DaleConfig(alignment="adversarial"))
    with pytest.raises(ValueError, match="augmentation is 'mild'"):
        method_for(batch, augmentation="mild")
    with pytest.raises(ValueError, match="both must be 1 or more"):
        method_for(batch, samples=0)
    with pytest.raises(ValueError, match="there are 6"):
        method_for(batch, hints=dale.Hints.none(5))
    with pytest.raises(ValueError, match="expected each of 6 samples"):
        method.load_state_dict(method_for(batch, samples=7).state_dict())
