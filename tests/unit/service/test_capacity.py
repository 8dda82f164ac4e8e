from __future__ import annotations

from service.jobs.capacity import Resources, needs, never_fits
from workers.contract.request import JobSpec

TWO_CPUS = Resources(2, 0)


def of(workers: int, gpus_per_worker: int, total: Resources = TWO_CPUS, **spec: int) -> Resources:
    """What such a job takes."""
    given = {"workers": workers, "gpus_per_worker": gpus_per_worker, **spec}
    return needs(JobSpec.model_validate({"dataset_id": "ds-1", **given}), total)


def test_a_job_takes_a_cpu_and_its_gpus_for_each_worker() -> None:
    assert of(3, 1) == Resources(3, 3)
    assert of(2, 0) == Resources(2, 0)


def test_what_can_never_fit_is_said() -> None:
    assert never_fits(of(2, 0), Resources(2, 0)) == ""
    assert never_fits(of(3, 0), Resources(2, 0)) == "the job needs 3 CPUs, the cluster has 2"
    assert never_fits(of(1, 1), Resources(2, 0)) == "the job needs 1 GPU, the cluster has 0"


def test_a_job_that_accepts_fewer_workers_takes_what_there_is() -> None:
    assert of(8, 0, Resources(16, 0), min_workers=2) == Resources(8, 0)
    assert of(8, 0, Resources(5, 0), min_workers=2) == Resources(5, 0)
    assert of(8, 1, Resources(64, 3), min_workers=2) == Resources(3, 3)
    assert of(8, 0, Resources(1, 0), min_workers=2) == Resources(2, 0)  # which never fits
