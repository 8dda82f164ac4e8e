"""What an export with masks is made of: the samples, their masks, and their images as tools can show them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from service import imaging
from service.db.exports import Line
from service.db.tables import Sample
from service.exports.drawn import Mask
from service.exports.kinds import Source
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore

JPEG = b"\xff\xd8\xff"
SHOWN = {"1", "L", "LA", "P", "RGB", "RGBA"}  # PNGs that every browser shows as they are


@dataclass(frozen=True)
class Wanted:
    """What is to be written."""

    store: ObjectStore
    job_id: str
    mask_values: list[int]
    source: Source  # whose masks
    batches: Callable[[], Iterable[list[Line]]]  # the samples, from the first on, as often as it is called
    image_root: str | None = None  # what an image's URL begins with, where a format has URLs

    def lines(self) -> Iterator[Line]:
        """The samples, the most doubted first."""
        return (line for batch in self.batches() for line in batch)

    def masks(self, sample: Sample) -> Iterator[tuple[Source, Mask]]:
        """The masks of a sample that are wanted and there, (H, W) each, in the dataset's own values."""
        for source in self.source.each:
            mask = read_mask(self.store, sample, self.job_id, self.mask_values, source)
            if mask is not None:
                yield source, mask

    def picture_name(self, sample: Sample) -> str:
        """What a sample's image is called as `picture` gives it."""
        head = b"".join(self.store.read(keys.blob(sample.dataset_id, sample.image_sha256), 0, len(JPEG)))
        return f"{sample.name}{'.jpg' if head == JPEG else '.png'}"

    def picture(self, sample: Sample) -> bytes:
        """A sample's image as a browser shows it: as it is where it can be, else as 8-bit PNG.

        Raises:
            ObjectMissing: it is gone from the store.
        """
        content = self.store.get(keys.blob(sample.dataset_id, sample.image_sha256))
        if content.startswith(JPEG):
            return content
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "PNG" and image.mode in SHOWN:
                return content
        sink = io.BytesIO()
        Image.fromarray(imaging.decode_image(io.BytesIO(content))).save(sink, "PNG", compress_level=1)
        return sink.getvalue()


def read_mask(store: ObjectStore, sample: Sample, job_id: str, mask_values: list[int], source: Source) -> Mask | None:
    """A label or prediction of a sample, (H, W), in the dataset's own values; None: there is no prediction."""
    if source is Source.LABEL:
        return imaging.decode_mask(io.BytesIO(store.get(keys.blob(sample.dataset_id, sample.mask_sha256))))
    try:
        found = imaging.decode_mask(io.BytesIO(store.get(keys.prediction(job_id, sample.ordinal))))
    except ObjectMissing:
        return None
    return np.array(mask_values)[found].astype(np.uint8)
