# Made from asynchronous/reviews.py by `make client`: change that.
"""What the client does with reviews: decide about labels, and make the next version of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.axes import Axis
from service.client.connection import Connection
from service.client.errors import check, reaching
from service.client.jobs import TRAIN_TIMEOUT
from service.client.wire import given, idempotency, part
from service.resources.agreement import AgreementList, AgreementResource
from service.resources.datasets import Split
from service.resources.deciding import ReviewResource
from service.resources.finishing import Finished
from service.resources.other_masks import Annotations
from service.resources.reviews import ReviewDetail, ReviewPage
from service.reviews.decisions import Decision, MaskKind, PaintBase
from service.reviews.painted import Painted


class Reviews(Connection):
    """Decide, undo, compare, finish.

    Whoever changes a review says which `revision` of it was seen (0: nobody had decided); a `Refused` of status 412
    says that somebody has changed it meanwhile.
    """

    def reviews(
        self,
        dataset_id: str,
        version: int,
        *,
        decision: Decision | None = None,
        split: Split | None = None,
    ) -> Iterator[ReviewResource]:
        """What is decided of a version's labels, or of one split of them, in the order of the samples' names."""
        url = f"{_version(dataset_id, version)}/reviews"
        return self._pages(ReviewPage, url, {"decision": decision, "split": split}, lambda page: page.reviews)

    def review(self, dataset_id: str, version: int, sample: str) -> ReviewDetail:
        """What is decided of one label, with how that came about."""
        return self._get(ReviewDetail, _review(dataset_id, version, sample))

    def decide(
        self,
        dataset_id: str,
        version: int,
        sample: str,
        decision: Decision,
        *,
        revision: int,
        note: str = "",
        job_id: str | None = None,
    ) -> ReviewResource:
        """Decide about a label; to correct it by a job's prediction, name the job."""
        body = given({"decision": decision, "note": note, "job_id": job_id})
        response = self._send("PUT", _review(dataset_id, version, sample), body, _seen(revision))
        return ReviewResource.model_validate_json(response.content)

    def correct_label(
        self, dataset_id: str, version: int, sample: str, mask: Path, *, revision: int, note: str = ""
    ) -> ReviewResource:
        """Correct a label by a mask in a file."""
        url = f"{_review(dataset_id, version, sample)}/mask"
        with reaching(self.url):
            headers = {**_seen(revision), "Content-Type": "application/octet-stream"}
            response = self._http.put(url, content=mask.read_bytes(), params={"note": note}, headers=headers)
        return ReviewResource.model_validate_json(check(response).content)

    def paint_label(
        self,
        dataset_id: str,
        version: int,
        sample: str,
        slices: Sequence[Painted],
        *,
        revision: int,
        base: PaintBase = PaintBase.LABEL,
        job_id: str | None = None,
        note: str = "",
    ) -> ReviewResource:
        """Correct the label of a volume by slices that take the place of the base's; all of them, or none.

        With `PaintBase.PREDICTION` name the job; `mask_slice` gives a slice in the form that is painted on.
        """
        sent = [{"axis": one.axis, "slice": one.number, "png": base64.b64encode(one.png).decode()} for one in slices]
        body = given({"base": base, "job_id": job_id, "slices": sent, "note": note})
        response = self._send("PUT", f"{_review(dataset_id, version, sample)}/slices", body, _seen(revision))
        return ReviewResource.model_validate_json(response.content)

    def mask_slice(self, job_id: str, sample: str, kind: MaskKind, axis: Axis, number: int) -> bytes:
        """A slice of a volume's mask as a PNG of class numbers: of the label, the job's prediction, the correction."""
        url = f"/v1/jobs/{part(job_id)}/samples/{part(sample)}/masks/{kind}"
        return self._send("GET", url, parameters={"axis": axis, "slice": number}).content

    def undo(self, dataset_id: str, version: int, sample: str, *, revision: int) -> ReviewResource:
        """Go back to what was decided of a label before."""
        url = f"{_review(dataset_id, version, sample)}:undo"
        with reaching(self.url):  # sent once: a second undo would undo more
            response = self._http.post(url, headers=_seen(revision))
        return ReviewResource.model_validate_json(check(response).content)

    def agreement(self, dataset_id: str, version: int) -> list[AgreementResource]:
        """How far people agree about the same labels, two by two."""
        return self._get(AgreementList, f"{_version(dataset_id, version)}/reviews/agreement").agreements

    def annotations(self, dataset_id: str, version: int, sample: str) -> Annotations:
        """Other annotators' masks of a sample's image, and how far each agrees with it."""
        return self._get(Annotations, f"{_version(dataset_id, version)}/samples/{part(sample)}/annotations")

    def finish(self, dataset_id: str, version: int, *, again: str | None = None) -> Finished:
        """Make the next version of what was decided, and train on it as the job `again` did."""
        url = f"{_version(dataset_id, version)}/reviews:finish"
        response = self._send("POST", url, given({"again": again}), idempotency(), timeout=TRAIN_TIMEOUT)
        return Finished.model_validate_json(response.content)


def _version(dataset_id: str, version: int) -> str:
    return f"/v1/datasets/{part(dataset_id)}/versions/{version}"


def _review(dataset_id: str, version: int, sample: str) -> str:
    return f"{_version(dataset_id, version)}/samples/{part(sample)}/review"


def _seen(revision: int) -> dict[str, str]:
    return {"If-Match": f'"{revision}"'}
