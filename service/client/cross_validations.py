# Made from asynchronous/cross_validations.py by `make client`: change that.
"""What the client does with cross-validations."""

from __future__ import annotations

from collections.abc import Iterator

from service.client.jobs import DELETE_TIMEOUT, TRAIN_TIMEOUT, Jobs
from service.client.wire import idempotency, part
from service.resources.cross_validations import (
    CrossValidation,
    CrossValidationMetrics,
    CrossValidationPage,
    OutOfFoldPage,
    OutOfFoldSample,
)
from workers.contract.evaluation import MetricName
from workers.contract.request import JobSpec

PATH = "/v1/cross-validations"


class CrossValidations(Jobs):
    """Train on all but one fold each time, and ask what all folds together say."""

    def cross_validate(
        self,
        spec: JobSpec,
        *,
        folds: int = 5,
        seed: int = 0,
        priority: int = 0,
        idempotency_key: str | None = None,
    ) -> CrossValidation:
        """Post a cross-validation: a job for each fold, which trains on the others and is tested on it.

        `exports` that were not given to `spec` are none. Sent again with the same key where the connection fails, so it
        starts once.
        """
        everything = spec.model_dump(mode="json")
        job = {name: everything[name] for name in spec.model_fields_set}
        body = {"job": job, "folds": folds, "seed": seed, "priority": priority}
        response = self._send("POST", PATH, body, idempotency(idempotency_key), timeout=TRAIN_TIMEOUT)
        return CrossValidation.model_validate_json(response.content)

    def cross_validation(self, cross_validation_id: str) -> CrossValidation:
        """A cross-validation with the state of each fold."""
        return self._get(CrossValidation, f"{PATH}/{part(cross_validation_id)}")

    def cross_validations(self, *, dataset: str | None = None, project: str | None = None) -> Iterator[CrossValidation]:
        """Cross-validations, newest first; of one `project`, for the operator."""
        asked = {"dataset": dataset, "project": project}
        return self._pages(CrossValidationPage, PATH, asked, lambda page: page.cross_validations)

    def cross_validated_metrics(self, cross_validation_id: str) -> CrossValidationMetrics:
        """Metrics over all folds whose jobs have succeeded, with intervals, and which have not."""
        return self._get(CrossValidationMetrics, f"{PATH}/{part(cross_validation_id)}/metrics")

    def cross_validated_metrics_svg(self, cross_validation_id: str) -> str:
        """The same as a picture."""
        return self._send("GET", f"{PATH}/{part(cross_validation_id)}/metrics.svg").text

    def out_of_fold(
        self,
        cross_validation_id: str,
        *,
        order_by: MetricName = "dice",
        fold: int | None = None,
        name: str | None = None,
    ) -> Iterator[OutOfFoldSample]:
        """Each sample by the network that has not seen it, the worst by a metric first."""
        asked = {"order_by": order_by, "fold": fold, "name": name}
        url = f"{PATH}/{part(cross_validation_id)}/samples"
        return self._pages(OutOfFoldPage, url, asked, lambda page: page.samples)

    def cancel_cross_validation(self, cross_validation_id: str) -> CrossValidation:
        """End all of its jobs that are not over."""
        response = self._send("POST", f"{PATH}/{part(cross_validation_id)}:cancel")
        return CrossValidation.model_validate_json(response.content)

    def delete_cross_validation(self, cross_validation_id: str) -> None:
        """Remove one that is over, with its jobs, their models and the versions of its folds."""
        self._send("DELETE", f"{PATH}/{part(cross_validation_id)}", timeout=DELETE_TIMEOUT)

    def wait_for_cross_validation(self, cross_validation_id: str) -> CrossValidation:
        """Wait until all of its jobs are over; the answer tells how they ended."""
        for one in self.cross_validation(cross_validation_id).folds:
            if one.job_id is not None:
                self.wait(one.job_id)
        return self.cross_validation(cross_validation_id)
