"""DICOM series and segmentations, written by pydicom and highdicom from arrays of a known place."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CT, MR, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
SECRETS = ("Doe^Jane", "4711-secret", "19650203", "Dr. Who")
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
OBLIQUE = tuple(float(f"{number:.9f}") for number in TURN[:, :2].T.ravel())
CODE = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")


@dataclass
class SeriesOf:
    """A series made from stored numbers, (slices, rows, columns)."""

    pixels: np.ndarray
    orientation: tuple[float, ...] = UPRIGHT
    spacing: tuple[float, float] = (0.5, 0.75)  # between rows, between columns
    distance: float = 2.5
    origin: tuple[float, ...] = (-120.5, 30.25, 410.0)
    slope: float | list[float] = 1
    intercept: float = -1024
    kind: str = CT
    changed: dict[int, dict[str, Any]] = field(default_factory=dict)  # by slice: tags with other values
    syntax: str = ExplicitVRLittleEndian
    uid: str = field(default_factory=generate_uid)
    study: str = field(default_factory=generate_uid)
    frame: str = field(default_factory=generate_uid)

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.orientation[:3], self.orientation[3:])

    def position(self, number: int) -> list[float]:
        return [float(f"{x:.6f}") for x in np.array(self.origin) + number * self.distance * self.normal]

    def datasets(self) -> list[Dataset]:
        return [self._slice(number) for number in range(len(self.pixels))]

    def files(self, folder: str, order: list[int] | None = None) -> dict[str, bytes]:
        """By path; the names tell nothing of the order."""
        slices = self.datasets()
        names = order or list(range(len(slices)))
        return {f"{folder}{names[number]:04d}": written(one) for number, one in enumerate(slices)}

    def _slice(self, number: int) -> Dataset:
        plane = self.pixels[number]
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = UID(self.syntax)
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = UID(self.kind)
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{self.uid[:50]}.{number + 1}"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.ReferringPhysicianName = SECRETS
        one.PatientSex, one.AccessionNumber, one.StudyID, one.StudyDate, one.StudyTime = (
            "O",
            "1",
            "1",
            "20200101",
            "1200",
        )
        one.Modality = {CT: "CT", MR: "MR", PET: "PT"}.get(self.kind, "OT")
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = self.study, self.uid, self.frame
        one.SeriesNumber, one.InstanceNumber = 1, 1000 - number
        one.Rows, one.Columns = plane.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 8 * plane.itemsize
        one.HighBit = one.BitsStored - 1
        one.PixelRepresentation = int(plane.dtype.kind == "i")
        one.RescaleSlope = self.slope[number] if isinstance(self.slope, list) else self.slope
        one.RescaleIntercept = self.intercept
        one.ImagePositionPatient = self.position(number)
        one.ImageOrientationPatient = list(self.orientation)
        one.PixelSpacing = list(self.spacing)
        one.SliceThickness = 99  # says nothing of the distance
        one.PixelData = plane.tobytes()
        for tag, value in self.changed.get(number, {}).items():
            if value is None:
                delattr(one, tag)
            else:
                setattr(one, tag, value)
        return one


def segmentation(
    series: SeriesOf,
    masks: dict[str, np.ndarray],
    kind: str = "BINARY",
    change: Any = lambda one: None,
    **options: Any,
) -> bytes:
    """A SEG of masks (slices, rows, columns), in the order of the dict."""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=CODE,
            segmented_property_type=CODE,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(masks, start=1)
    ]
    stacked = np.stack(list(masks.values()), axis=-1)
    one = hd.seg.Segmentation(
        source_images=series.datasets(),
        pixel_array=stacked,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=f"{series.uid[:50]}.900",
        series_number=2,
        sop_instance_uid=f"{series.uid[:50]}.901",
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    change(one)
    return written(one)


def written(one: Dataset) -> bytes:
    sink = io.BytesIO()
    one.save_as(sink, enforce_file_format=True)
    return sink.getvalue()
