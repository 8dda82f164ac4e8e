"""What comes with a dataset."""

from __future__ import annotations

from service.datasets.options import ImportOptions
from service.resources.fields import Name


class UploadFields(ImportOptions):
    """The fields beside the file."""

    name: Name
