"""Models that are loaded: each read from the store once, and kept until others need the room."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.errors import Conflict, FieldError, NotFound
from service.predictions.limits import PredictionLimits
from workers.contract.store import ObjectMissing, ObjectStore

if TYPE_CHECKING:
    import onnxruntime

MEMBERS = ("model.json", "model.onnx", "model.onnx.data")  # the last: weights of more than 2 GB
ERRORS_ONLY = 3  # of onnxruntime's levels


@dataclass(frozen=True)
class ModelFile:
    """Where a model's `onnx.zip` is."""

    model_id: str
    key: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Loaded:
    """A model that can answer; may be used by several threads at a time.

    Attributes:
        about: its `model.json`.
        session: of onnxruntime.
        size: of its files, in bytes.
    """

    about: dict[str, Any]
    session: onnxruntime.InferenceSession
    size: int

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (B, C, *edges) of images (B, channels, *edges)."""
        (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: images})
        return np.asarray(logits)


class Sessions:
    """Loaded models, those longest not asked for first to go.

    They are known by their sha256: whether a caller may use one is asked before.

    Args:
        store: where `onnx.zip` is.
        limits: threads of a model, and weights of all.
    """

    def __init__(self, store: ObjectStore, limits: PredictionLimits) -> None:
        self._store, self._limits = store, limits
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # one at a time: so none is loaded twice, and memory is asked for in turns

    def get(self, file: ModelFile) -> Loaded:
        """The model in that file.

        Raises:
            Conflict: it is too large to be kept here.
            NotFound: the store has it no more, or damaged.
        """
        if found := self._find(file.sha256):
            return found
        with self._loading:
            if found := self._find(file.sha256):
                return found
            if file.size > self._limits.models_bytes:  # weights do not shrink in the zip
                raise self._too_large(file, file.size)
            loaded = self._load(file)
            with self._lock:
                self._loaded[file.sha256] = loaded
                while sum(one.size for one in self._loaded.values()) > self._limits.models_bytes:
                    self._loaded.popitem(last=False)
            return loaded

    def _find(self, sha256: str) -> Loaded | None:
        with self._lock:
            if sha256 in self._loaded:
                self._loaded.move_to_end(sha256)
            return self._loaded.get(sha256)

    def _too_large(self, file: ModelFile, size: int) -> Conflict:
        limit = self._limits.models_bytes
        hint = "download its onnx.zip: predict.py in it predicts anywhere; or raise DALE_PREDICTIONS' models_bytes"
        fault = FieldError(file="onnx.zip", reason=f"has {size} bytes, {limit} are accepted", hint=hint)
        return Conflict(f"Model {file.model_id} is too large to predict here.", [fault])

    def _load(self, file: ModelFile) -> Loaded:
        with tempfile.TemporaryDirectory(prefix="dale-model-") as folder:
            root = Path(folder)
            size = self._unpack(file, root)
            about: dict[str, Any] = json.loads((root / "model.json").read_text())
            return Loaded(about, _open(root / "model.onnx", self._limits.threads), size)

    def _unpack(self, file: ModelFile, root: Path) -> int:
        """Put the model's files into a folder, once the zip is what its entry says; their size."""
        packed, digest = root / "onnx.zip", hashlib.sha256()
        try:
            with packed.open("wb") as sink:
                for chunk in self._store.read(file.key):
                    digest.update(chunk)
                    sink.write(chunk)
        except ObjectMissing as error:
            raise NotFound(f"The ONNX file of model {file.model_id} is gone from the object store.") from error
        if digest.hexdigest() != file.sha256:
            raise NotFound(f"The ONNX file of model {file.model_id} is damaged in the object store.")
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if member.filename in MEMBERS]
            size = sum(member.file_size for member in members)
            if size > self._limits.models_bytes:
                raise self._too_large(file, size)
            for member in members:
                with archive.open(member) as source, (root / member.filename).open("wb") as sink:
                    shutil.copyfileobj(source, sink)
        return size


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERRORS_ONLY
    # Threads of a model that has nothing to do would otherwise take the processor from the rest of the service.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
