"""The paradigm: what a network step learns from and what it reports, and when the confidences act."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dale

IDENTITY = dale.Views(torch.eye(2, 3)[None].repeat(3, 1, 1), torch.ones(3), torch.zeros(3))
VIEWS = dale.random_views(torch.arange(3), epoch=1, seed=2)
ALONE = dale.DaleConfig(consistency=0.0, refinement="sample")  # the mixed target, no other ingredient
BELIEVED = torch.ones(3)


class Fixed(nn.Module):
    """Answers with the same logits whatever it sees; keeps what it was shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images)
        return self.logits.expand(len(images), -1, -1, -1)


class Answering(nn.Module):
    """A student with fixed answers at both resolutions and a fixed alignment loss; keeps what it was told."""

    def __init__(self, answer: dale.Answer) -> None:
        super().__init__()
        self.answer = answer
        self.told: tuple[Tensor, ...] = ()

    def forward(self, images: Tensor, target: Tensor | None = None, clear: Tensor | None = None) -> dale.Answer:
        self.told = () if target is None or clear is None else (target, clear)
        return self.answer


def student_of(network: nn.Module) -> dale.Student:
    return dale.Student(network, ALONE, torch.zeros(1, 3, 8, 8), classes=2)


@pytest.fixture
def parts() -> tuple[Fixed, Fixed, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    network, teacher = (Fixed(torch.randn(1, 2, 8, 8, generator=generator)) for _ in range(2))
    label = torch.rand(3, 8, 8, generator=generator) > 0.5
    return network, teacher, torch.rand(3, 3, 8, 8, generator=generator), torch.stack([~label, label], 1).float()


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_a_believed_label_is_learned_and_a_doubted_one_gives_way_to_the_teacher(parts, strength: float) -> None:
    network, teacher, images, labels = parts
    confidence = torch.tensor([1.0, 0.0, 0.3])
    step = dale.network_step(
        student_of(network), teacher, images, labels, confidence, IDENTITY, strength=strength, config=ALONE
    )
    guess = torch.softmax(teacher(images), 1)
    trust = [1.0, 1 - strength, 1 - strength * 0.7]
    target = torch.stack([c * y + (1 - c) * p for c, y, p in zip(trust, labels, guess, strict=True)])
    torch.testing.assert_close(step.loss, dale.segmentation_loss(network(images), target))


def test_before_it_is_listened_to_the_teacher_is_not_asked(parts) -> None:
    """The loss on the labels in the student's view, whatever the confidences and the ingredients."""
    network, teacher, images, labels = parts
    everything = dale.DaleConfig(consistency=5.0, stability=5.0, alignment="mmd")
    student = Answering(dale.Answer(network(images)))
    step = dale.network_step(
        student, teacher, images, labels, torch.zeros(3), VIEWS, strength=0.0, config=everything, listen=False
    )
    warped = dale.warp(labels, VIEWS)
    logits = network.logits.expand(3, -1, -1, -1)
    cross_entropy = F.cross_entropy(logits, warped, reduction="none").mean((1, 2))
    expected = (cross_entropy + dale.dice_loss(torch.softmax(logits, 1), warped)) / 2
    torch.testing.assert_close(step.loss, expected)
    assert teacher.shown == []
    assert student.told == ()


def test_the_teacher_sees_the_image_and_the_student_a_view_of_it(parts) -> None:
    network, teacher, images, labels = parts
    dale.network_step(student_of(network), teacher, images, labels, BELIEVED, VIEWS, strength=1.0, config=ALONE)
    assert torch.equal(teacher.shown[0], images)
    torch.testing.assert_close(network.shown[0], VIEWS.image(images))
    assert not torch.allclose(VIEWS.image(images), images)


def evidence_of(prediction: Tensor, labels: Tensor) -> Tensor:
    columns = [
        dale.doubt(prediction, labels),
        dale.soft_dice(prediction, labels),
        dale.expected_dice(prediction),
        dale.size_excess(prediction, labels),
        dale.worst_doubt(prediction, labels),
    ]
    return torch.stack(columns, 1)


def test_the_evidence_is_first_what_the_student_says_in_its_view(parts) -> None:
    network, teacher, images, labels = parts
    arguments = student_of(network), teacher, images, labels, torch.zeros(3), VIEWS
    step = dale.network_step(*arguments, strength=0.0, config=ALONE, listen=False)
    assert not step.evidence.requires_grad
    torch.testing.assert_close(
        step.evidence, evidence_of(torch.softmax(network(images), 1), dale.warp(labels, VIEWS)).detach()
    )


@pytest.mark.parametrize(("strength", "listen"), [(0.0, True), (1.0, True), (1.0, False)])
def test_later_it_is_what_the_teacher_says_of_the_untouched_image(parts, strength: float, listen: bool) -> None:
    """Mixing does not touch it."""
    network, teacher, images, labels = parts
    mixing = dale.draw_mixing(torch.arange(3), 0, 0, (8, 8), share=1.0)
    assert mixing.box.any()
    arguments = student_of(network), teacher, images, labels, torch.zeros(3), VIEWS
    step = dale.network_step(*arguments, strength=strength, config=ALONE, listen=listen, mixing=mixing)
    torch.testing.assert_close(step.evidence, evidence_of(torch.softmax(teacher(images), 1), labels).detach())


def test_every_ingredient_adds_its_weight_times_the_strength(parts) -> None:
    network, teacher, images, labels = parts
    generator = torch.Generator().manual_seed(1)
    half, alignment = torch.randn(3, 2, 4, 4, generator=generator), torch.tensor(0.7)
    confidence, strength = torch.tensor([1.0, 0.5, 0.0]), 0.4
    config = dale.DaleConfig(consistency=2.0, stability=3.0, alignment="mmd", alignment_weight=0.5, refinement="sample")
    student = Answering(dale.Answer(network(images), half, alignment))
    step = dale.network_step(student, teacher, images, labels, confidence, VIEWS, strength=strength, config=config)

    trust = 1 - strength * (1 - confidence)
    guess = torch.softmax(teacher(images), 1)
    target = dale.warp(trust[:, None, None, None] * labels + (1 - trust)[:, None, None, None] * guess, VIEWS)
    guide = dale.warp(guess, VIEWS)
    logits = network(images)
    between_views = (torch.softmax(logits, 1) - guide).square().mean((1, 2, 3))
    between_scales = (torch.softmax(half, 1) - F.avg_pool2d(guide, 2)).square().mean((1, 2, 3))
    extra = 2.0 * between_views + 3.0 * (1 - trust) * between_scales + 0.5 * 0.7
    torch.testing.assert_close(step.loss, dale.segmentation_loss(logits, target) + strength * extra)
    torch.testing.assert_close(student.told[0], target)
    torch.testing.assert_close(student.told[1], trust[:, None, None, None].expand(-1, 1, 8, 8))


class PixelByPixel(nn.Module):
    """Answers at each pixel with a function of that pixel of the image; keeps what it was shown and told."""

    def forward(self, images: Tensor, target: Tensor | None = None, clear: Tensor | None = None) -> dale.Answer:
        self.shown, self.told = images, (target, clear)
        return dale.Answer(torch.stack([images[:, 0], images[:, 1] - images[:, 2]], 1))


def test_mixed_samples_are_learned_with_the_labels_of_the_pixels(parts) -> None:
    """Image, target and the teacher's guide of every pixel come from one and the same sample."""
    strength = 0.6
    _, teacher, images, labels = parts
    confidence = torch.tensor([1.0, 0.2, 0.6])
    mixing = dale.draw_mixing(torch.tensor([4, 7, 2]), 3, 1, (8, 8), share=1.0)
    student = PixelByPixel()
    config = dale.DaleConfig(consistency=2.0)
    arguments = student, teacher, images, labels, confidence, VIEWS
    step = dale.network_step(*arguments, strength=strength, config=config, listen=False, mixing=mixing)

    trust, guess = 1 - strength * (1 - confidence), torch.softmax(teacher(images), 1)
    target = dale.warp(trust[:, None, None, None] * labels + (1 - trust)[:, None, None, None] * guess, VIEWS)
    fields = torch.cat([VIEWS.image(images), target, dale.warp(guess, VIEWS)], 1)
    before = fields.clone()
    for row, other in ((0, 1), (1, 0)):  # the third has no partner
        fields[row] = torch.where(mixing.box[row], before[other], before[row])
    torch.testing.assert_close(student.shown, fields[:, :3])
    logits = student(student.shown).logits
    between_views = (torch.softmax(logits, 1) - fields[:, 5:7]).square().mean((1, 2, 3))
    expected = dale.segmentation_loss(logits, fields[:, 3:5]) + strength * 2.0 * between_views
    torch.testing.assert_close(step.loss, expected)


def test_nothing_is_mixed_before_the_confidences_act(parts) -> None:
    _, teacher, images, labels = parts
    mixing = dale.draw_mixing(torch.arange(3), 0, 0, (8, 8), share=1.0)
    student = PixelByPixel()
    dale.network_step(student, teacher, images, labels, BELIEVED, VIEWS, strength=0.0, config=ALONE, mixing=mixing)
    assert torch.equal(student.shown, VIEWS.image(images))


def test_the_teacher_gets_no_gradient(parts) -> None:
    _, teacher, images, labels = parts
    config = dale.DaleConfig(consistency=1.0, stability=1.0)
    student = dale.Student(nn.Conv2d(3, 2, 3, padding=1), config, images[:1], classes=2)
    step = dale.network_step(
        student, teacher, images, labels, torch.full((3,), 0.5), VIEWS, strength=1.0, config=config
    )
    step.loss.sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert next(teacher.parameters()).grad is None


def test_the_teacher_is_heard_from_one_ramp_before_the_start() -> None:
    config = dale.DaleConfig(start=0.5, ramp=0.2)
    assert [dale.listening(config, epoch, 20) for epoch in range(20)] == [False] * 6 + [True] * 14
    assert not any(dale.listening(dale.DaleConfig(start=1.0), epoch, 20) for epoch in range(20))


def test_samples_mix_when_the_confidences_act_and_images_are_familiar() -> None:
    early, late = (
        dale.DaleConfig(start=0.2, mixing=0.3, mix_after=10),
        dale.DaleConfig(start=0.8, mixing=0.3, mix_after=10),
    )
    assert [dale.mixing_share(early, epoch, 20) for epoch in range(20)] == [0.0] * 10 + [0.3] * 10
    assert [dale.mixing_share(late, epoch, 20) for epoch in range(20)] == [0.0] * 16 + [0.3] * 4
    assert not any(dale.mixing_share(dale.DaleConfig(), epoch, 40) for epoch in range(40))  # a first look mixes nothing


def test_strength_waits_then_grows_to_one() -> None:
    config = dale.DaleConfig(start=0.5, ramp=0.2)
    values = [dale.strength(config, epoch, 20) for epoch in range(20)]
    assert values[:10] == [0.0] * 10
    assert values[10:14] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert values[14:] == [1.0] * 6
    assert dale.strength(dale.DaleConfig(start=1.0), 19, 20) == 0.0


def test_no_confidence_step_before_the_start() -> None:
    """A noisy state: with strength 0 every label stays believed, with any strength the bad half is doubted."""
    evidence = torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0]] * 20 + [[0.9, 0.1, 1.0, 0.0, 1.0]] * 10)
    state = dale.ConfidenceState(30)
    state.observe(torch.arange(30), evidence, momentum=0.7)
    partition = dale.confidence_step(state, state.histogram(), dale.DaleConfig(), strength=0.0)
    assert partition.gate == 1
    assert state.confidence.tolist() == [1.0] * 30
    dale.confidence_step(state, state.histogram(), dale.DaleConfig(), strength=0.1)
    assert state.confidence[:20].min() > 0.99
    assert state.confidence[20:].max() < 0.01
