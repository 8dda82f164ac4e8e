"""The model of an earlier job, for a training to start from."""

from __future__ import annotations

import hashlib

from safetensors.torch import load
from torch import Tensor, nn

from workers.contract import keys
from workers.contract.request import ResultManifest
from workers.contract.store import ObjectMissing, ObjectStore

WEIGHTS = "model.safetensors"


class WarmStartRefused(ValueError):
    """The earlier model is not there, is damaged, or is that of another network; the message says which."""


def read_weights(store: ObjectStore, job_id: str) -> dict[str, Tensor]:
    """The weights that a job has delivered, by the names of the bare network's state.

    Raises:
        WarmStartRefused: it has none, or they are not what its manifest says.
    """
    try:
        manifest = ResultManifest.model_validate_json(store.get(keys.result_manifest(job_id)))
        file = next((file for file in manifest.files if file.name == WEIGHTS), None)
        data = store.get(file.key) if file is not None else None
    except ObjectMissing as error:
        raise WarmStartRefused(f"warm start: job {job_id} has no model any more ({error})") from error
    if file is None or data is None:
        raise WarmStartRefused(f"warm start: the model of job {job_id} has no file {WEIGHTS}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WarmStartRefused(f"warm start: {file.key} has another sha256 than its manifest says")
    return load(data)


def start_from(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a bare network these weights.

    Raises:
        WarmStartRefused: they are those of another network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:500]
        raise WarmStartRefused(f"warm start: the earlier model is of another network: {reason}") from error
