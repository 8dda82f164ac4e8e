"""DALE in anyone's own training loop, in one process: the pieces of this library, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from dale.alternating import begin, confidence_step, listening, mixing_share, network_step, strength
from dale.confidence import ConfidenceState
from dale.config import DaleConfig
from dale.head import initialise_head
from dale.mixing import draw_mixing
from dale.partition import Partition
from dale.student import Student
from dale.teacher import make_teacher
from dale.trusted import Hints
from dale.views import AUGMENTATIONS, random_views


class Dale(nn.Module):
    """A network, its teacher and the confidences of the labels it learns from.

    `loss` takes the place of your loss, `after_step` follows each optimizer step, `end_epoch` each epoch:

        method = Dale(network, samples=len(dataset), epochs=150, prior=prior)
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
        for epoch in range(150):
            for images, labels, index in loader:
                loss = method.loss(images, labels, index)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                method.after_step()
            method.end_epoch()

    The module holds the network, so `to`, `parameters`, `state_dict` and `load_state_dict` do what they do for any
    other; the teacher's parameters are among them and take no gradient. The state is complete, confidences and the
    middle of an epoch included: save it with the optimizer's, and a run that takes both up again equals one that was
    not disturbed, where the network draws no random numbers of its own (dropout) and the samples come in equal order.

    Args:
        network: maps images (B, channels, *spatial) to logits (B, C, *spatial); spatial = (H, W) or (D, H, W). Its
            head is initialised anew.
        samples: number of samples, N.
        epochs: of the whole training; tells when the confidences begin to act.
        prior: (C,), share of the pixels of each class, background first; sums to 1.
        config: which ingredients are on, and their weights.
        hints: what is known of the N labels beforehand; None for nothing.
        seed: of the views and of the random projections of an alignment, in [0, 2^32).
        augmentation: how far the random views go, "strong" (rotation by any angle) or "light".
        example: a valid input (1, channels, *spatial), on the network's device. Only an alignment needs it, to see
            how many features there are before the optimizer is made.

    Attributes:
        student: the network, and what the ingredients switched on need besides it.
        teacher: the moving average of the network, in evaluation mode: `teacher(images)` gives logits, and
            `teacher.module` is a network as the one given. Use this one after training.
        state: confidences and statistics of the samples, on the CPU.
        epoch: epochs done.

    Raises:
        ValueError: an argument does not fit the others; the message says which.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        samples: int,
        epochs: int,
        prior: Tensor | Sequence[float],
        config: DaleConfig | None = None,
        hints: Hints | None = None,
        seed: int = 0,
        augmentation: str = "strong",
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        config = config or DaleConfig()
        if samples < 1 or epochs < 1:
            raise ValueError(f"samples is {samples} and epochs is {epochs}; both must be 1 or more")
        if augmentation not in AUGMENTATIONS:
            raise ValueError(f"augmentation is {augmentation!r}; it must be one of {', '.join(AUGMENTATIONS)}")
        if hints is not None and {len(hints.trusted), len(hints.annotator)} != {samples}:
            raise ValueError(
                f"hints tell of {len(hints.trusted)} (trusted) and {len(hints.annotator)} (annotator) samples; "
                f"there are {samples}"
            )
        if config.alignment != "none" and example is None:
            raise ValueError(f"alignment {config.alignment!r} needs an example input: example=images[:1]")
        shares = torch.as_tensor(prior, dtype=torch.float32).cpu()
        if shares.ndim != 1 or len(shares) < 2 or shares.min() < 0 or abs(float(shares.sum()) - 1) > 1e-3:
            raise ValueError(
                "prior must be the share of the pixels of each class, background included, and sum to 1; "
                f"got {shares.tolist()}"
            )
        try:
            initialise_head(network, shares)
        except ValueError as error:
            raise ValueError(
                f"prior has {len(shares)} values, but {error}; a network answers with one channel for each class, "
                "background included"
            ) from error
        self.config, self.seed, self.augmentation = config, seed, augmentation
        self.samples, self.epochs, self.classes = samples, epochs, len(shares)
        # In this order: a copy of the student's network would take the tap of an alignment along.
        self.teacher = make_teacher(network, config.ema_decay)
        self.student = Student(network, config, torch.empty(0) if example is None else example, self.classes, seed)
        self.state = ConfidenceState(samples, hints=hints)
        begin(self.state, self.state.disagreement_histogram(), config)
        self.epoch = 0
        self._evidence: list[tuple[Tensor, Tensor]] = []  # of this epoch: ordinals (B,) and values (B, 5)

    @property
    def confidence(self) -> Tensor:
        """How far each label is believed, (N,), in [0, 1]; lower = more doubtful. 1 until the confidences act."""
        return self.state.confidence

    def score(self) -> Tensor:
        """Label quality for ranking, (N,), in [0, 1]; lower = look first. Allows for difficulty; see `worst_doubt`."""
        return self.state.score()

    def loss(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """The loss of a batch, in a random view of it, and, kept for `end_epoch`, the evidence about its labels.

        Args:
            images: (B, channels, *spatial), as the network takes them, in units of about one standard deviation of the
                dataset. Leave flips, rotations and scaling to the views, which carry the labels along.
            labels: (B, C, *spatial), one-hot, as given.
            index: (B,), integers: the samples' numbers in the dataset, 0 to N - 1. Of a sample that is met twice in
                an epoch, the last evidence counts.

        Returns:
            scalar: mean over the batch, to be minimised.

        Raises:
            ValueError: the labels are not one-hot in the shape of the images, or there is not one number per sample.
            IndexError: there is no sample of such a number.
        """
        ordinals = self._check(images, labels, index)
        device = images.device
        views = random_views(ordinals, self.epoch, self.seed, images.ndim - 2, self.augmentation).to(device)
        # As in a job, a batch smaller than the first of its epoch does not mix.
        whole = not self._evidence or len(ordinals) == len(self._evidence[0][0])
        share = mixing_share(self.config, self.epoch, self.epochs) if whole else 0.0
        step = network_step(
            self.student,
            self.teacher,
            images,
            labels.to(device, torch.float32),
            self.confidence[ordinals].to(device),
            views,
            strength=strength(self.config, self.epoch, self.epochs),
            config=self.config,
            listen=listening(self.config, self.epoch, self.epochs),
            mixing=draw_mixing(ordinals, self.epoch, self.seed, images.shape[2:], share).to(device),
        )
        self._evidence.append((ordinals, step.evidence.float()))
        return step.loss.mean()

    def after_step(self) -> None:
        """Let the teacher follow the network; call it after each optimizer step."""
        self.teacher.update_parameters(self.student.network)

    def end_epoch(self) -> Partition:
        """The confidence step: set the confidences for the coming epoch from the evidence of this one.

        Samples that were not met in this epoch keep their trajectory.

        Returns:
            The split of the samples into believed and doubted ones, to be logged.

        Raises:
            RuntimeError: `loss` was not called in this epoch.
        """
        if not self._evidence:
            raise RuntimeError(f"no evidence was gathered in epoch {self.epoch}: call `loss` before `end_epoch`")
        ordinals = torch.cat([ordinals for ordinals, _ in self._evidence]).tolist()
        values = torch.cat([values for _, values in self._evidence]).cpu()
        last = {ordinal: row for row, ordinal in enumerate(ordinals)}
        self.state.observe(
            torch.tensor(list(last)),
            values[list(last.values())],
            momentum=self.config.momentum,
        )
        self.state.judge_borders(self.state.border_sums())
        # The step is for the coming epoch; the last one's is for those who read the confidences.
        coming = strength(self.config, min(self.epoch + 1, self.epochs - 1), self.epochs)
        partition = confidence_step(self.state, self.state.histogram(), self.config, coming)
        self.epoch += 1
        self._evidence = []
        return partition

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the network; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds besides parameters and buffers."""
        return {"epoch": self.epoch, "confidences": self.state.state_dict(), "evidence": list(self._evidence)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_extra_state` gave.

        Raises:
            ValueError: the state is that of another number of samples.
        """
        self.state.load([state["confidences"]])
        self.epoch, self._evidence = state["epoch"], list(state["evidence"])

    def _check(self, images: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """The batch's numbers on the CPU, (B,), if the batch can be learned from."""
        expected = (len(images), self.classes, *images.shape[2:])
        fault = "" if tuple(labels.shape) == expected else f"of shape {tuple(labels.shape)}"
        # Values are looked at once an epoch: on a GPU, every look waits for it.
        if not fault and not self._evidence and not bool(((labels.sum(1) - 1).abs() < 1e-3).all()):
            fault = "values that do not sum to 1 over the classes"
        if fault:
            raise ValueError(
                f"labels must be one-hot, of shape {expected}; got {fault}. From class indices "
                f"{(expected[0], *expected[2:])}: torch.nn.functional.one_hot(labels.long(), "
                f"{self.classes}).movedim(-1, 1)"
            )
        ordinals = torch.as_tensor(index).cpu()
        if tuple(ordinals.shape) != (len(images),) or ordinals.is_floating_point():
            raise ValueError(
                f"index must be {len(images)} integers, the number of each sample; "
                f"got {ordinals.dtype} of shape {tuple(ordinals.shape)}"
            )
        outside = ordinals[(ordinals < 0) | (ordinals >= self.samples)]
        if len(outside):
            raise IndexError(f"index {int(outside[0])} is none of {self.samples} samples, counted from 0")
        return ordinals.long()
