"""What is answered: masks, probabilities, uncertainty, on the grid of what was sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.contract import inference
from workers.contract.inference import Prediction
from workers.contract.outputs import Output

PNG, NIFTI, NUMPY, ZIP = "image/png", "application/gzip", "application/octet-stream", "application/zip"
SAME_MOMENT = (1980, 1, 1, 0, 0, 0)  # zip's first; so equal contents make equal files


@dataclass(frozen=True)
class Answer:
    """A file."""

    name: str
    media_type: str
    content: bytes


def encoded(found: Prediction, output: Output, source: bytes | Path) -> Answer:
    """One output as a file.

    Args:
        found: the prediction.
        output: which.
        source: what it was made from, the first channel; of a volume: whose place the file has.
    """
    return (_of_volume if found.probabilities.ndim == 4 else _of_image)(found, output, source)


def answer(found: Prediction, outputs: Sequence[Output], source: bytes | Path) -> Answer:
    """The file that was asked for; of several a zip.

    Args:
        found: the prediction.
        outputs: at least one.
        source: what it was made from; of a volume: whose place the answer has.
    """
    files = [encoded(found, output, source) for output in dict.fromkeys(outputs)]
    if len(files) == 1:
        return files[0]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for file in files:
            archive.writestr(zipfile.ZipInfo(file.name, SAME_MOMENT), file.content)  # all are packed already
    return Answer("prediction.zip", ZIP, sink.getvalue())


def uncertainty(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy of the classes, over that of a model that knows nothing.

    Args:
        probabilities: (C, ...), of at least two classes.

    Returns:
        (...), in [0, 1]: 0 where the model is sure of one class, 1 where all are equally probable.
    """
    entropy = np.zeros(probabilities.shape[1:], dtype=np.float32)
    for one in probabilities:
        entropy -= one * np.log(np.maximum(one, np.finfo(np.float32).tiny))
    return np.asarray(np.clip(entropy / np.float32(np.log(len(probabilities))), 0, 1))


def _of_image(found: Prediction, output: Output, _source: bytes | Path) -> Answer:
    if output is Output.MASK:
        return Answer("mask.png", PNG, found.encoded)
    sink = io.BytesIO()
    if output is Output.PROBABILITIES:
        np.savez_compressed(sink, probabilities=found.probabilities)
        return Answer("probabilities.npz", NUMPY, sink.getvalue())
    levels = np.round(uncertainty(found.probabilities) * 65535).astype(np.uint16)
    Image.fromarray(levels).save(sink, "PNG", compress_level=1)
    return Answer("uncertainty.png", PNG, sink.getvalue())


def _of_volume(found: Prediction, output: Output, source: bytes | Path) -> Answer:
    if output is Output.MASK:
        return Answer("mask.nii.gz", NIFTI, found.encoded)
    values = found.probabilities if output is Output.PROBABILITIES else uncertainty(found.probabilities)
    return Answer(f"{output}.nii.gz", NIFTI, inference.encode_volume(values, inference.open_volume(source)))
