"""The complete state of a run between two epochs, in files that any later number of ranks can take up.

`training.pt`, written by rank 0: network, teacher, optimizer, schedule, epochs done.
`confidence-<rank>-of-<W>.pt`, one from each rank: its confidence rows with the samples they belong to.
Random numbers need no place: every draw follows from seed, epoch and sample.
"""

from __future__ import annotations

from pathlib import Path

import torch

import dale
from workers.learner import Learner


class CheckpointIncomplete(RuntimeError):
    """Files of the checkpoint are missing; resume from an older one."""


def save(folder: Path, learner: Learner, state: dale.ConfidenceState, epochs_done: int) -> None:
    """Write this rank's files into `folder`."""
    if state.rank == 0:
        torch.save({"learner": learner.state_dict(), "epochs_done": epochs_done}, folder / "training.pt")
    torch.save(state.state_dict(), folder / f"confidence-{state.rank}-of-{state.world_size}.pt")


def load(folder: Path, learner: Learner, state: dale.ConfidenceState) -> int:
    """Take up the state in `folder`, whatever number of ranks wrote it.

    Returns:
        The number of epochs done.

    Raises:
        CheckpointIncomplete: a file is missing.
    """
    training = folder / "training.pt"
    shards = sorted(folder.glob("confidence-*-of-*.pt"))
    expected = int(shards[0].stem.rsplit("-", 1)[1]) if shards else 1
    if not training.exists() or len(shards) != expected:
        raise CheckpointIncomplete(f"{folder.name} holds {len(shards)} of {expected} confidence shards")
    saved = torch.load(training, map_location=learner.device, weights_only=True)
    learner.load_state_dict(saved["learner"])
    state.load([torch.load(shard, weights_only=True) for shard in shards])
    return int(saved["epochs_done"])
