"""A sample of a dataset of volumes as a picture of one slice, from the files in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.axes import Axis
from service.datasets.archive import MemberFault
from service.db.tables import Sample
from service.errors import NotFound
from service.imaging import Picture
from service.slices import Place, classes, cut, grey, place, stored_volume
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore


@dataclass(frozen=True, kw_only=True)
class SlicePicture(Picture):
    """A slice with its masks, as they are drawn."""

    at: Place


def slice_picture(
    store: ObjectStore,
    row: Sample,
    axis: Axis,
    number: int | None,
    job_id: str | None,
    doubting: str | None = None,
    *,
    label: bool = True,
    prediction: bool = True,
) -> SlicePicture:
    """Cut a slice out of image, label and, with a job, its prediction, if it is there.

    Args:
        store: of the service.
        row: the sample.
        axis: what the slice is perpendicular to.
        number: which one; None: that with the most of the label, or else of the prediction, whatever is drawn.
        job_id: of a job that has predictions.
        doubting: of a job whose map of what is doubted is cut likewise, if it is there.
        label: whether it is drawn; with a number, what is not drawn is not read.
        prediction: likewise.

    Raises:
        NotFound: the files of the sample are gone, or damaged.
        Invalid: there is no such slice.
    """
    with _opening(row) as stack:
        image = stack.enter_context(stored_volume(store.read(keys.blob(row.dataset_id, row.image_sha256))))
        bare = number is not None and not label and not prediction
        masks = [] if bare else list(_masks(stack, store, row, job_id))
        at = place(axis, number, masks or [image])
        plane, aspect = cut(image, at)
        drawn = [classes(cut(mask, at)[0]) for mask in masks]
        doubt = None
        if doubting is not None and store.exists(key := keys.doubt_map(doubting, row.ordinal, "nii.gz")):
            voxels = cut(stack.enter_context(stored_volume(store.read(key))), at)[0]
            doubt = np.ascontiguousarray(voxels, dtype=np.uint8)
        return SlicePicture(
            at=at,
            image=grey(image, plane),
            label=drawn[0] if label else None,
            prediction=drawn[1] if prediction and len(drawn) > 1 else None,
            doubt=doubt,
            aspect=aspect,
        )


def slice_headers(at: Place, aspect: float) -> dict[str, str]:
    """What an answer that shows a slice says about it."""
    return {"Dale-Slice": str(at.number), "Dale-Slices": str(at.count), "Dale-Aspect": f"{aspect:.6g}"}


def mask_slice(
    store: ObjectStore, row: Sample, key: str, axis: Axis, number: int
) -> tuple[NDArray[np.generic], Place, float]:
    """A slice of a mask in the store: its voxels (H, W), where it is, and the height of a voxel in its widths.

    Raises:
        ObjectMissing: it is not there.
        NotFound: it is damaged.
        Invalid: there is no such slice.
    """
    try:
        with stored_volume(store.read(key)) as mask:
            at = place(axis, number, [mask])
            plane, aspect = cut(mask, at)
            return plane, at, aspect
    except MemberFault as error:
        raise NotFound(f"A mask of sample {row.name!r} is damaged in the object store.") from error


def slice_place(store: ObjectStore, row: Sample, axis: Axis, number: int | None, job_id: str | None) -> Place:
    """Where the slice is that `slice_picture` would show of the same arguments.

    Raises:
        NotFound: the files of the sample are gone, or damaged.
        Invalid: there is no such slice.
    """
    with _opening(row) as stack:
        return place(axis, number, _masks(stack, store, row, job_id))


@contextmanager
def _opening(row: Sample) -> Iterator[ExitStack]:
    """Where the files of a sample are opened: closes them, and says what is wrong with them."""
    with ExitStack() as stack:
        try:
            yield stack
        except (ObjectMissing, MemberFault) as error:
            raise NotFound(f"The files of sample {row.name!r} are gone from the object store, or damaged.") from error


def _masks(stack: ExitStack, store: ObjectStore, row: Sample, job_id: str | None) -> Iterator[Any]:
    """The label, then the prediction if there is one; each is fetched when it is asked for."""
    yield stack.enter_context(stored_volume(store.read(keys.blob(row.dataset_id, row.mask_sha256))))
    if job_id is not None and store.exists(key := keys.prediction(job_id, row.ordinal, "nii.gz")):
        yield stack.enter_context(stored_volume(store.read(key)))
