"""`model.json`, which says what a model is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from workers.contract.evaluation import Evaluation
from workers.contract.request import KeptCheckpoint
from workers.data import Samples
from workers.dataset import AnySamples
from workers.learner import Learner
from workers.nifti import PERCENTILES
from workers.run import Run


def describe_model(
    run: Run,
    learner: Learner,
    samples: AnySamples,
    test: dict[str, float],
    evaluation: Evaluation | None = None,
    checkpoints: Sequence[KeptCheckpoint] = (),
) -> bytes:
    """`model.json`: how to build the network again, what input and output mean, and how well it does.

    Args:
        run: this rank's view of the run.
        learner: what has learned.
        samples: what from.
        test: of `Scores.write`; empty if no sample is held out.
        evaluation: the same with intervals, class by class.
        checkpoints: which weights can be had, and how they did on the validation samples.
    """
    spec = run.request.spec
    description = {
        "network": {"name": spec.network.name, "arguments": learner.arguments},
        "spatial_dims": samples.spatial_dims,
        **_size(samples),
        "mean": [round(value, 6) for value in learner.statistics.mean.tolist()],
        "std": [round(value, 6) for value in learner.statistics.std.tolist()],
        "channels": samples.channel_names,
        "files": samples.files,
        "classes": samples.classes,
        "mask_values": samples.mask_values,
        **test,
        **({"evaluation": evaluation.model_dump(mode="json")} if evaluation else {}),
        "checkpoints": [one.model_dump() for one in checkpoints],
        "job_id": run.request.job_id,
        "spec": spec.model_dump(mode="json"),
    }
    return json.dumps(description, indent=1).encode()


def _size(samples: AnySamples) -> dict[str, Any]:
    """What a network is shown: of images their size; of volumes that of patches, and how intensities were changed."""
    if isinstance(samples, Samples):
        return {"image_size": samples.image_size}
    return {
        "patch_size": samples.patch_size,
        "normalisation": {"orientation": "RAS", "axes": "DHW", "percentiles": PERCENTILES, "then": "z-score"},
    }
