"""The loop that every rank runs: epochs of network steps, each closed by an exchange and a confidence step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import structlog
import torch
from torch import Tensor

import dale
from workers import artifacts
from workers.checkpoint import Checkpoints
from workers.data import Batches
from workers.dataset import open_dataset
from workers.exchange import send_rows, sum_over_ranks
from workers.learner import Learner
from workers.prefetch import prefetch
from workers.progress import ProgressWriter
from workers.run import Run
from workers.sampling import Plan

log = structlog.get_logger()

CHECKPOINT_SECONDS = 10.0


def train(run: Run) -> None:
    """Train from the newest checkpoint to the end and write the result. Collective: every rank calls it.

    Args:
        run: this rank's view of the run.
    """
    spec = run.request.spec
    samples = open_dataset(run.store, spec, run)
    plan = Plan(len(samples), spec.batch_size, spec.seed, run.rank, run.world_size)
    statistics, dims, steps = samples.statistics(), samples.spatial_dims, plan.steps * spec.epochs
    learner = Learner(spec, statistics, steps, run.device, run.rank, run.world_size, dims)
    state = dale.ConfidenceState(len(samples), run.rank, run.world_size)
    missing = artifacts.missing_epochs(run)
    checkpoints = Checkpoints(run)
    done = checkpoints.restore(learner, state, min(missing, default=spec.epochs))
    log.info("training", epochs=spec.epochs, done=done, samples=len(samples), steps_per_epoch=plan.steps)

    progress = ProgressWriter(run, spec.epochs, plan.steps, done)
    saved = time.monotonic()
    metrics: dict[str, float] = {}
    for epoch in range(done, spec.epochs):
        confidences = confidences_to_readers(state, plan, epoch, run.device)
        evidence, losses = network_epoch(learner, samples.of_epoch(epoch), plan, confidences, epoch, progress.step)
        metrics = confidence_epoch(learner, state, evidence, epoch)
        metrics |= {"loss": losses, "samples_per_second": progress.samples_per_second}
        if epoch in missing:
            artifacts.write_epoch(run, state, epoch, metrics)
        checkpoints.commit()
        since = sum_over_ranks(torch.tensor([time.monotonic() - saved]), run.device)
        if checkpoints.idle and float(since) / run.world_size > CHECKPOINT_SECONDS and epoch + 1 < spec.epochs:
            checkpoints.begin(learner, state, epoch + 1)
            saved = time.monotonic()
    checkpoints.commit(wait=True)
    artifacts.write_result(run, learner, samples, state, metrics)


def confidences_to_readers(state: dale.ConfidenceState, plan: Plan, epoch: int, device: torch.device) -> Tensor:
    """Carry each confidence from its owner to the rank that meets the sample in this epoch.

    Returns:
        (n,), float32, of the samples that this rank meets, in ascending order of their numbers.
    """
    reader = plan.reader_of(state.ordinals, epoch)
    ordinals, values = send_rows(state.ordinals, state.confidence[:, None], reader, device)
    return values[torch.argsort(ordinals), 0]


def network_epoch(
    learner: Learner,
    samples: Batches,
    plan: Plan,
    confidences: Tensor,
    epoch: int,
    stepped: Callable[[int, Tensor], None] = lambda epoch, loss: None,
) -> tuple[tuple[Tensor, Tensor], float]:
    """All network steps of an epoch, under fixed confidences.

    Args:
        learner: what learns.
        samples: what it learns from.
        plan: the order of the samples.
        confidences: (n,), of the samples that this rank meets, in ascending order of their numbers.
        epoch: counted from 0.
        stepped: called after each step with the epoch and the sum of its losses so far, (1,).

    Returns:
        The evidence gathered, ordinals (n,) and values (n, 4) as `ConfidenceState.observe` takes them; and the mean
        loss over all samples of all ranks.
    """
    learner.begin_epoch(epoch)
    seen = [torch.empty(0, dtype=torch.long)]
    values = [torch.empty(0, 4, device=learner.device)]
    total = torch.zeros(1, device=learner.device)
    met = plan.met(epoch).sort().values
    with closing(prefetch(samples, plan.batches(epoch), learner.device)) as batches:
        for images, labels, ordinals, weights in batches:
            counted = bool(weights[0] > 0)  # else this rank only stands in for none
            confidence = confidences[torch.searchsorted(met, ordinals)] if counted else torch.ones(1)
            step = learner.step(images, labels, ordinals, weights, confidence, epoch)
            if counted:
                seen.append(ordinals)
                values.append(step.evidence)
                total += step.loss.detach().sum()
            stepped(epoch, total)
    loss = sum_over_ranks(total, learner.device) / plan.samples
    return (torch.cat(seen), torch.cat(values).cpu()), float(loss)


def confidence_epoch(
    learner: Learner,
    state: dale.ConfidenceState,
    evidence: tuple[Tensor, Tensor],
    epoch: int,
) -> dict[str, float]:
    """Carry the evidence to the owners and take the confidence step from the statistics of all samples.

    Returns:
        The epoch's metrics over all samples.
    """
    config, epochs, device = learner.config, learner.spec.epochs, learner.device
    ordinals, values = send_rows(*evidence, evidence[0] % state.world_size, device)
    state.observe(ordinals, values, momentum=config.momentum)
    state.judge_borders(sum_over_ranks(state.border_sums(), device))
    histogram = sum_over_ranks(state.histogram(), device)
    # The step is for the coming epoch; the last one's is for those who read the confidences.
    coming = dale.strength(config, min(epoch + 1, epochs - 1), epochs)
    partition = dale.confidence_step(state, histogram, config, coming)
    sums = torch.stack([state.dice.sum(), state.confidence.sum(), (state.confidence < 0.5).sum()])
    dice, confidence, fuzzy = (sum_over_ranks(sums, device) / state.samples).tolist()
    return {
        "dice": dice,
        "confidence": confidence,
        "fuzzy_share": fuzzy,
        "threshold": partition.threshold,
        "gate": partition.gate,
        "strength": coming,
    }
