"""Samples that are masks of one image, each by another annotator."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.tables import DatasetVersion, Sample


def of_same_image(session: Session, row: Sample, limit: int) -> Sequence[Sample]:
    """The other masks of a sample's image in its version, by the names of their annotators, at most `limit`.

    They are found by their names, `<image>@<annotator>`, which have an index; the image's hash has none.
    """
    if row.annotator is None or not row.name.endswith(f"@{row.annotator}"):
        return []
    version = session.get_one(DatasetVersion, (row.dataset_id, row.version))
    if version.agreement is None:
        return []
    image = row.name.removesuffix(row.annotator)
    people = [person["annotator"] for person in version.agreement["annotators"]]
    query = select(Sample).where(
        Sample.dataset_id == row.dataset_id,
        Sample.version == row.version,
        Sample.name.in_([image + person for person in people if person != row.annotator]),
        Sample.image_sha256 == row.image_sha256,
    )
    return session.scalars(query.order_by(Sample.name).limit(limit)).all()
