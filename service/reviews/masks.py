"""Masks that people put in a label's place: a model's prediction, or one that they drew."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service import imaging
from service.datasets.archive import Archive
from service.datasets.checked import Findings
from service.datasets.kinds import Media
from service.datasets.limits import ImportLimits
from service.datasets.masks import CheckedMask, MaskCheck
from service.datasets.options import ImportOptions
from service.datasets.storing import Unpacking
from service.db.tables import DatasetVersion, Sample
from service.errors import FieldError, Invalid
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore

# What a file is called in an archive is said by its first bytes, else by what the dataset holds.
ENDINGS = {b"\xff\xd8\xff": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"\x1f\x8b": ".nii.gz"}
OTHERS = {Media.IMAGE: ".png", Media.VOLUME: ".nii"}


def store_mask(
    store: ObjectStore,
    limits: ImportLimits,
    row: dict[str, Any],
    dataset_id: str,
    mask_values: list[int],
    content: bytes,
) -> CheckedMask:
    """Check a mask as a correction's masks are checked, and store it beside the dataset's others.

    Args:
        store: of the service.
        limits: what is accepted.
        row: the sample that it is of, as `service.db.datasets.rows` has it.
        dataset_id: the sample's dataset.
        mask_values: the only values that it may have.
        content: the file.

    Raises:
        Invalid: it is no mask of this sample.
    """

    def fetch(digest: str, target: Path) -> None:
        with target.open("wb") as sink:
            sink.writelines(store.read(keys.blob(dataset_id, digest)))

    found = Findings([], [])
    media = Media.IMAGE if row["depth"] is None else Media.VOLUME
    with tempfile.TemporaryDirectory(prefix="dale-mask-") as folder:
        scratch = Path(folder)
        archive = Archive(packed([(row["name"], content)], media), limits)
        work = MaskCheck(archive, limits, media, scratch, fetch)
        (member,) = archive.members
        checked = work.check({row["name"]: member}, {row["name"]: row}, mask_values, found)
        if found.faults:
            faults = [FieldError(field="mask", reason=fault.reason, hint=fault.hint) for fault in found.faults]
            raise Invalid(f"This is no mask of sample {row['name']!r}.", faults)
        mask = checked[row["name"]]
        source = Unpacking(archive, limits, media, ImportOptions())
        stored = source.unpacked(mask.member, mask.sha256, scratch, encoded=mask.encoded)
        store.put_file(keys.blob(dataset_id, mask.sha256), stored, mask.media_type)
    return mask


def store_new_mask(
    store: ObjectStore, limits: ImportLimits, row: Sample, version: DatasetVersion, content: bytes
) -> str:
    """Store a mask that is to take a label's place; returns its sha256.

    Args:
        store: of the service.
        limits: what is accepted.
        row: the sample.
        version: that it is of.
        content: the file.

    Raises:
        Invalid: it is no mask of this sample, or the one that is there.
    """
    plain = {column.name: getattr(row, column.name) for column in Sample.__table__.columns}
    mask = store_mask(store, limits, plain, row.dataset_id, version.mask_values, content)
    if mask.sha256 == row.mask_sha256:
        fault = FieldError(field="mask", reason="is the label that is there", hint="accept the label instead")
        raise Invalid("This changes nothing.", [fault])
    return mask.sha256


def store_prediction(
    store: ObjectStore, limits: ImportLimits, row: Sample, version: DatasetVersion, job_id: str, ordinal: int
) -> str:
    """As `store_new_mask`, of a job's prediction of this sample, which has the number `ordinal` in that job."""
    media = Media.IMAGE if row.depth is None else Media.VOLUME
    prediction = read_prediction(store, row, job_id, ordinal)
    return store_new_mask(store, limits, row, version, prediction_as_mask(prediction, version.mask_values, media))


def read_prediction(store: ObjectStore, row: Sample, job_id: str, ordinal: int) -> bytes:
    """The file of a job's prediction of a sample, in numbers of classes; raises `Invalid`: it is not there."""
    try:
        return store.get(keys.prediction(job_id, ordinal, "png" if row.depth is None else "nii.gz"))
    except ObjectMissing as error:
        fault = FieldError(field="job_id", reason=f"{job_id} has no prediction of it", hint="it has once it succeeded")
        raise Invalid("The prediction is not there.", [fault]) from error


def packed(masks: Iterable[tuple[str, bytes]], media: Media) -> tempfile.SpooledTemporaryFile[bytes]:
    """Masks by the names of their samples, as the archive that a correction takes."""
    file: tempfile.SpooledTemporaryFile[bytes] = tempfile.SpooledTemporaryFile(max_size=8 << 20)  # noqa: SIM115
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in masks:
            ending = next((end for mark, end in ENDINGS.items() if content.startswith(mark)), OTHERS[media])
            archive.writestr(f"masks/{name}{ending}", content)
    file.seek(0)
    return file


def prediction_as_mask(prediction: bytes, mask_values: list[int], media: Media) -> bytes:
    """A prediction, which has class indices, as a mask with the dataset's own values: PNG, or .nii.gz."""
    values = np.array(mask_values)
    if media is Media.IMAGE:
        sink = io.BytesIO()
        classes = imaging.decode_mask(io.BytesIO(prediction))
        Image.fromarray(values[classes].astype(np.uint8)).save(sink, "PNG")
        return sink.getvalue()
    import nibabel as nib  # noqa: PLC0415 - loads SciPy; most of what imports this never sees a volume

    image = nib.Nifti1Image.from_bytes(gzip.decompress(prediction))
    small = values.max() < 256
    mask: NDArray[Any] = values[np.asanyarray(image.dataobj).astype(int)].astype(np.uint8 if small else np.uint16)
    header = image.header.copy()
    header.set_data_dtype(mask.dtype)
    header.set_slope_inter(1, 0)
    return gzip.compress(nib.Nifti1Image(mask, image.affine, header).to_bytes(), compresslevel=1, mtime=0)
