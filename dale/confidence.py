"""Label confidence: the closed-form step, and the state of the samples that this process owns."""

from __future__ import annotations

import torch
from torch import Tensor

from dale.partition import Partition, histogram
from dale.trusted import Hints, border_doubt, border_sums


def closed_form_confidence(doubts: Tensor, threshold: float, temperature: float) -> Tensor:
    """The minimiser over c of c (l - tau) + T (c ln c + (1 - c) ln(1 - c)): c = sigmoid((tau - l) / T).

    Args:
        doubts: l, (N,).
        threshold: tau, in the unit of `doubts`.
        temperature: T > 0; smaller is harder.

    Returns:
        (N,), in (0, 1); 0.5 at the threshold, lower = more doubtful.
    """
    return torch.sigmoid((threshold - doubts) / temperature)


class ConfidenceState:
    """Confidence and loss statistics of the samples that one process owns.

    The samples with `ordinal % world_size == rank` belong to `rank`; row k holds ordinal `rank + k * world_size`.
    All tensors live on the CPU, (N_owned,), float32.

    Args:
        samples: number of samples of the whole dataset, N.
        rank: this process, 0 <= rank < world_size.
        world_size: number of processes that share the samples.
        hints: what is known of all N samples beforehand; None for nothing.
    """

    def __init__(self, samples: int, rank: int = 0, world_size: int = 1, hints: Hints | None = None) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of {world_size}")
        self.samples, self.rank, self.world_size = samples, rank, world_size
        self.ordinals = torch.arange(rank, samples, world_size)
        self.confidence = torch.ones(len(self.ordinals))
        self.trajectory = torch.zeros(len(self.ordinals))  # moving average of the doubt
        self.epochs_seen = torch.zeros(len(self.ordinals))
        self.dice = torch.zeros(len(self.ordinals))  # as last observed
        self.expected_dice = torch.zeros(len(self.ordinals))
        self.excess = torch.zeros(len(self.ordinals))  # moving average of the label's excess in size
        self.worst = torch.zeros(len(self.ordinals))  # moving average of the doubt about the worst part, to rank by
        self.border = torch.zeros(len(self.ordinals))  # doubt about the border, from what is known of the annotators
        if hints is None:
            self.know(Hints.none(len(self.ordinals)), 0)  # no process needs memory for all samples
        else:
            self.know(hints.of(self.ordinals), hints.annotators)

    def know(self, own: Hints, annotators: int) -> None:
        """Take in what is known beforehand, in place of what was said of it when the state was made.

        Args:
            own: of the owned samples, (N_owned,), in the order of `ordinals`.
            annotators: number of annotators of all N samples, A; `own` names them by 0 … A - 1.
        """
        self.trusted, self.annotator, self._annotators = own.trusted, own.annotator, annotators
        unknown = torch.full((len(self.ordinals),), torch.nan)
        self.agreement = own.agreement if own.agreement is not None else unknown

    def disagreement_histogram(self) -> Tensor:
        """Histogram of 1 - agreement of the owned labels that have one; sum it over the ranks before `begin`."""
        return histogram(1 - self.agreement[~self.agreement.isnan()])

    def begin(self, partition: Partition, temperature: float) -> None:
        """Confidences before there is any evidence: a confidence step on the disagreement of the annotators.

        A label without an agreement, or that was verified, is believed.

        Args:
            partition: `split` of the disagreements of all samples.
            temperature: T.
        """
        exact = closed_form_confidence(1 - self.agreement, partition.threshold, temperature)
        known = ~self.agreement.isnan() & ~self.trusted
        self.confidence = torch.where(known, 1 - partition.gate * (1 - exact), 1.0)

    def rows(self, ordinals: Tensor) -> Tensor:
        """Rows of samples that this process owns.

        Raises:
            ValueError: one of them belongs to another process.
        """
        foreign = ordinals[(ordinals % self.world_size != self.rank) | (ordinals >= self.samples)]
        if len(foreign):
            raise ValueError(f"sample {int(foreign[0])} does not belong to rank {self.rank} of {self.world_size}")
        return ordinals // self.world_size

    def observe(self, ordinals: Tensor, evidence: Tensor, *, momentum: float) -> None:
        """Take in one epoch's evidence: each sample's doubt moves its trajectory.

        The average is corrected for its start (as Adam's is), so that the first epoch counts in full.

        Args:
            ordinals: (n,), samples owned by this process, each at most once.
            evidence: (n, 5): doubt about the label, soft Dice of prediction and label, the Dice that the prediction
                expects of itself, the label's excess in size, and the doubt about its worst part (`Step.evidence`).
            momentum: weight of the past, in [0, 1).
        """
        rows = self.rows(ordinals)
        self.epochs_seen[rows] += 1
        past = momentum * (1 - momentum ** (self.epochs_seen[rows] - 1))
        weight = (1 - momentum) / (past + 1 - momentum)
        doubts, dice, expected, excess, worst = evidence.unbind(1)
        self.trajectory[rows] = torch.lerp(self.trajectory[rows], doubts, weight)
        self.excess[rows] = torch.lerp(self.excess[rows], excess, weight)
        self.worst[rows] = torch.lerp(self.worst[rows], worst, weight)
        self.dice[rows], self.expected_dice[rows] = dice, expected

    def border_sums(self) -> Tensor:
        """What the owned samples tell about the border standard; sum it over the ranks before `judge_borders`."""
        return border_sums(self.excess, self.annotator, self.trusted, self._annotators)

    def judge_borders(self, sums: Tensor) -> None:
        """Doubt labels whose border is not drawn to the standard.

        Args:
            sums: `border_sums()`, summed over the ranks.
        """
        self.border = border_doubt(self.excess, self.annotator, sums)

    @property
    def doubts(self) -> Tensor:
        """l, all evidence against each owned label, (N_owned,), in [0, 1]: its trajectory and its border."""
        return (self.trajectory + self.border).clamp(0, 1)

    def histogram(self) -> Tensor:
        """Histogram of the doubts; sum it over the ranks before `split`."""
        return histogram(self.doubts)

    def step(self, partition: Partition, temperature: float) -> None:
        """The confidence step: closed form, its effect scaled by how much noise the statistics show.

        A label that was verified stays believed.
        """
        exact = closed_form_confidence(self.doubts, partition.threshold, temperature)
        self.confidence = torch.where(self.trusted, 1.0, 1 - partition.gate * (1 - exact))

    def score(self) -> Tensor:
        """Label quality for ranking, (N_owned,), in [0, 1]; lower = look first.

        It asks for the worst part of a label, the confidence for the whole of it (`doubts`): a small fault is worth a
        look, and does little harm in training. The border speaks beside it: (1 - worst) (1 - border).
        """
        return (1 - self.worst) * (1 - self.border)

    def state_dict(self) -> dict[str, Tensor]:
        """The rows with the ordinals they belong to, so that any number of processes can take them up again."""
        return {
            "ordinals": self.ordinals,
            **{name: getattr(self, name) for name in _COLUMNS},
        }

    def load(self, shards: list[dict[str, Tensor]]) -> None:
        """Take up this process's rows from the `state_dict` of every process of an earlier run.

        Args:
            shards: one `state_dict` for each earlier process, whatever their number.

        Raises:
            ValueError: the shards do not hold every sample of this process exactly once.
        """
        ordinals = torch.cat([shard["ordinals"] for shard in shards])
        mine = ordinals % self.world_size == self.rank
        order = torch.argsort(ordinals[mine])
        if not torch.equal(ordinals[mine][order], self.ordinals):
            raise ValueError(
                f"the shards hold {int(mine.sum())} rows for rank {self.rank} of {self.world_size}, "
                f"expected each of {len(self.ordinals)} samples once"
            )
        for name in _COLUMNS:
            setattr(self, name, torch.cat([shard[name] for shard in shards])[mine][order].clone())


_COLUMNS = ("confidence", "trajectory", "epochs_seen", "dice", "expected_dice", "excess", "worst", "border")
