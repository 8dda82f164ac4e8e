"""The samples of a dataset version, predicted one after the other; what is known of each when it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from workers.contract import inference, keys, tables
from workers.contract.answers import uncertainty
from workers.contract.inference import Network, Prediction
from workers.contract.store import ObjectMissing, ObjectStore
from workers.data import SampleUnreadable
from workers.images import decode_mask
from workers.metrics import dice
from workers.nifti import NOT_NIFTI, decode_labels

UNREADABLE = (*NOT_NIFTI, ObjectMissing, Image.DecompressionBombError)


@dataclass(frozen=True)
class Files:
    """The files of a sample, as they lie in the store.

    Attributes:
        ordinal: number of the sample.
        image: one for each channel, in their order.
        mask: the given label; None: the dataset has none.
    """

    ordinal: int
    image: list[bytes]
    mask: bytes | None


@dataclass(frozen=True)
class Predicted:
    """A sample with what the model says of it.

    Attributes:
        row: of `tables.predictions`, but for the shard.
        prediction: on the sample's own grid.
        source: its image's file, the first of several.
    """

    row: dict[str, Any]
    prediction: Prediction
    source: bytes


class Samples:
    """The samples of an immutable dataset version as a model sees them.

    Args:
        store: where the dataset lies.
        dataset_id: the dataset.
        version: number of its version.
    """

    def __init__(self, store: ObjectStore, dataset_id: str, version: int) -> None:
        self._store, self._dataset_id = store, dataset_id
        data = store.get(keys.version(dataset_id, version))
        self.volumes = tables.holds_volumes(tables.schema_of(data))
        self.table: pa.Table = tables.from_parquet(data, tables.VOLUMES if self.volumes else tables.SAMPLES)
        self.mask_values: list[int] = json.loads(self.table.schema.metadata[tables.MASK_VALUES])
        # Where every mask is empty, nobody has labelled anything: agreeing with them would mean nothing.
        self.labelled = bool(pc.max(self.table["foreground"]).as_py())

    def predicted(
        self, about: dict[str, Any], network: Network, ordinals: Sequence[int], batch_size: int
    ) -> Iterator[Predicted]:
        """What the model says of some samples, in their order; no more than two batches are held at a time.

        Args:
            about: the model's `model.json`; masks get the dataset's values.
            network: the model's.
            ordinals: of the samples.
            batch_size: images in a pass of the network; volumes go one by one, by windows.

        Raises:
            SampleUnreadable: one of the files is not what it should be.
        """
        about = about | {"mask_values": self.mask_values}
        step = 1 if self.volumes else batch_size
        batches = [ordinals[begin : begin + step] for begin in range(0, len(ordinals), step)]
        with ThreadPoolExecutor(1) as ahead:  # the store is waited for while the network computes
            coming = ahead.submit(self._files, batches[0])
            for following in [*batches[1:], []]:
                batch = coming.result()
                coming = ahead.submit(self._files, following)
                yield from self._of_batch(about, network, batch)

    def _of_batch(self, about: dict[str, Any], network: Network, batch: list[Files]) -> Iterator[Predicted]:
        if self.volumes:
            for files in batch:
                with self._told(files.ordinal):
                    prediction = inference.predict(about, network, files.image)
                yield self._with_row(about, files, prediction)
            return
        squares = []
        for files in batch:
            with self._told(files.ordinal):
                squares.append(inference.to_input(about, files.image))
        for files, logits in zip(batch, network(np.stack(squares)), strict=True):
            yield self._with_row(about, files, inference.from_logits(about, logits, files.image[0]))

    def _with_row(self, about: dict[str, Any], files: Files, prediction: Prediction) -> Predicted:
        classes = prediction.probabilities.argmax(0).astype(np.uint8)
        unsure = uncertainty(prediction.probabilities)
        unit = 1.0
        if self.volumes:
            unit = float(abs(np.linalg.det(inference.open_volume(files.image[0]).affine[:3, :3])))
        counts = np.bincount(classes.ravel(), minlength=about["classes"])
        row = {
            "ordinal": files.ordinal,
            "name": self.name(files.ordinal),
            "dice": None,
            **{f"area_{number}": float(count * unit) for number, count in enumerate(counts) if number},
            "unit": "mm³" if self.volumes else "px",
            "uncertainty_mean": float(unsure.mean(dtype=np.float64)),
            "uncertainty_max": float(unsure.max()),
        }
        if files.mask is not None:
            with self._told(files.ordinal):
                row["dice"] = dice(classes, self._label(files.mask), about["classes"])
        return Predicted(row, prediction, files.image[0])

    def name(self, ordinal: int) -> str:
        """What a sample is called."""
        return str(self.table["name"][ordinal])

    def _label(self, mask: bytes) -> NDArray[np.uint8]:
        if self.volumes:
            return decode_labels(inference.open_volume(mask), self.mask_values)
        return decode_mask(mask, None, self.mask_values)

    def _files(self, ordinals: Sequence[int]) -> list[Files]:
        found = []
        for ordinal in ordinals:
            row = {name: self.table[name][ordinal].as_py() for name in ("image_sha256", "channels", "mask_sha256")}
            with self._told(ordinal):
                image = [self._blob(sha256) for sha256 in (row["image_sha256"], *(row["channels"] or ()))]
                mask = self._blob(row["mask_sha256"]) if self.labelled else None
            found.append(Files(ordinal, image, mask))
        return found

    @contextmanager
    def _told(self, ordinal: int) -> Iterator[None]:
        """Name the sample in what goes wrong with its files."""
        try:
            yield
        except UNREADABLE as error:
            raise SampleUnreadable(
                f"sample {self.name(ordinal)!r} (number {ordinal}) cannot be read: {error}"
            ) from error

    def _blob(self, sha256: str) -> bytes:
        return self._store.get(keys.blob(self._dataset_id, sha256))
