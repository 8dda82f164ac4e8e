"""File formats of other tools, read into what the checks of a dataset work on: COCO, DICOM, MetaImage, NIfTI."""
