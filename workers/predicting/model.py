"""A trained model, ready to answer: on CPUs as `POST /v1/models/{id}:predict` answers, on GPUs by its weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workers.contract import keys
from workers.contract.inference import Network
from workers.contract.request import ResultFile, ResultManifest
from workers.contract.store import ObjectMissing, ObjectStore

if TYPE_CHECKING:
    import torch

ONNX, WEIGHTS, DESCRIPTION = "onnx.zip", "model.safetensors", "model.json"


class ModelUnusable(ValueError):
    """The model is not there any more, or damaged; the message says which."""


def open_model(store: ObjectStore, model_id: str, device: torch.device) -> tuple[dict[str, Any], Network]:
    """The model's `model.json`, and its network.

    On a CPU the network is the ONNX file that the service predicts with too, so that the masks are the same. Where the
    device is a GPU, or the model has no such file, it is built by torch from the weights.

    Args:
        store: where the model lies.
        model_id: the job that trained it.
        device: where to compute.

    Raises:
        ModelUnusable: a file of it is missing, or is not what its manifest says.
    """
    try:
        manifest = ResultManifest.model_validate_json(store.get(keys.result_manifest(model_id)))
    except ObjectMissing as error:
        raise ModelUnusable(f"job {model_id} has no model any more ({error})") from error
    files = {file.name: file for file in manifest.files}
    about: dict[str, Any] = json.loads(_content(store, model_id, files, DESCRIPTION))
    if device.type == "cpu" and ONNX in files:
        return about, _by_onnxruntime(_content(store, model_id, files, ONNX))
    return about, _by_torch(_content(store, model_id, files, WEIGHTS), about, device)


def _content(store: ObjectStore, model_id: str, files: dict[str, ResultFile], name: str) -> bytes:
    if name not in files:
        raise ModelUnusable(f"the model of job {model_id} has no file {name}")
    try:
        data = store.get(files[name].key)
    except ObjectMissing as error:
        raise ModelUnusable(f"the model of job {model_id} is not there any more ({error})") from error
    if hashlib.sha256(data).hexdigest() != files[name].sha256:
        raise ModelUnusable(f"{files[name].key} has another sha256 than its manifest says")
    return data


def _by_onnxruntime(packed: bytes) -> Network:
    import onnxruntime  # noqa: PLC0415 - a worker with a GPU needs none

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1")), 1
    with tempfile.TemporaryDirectory(prefix="dale-model-") as folder, zipfile.ZipFile(io.BytesIO(packed)) as archive:
        for name in archive.namelist():
            if name.startswith("model.onnx"):  # weights of more than 2 GB lie beside it
                archive.extract(name, folder)
        session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _by_torch(weights: bytes, about: dict[str, Any], device: torch.device) -> Network:
    import torch  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    from workers.network import build_network, single_output  # noqa: PLC0415

    built = build_network(about["network"]["name"], about["network"]["arguments"])
    built.load_state_dict(load(weights))
    network = single_output(about["network"]["name"], built).eval().to(device)

    def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images).to(device)).float().cpu().numpy())

    return answer
