"""The loop that every rank runs: epochs of network steps, each closed by an exchange and a confidence step."""

from __future__ import annotations

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
from workers.environment import record
from workers.exchange import send_rows, sum_over_ranks
from workers.gathered import Gathered
from workers.hints import hints_of
from workers.learner import Learner
from workers.prefetch import prefetch
from workers.progress import ProgressWriter
from workers.run import Run
from workers.sampling import Plan
from workers.validation import Validation
from workers.warm_start import read_weights

log = structlog.get_logger()

CHECKPOINT_SECONDS = 10.0  # after an epoch, if so much has passed since the last one
LOOK_STEPS, LOOK_SECONDS = 25, 60.0  # in an epoch: how often ranks ask each other whether so much has passed


def train(run: Run) -> None:
    """Train from the newest checkpoint to the end and write the result. Collective: every rank calls it.

    Args:
        run: this rank's view of the run.
    """
    spec = run.request.spec
    record(run)
    samples = open_dataset(run.store, spec, run)
    plan = Plan(len(samples), spec.batch_size, spec.seed, run.rank, run.world_size)
    statistics, dims, steps = samples.statistics(), samples.spatial_dims, plan.steps * spec.epochs
    weights = read_weights(run.store, spec.warm_start) if spec.warm_start else None
    learner = Learner(spec, statistics, steps, run.device, run.rank, run.world_size, dims, weights)
    state = dale.ConfidenceState(len(samples), run.rank, run.world_size)
    state.know(*hints_of(samples.table, state.ordinals))
    dale.begin(state, sum_over_ranks(state.disagreement_histogram(), run.device), learner.config)
    missing = artifacts.missing_epochs(run)
    checkpoints = Checkpoints(run, plan.steps)
    validation = Validation(run, samples)
    done, gathered = checkpoints.restore(learner, state, validation.restore(missing))
    log.info("training", epochs=spec.epochs, done=done, step=gathered.steps, samples=len(samples), steps=plan.steps)
    log.info("network", name=spec.network.name, compiled=learner.compiled, device=str(run.device))

    progress = ProgressWriter(run, spec.epochs, plan.steps, done * plan.steps + gathered.steps)

    def stepped(epoch: int, gathered: Gathered) -> None:
        progress.step(epoch, gathered.loss)
        if gathered.steps % LOOK_STEPS == 0 and gathered.steps < plan.steps:
            checkpoints.keep(learner, state, epoch, gathered, every=LOOK_SECONDS)

    metrics: dict[str, float] = {}
    for epoch in range(done, spec.epochs):
        confidences = confidences_to_readers(state, plan, epoch, run.device)
        batches = samples.of_epoch(epoch)
        evidence, losses = network_epoch(learner, batches, plan, confidences, epoch, gathered, stepped)
        metrics = confidence_epoch(learner, state, evidence, epoch)
        metrics |= {"loss": losses, "samples_per_second": progress.samples_per_second}
        metrics |= validation.judge(learner, epoch)
        if epoch in missing:
            artifacts.write_epoch(run, state, epoch, metrics, validation.best)
        validation.prune()
        gathered = Gathered()
        if epoch + 1 < spec.epochs:
            checkpoints.keep(learner, state, epoch + 1, gathered, every=CHECKPOINT_SECONDS)
    checkpoints.commit(wait=True)
    artifacts.write_result(run, learner, samples, state, metrics, validation.best)


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
    gathered: Gathered | None = None,
    stepped: Callable[[int, Gathered], None] = lambda epoch, gathered: None,
) -> tuple[tuple[Tensor, Tensor], float]:
    """All network steps of an epoch, under fixed confidences.

    Args:
        learner: what learns.
        samples: what it learns from.
        plan: the order of the samples.
        confidences: (n,), of the samples that this rank meets, in ascending order of their numbers.
        epoch: counted from 0.
        gathered: what an earlier attempt left of this epoch; None: nothing.
        stepped: called after each step with the epoch and what was gathered so far.

    Returns:
        The evidence gathered, ordinals (n,) and values (n, 5) as `ConfidenceState.observe` takes them; and the mean
        loss over all samples of all ranks.
    """
    learner.begin_epoch(epoch, plan.whole)
    gathered = (gathered or Gathered()).to(learner.device)
    met = plan.met(epoch).sort().values
    with closing(prefetch(samples, plan.batches(epoch, gathered.steps), learner.device)) as batches:
        for images, labels, ordinals, weights in batches:
            counted = bool(weights[0] > 0)  # else this rank only stands in for none
            confidence = confidences[torch.searchsorted(met, ordinals)] if counted else torch.ones(1)
            step = learner.step(images, labels, ordinals, weights, confidence, epoch)
            gathered.steps += 1
            if counted:
                gathered.ordinals.append(ordinals)
                gathered.values.append(step.evidence)
                gathered.loss += step.loss.detach().sum()
            stepped(epoch, gathered)
    loss = sum_over_ranks(gathered.loss, learner.device) / plan.samples
    return gathered.evidence, float(loss)


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
