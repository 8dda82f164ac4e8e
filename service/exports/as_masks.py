"""Masks as a zip in the layout that was uploaded: the folder in it is what `dale correct --masks` takes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator

from PIL import Image

from service.datasets.kinds import LayoutKind, Media
from service.db.exports import Line
from service.exports.drain import zipped
from service.reviews.decisions import Decision
from service.reviews.masks import ENDINGS, OTHERS
from workers.contract import keys
from workers.contract.store import ObjectStore

FOLDERS = {LayoutKind.FOLDERS: "masks", LayoutKind.NNUNET: "labelsTr"}
PACKED = ".nii.gz"


def write(store: ObjectStore, layout: LayoutKind, batches: Iterable[list[Line]]) -> Iterator[bytes]:
    """The zip, a mask at a time: the corrected one where there is one, else the label.

    Raises:
        ObjectMissing: a mask is gone from the store.
    """
    files = (_file(store, layout, line) for batch in batches for line in batch)
    return zipped((f"{FOLDERS[layout]}/{name}", (content,)) for name, content in files)


def _file(store: ObjectStore, layout: LayoutKind, line: Line) -> tuple[str, bytes]:
    """What a mask is called, and its bytes."""
    _, sample, review = line
    corrected = review.new_mask_sha256 if review and review.decision == Decision.CORRECTED else None
    media = Media.IMAGE if sample.depth is None else Media.VOLUME
    content = store.get(keys.blob(sample.dataset_id, corrected or sample.mask_sha256))
    ending = _ending(content, media)
    if corrected and layout is LayoutKind.NNUNET:  # all files of one such dataset have one ending: that of its labels
        label = b"".join(store.read(keys.blob(sample.dataset_id, sample.mask_sha256), 0, 4))
        wanted = _ending(label, media)
        if wanted != ending:
            content, ending = _converted(content, wanted), wanted
    return f"{sample.name}{ending}", content


def _ending(content: bytes, media: Media) -> str:
    return next((ending for mark, ending in ENDINGS.items() if content.startswith(mark)), OTHERS[media])


def _converted(content: bytes, wanted: str) -> bytes:
    """The same mask in a file of another ending; nnU-Net has .png, .nii and .nii.gz."""
    if wanted == PACKED:
        return gzip.compress(content, compresslevel=1, mtime=0)
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)  # it was checked as it came in, unpacked size included
    sink = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.save(sink, "PNG")
    return sink.getvalue()
