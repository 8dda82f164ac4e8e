from __future__ import annotations

from service.jobs.capacity import NOTHING, Capacity, Resources, Waiting, needs, never_fits, plan
from workers.contract.request import JobSpec

TWO_CPUS = Capacity(total=Resources(2, 0), used=NOTHING)


def of(workers: int, gpus_per_worker: int, total: Resources = TWO_CPUS.total, **spec: int) -> Resources:
    """What such a job takes."""
    given = {"workers": workers, "gpus_per_worker": gpus_per_worker, **spec}
    return needs(JobSpec.model_validate({"dataset_id": "ds-1", **given}), total)


def test_a_job_takes_a_cpu_and_its_gpus_for_each_worker() -> None:
    assert of(3, 1) == Resources(3, 3)
    assert of(2, 0) == Resources(2, 0)


def test_what_is_free_goes_to_the_oldest() -> None:
    queue = [Waiting("a", of(1, 0)), Waiting("b", of(1, 0)), Waiting("c", of(1, 0))]
    assert plan(queue, TWO_CPUS, NOTHING) == {"a": "", "b": "", "c": "1 CPU (0 free of 2)"}


def test_a_large_job_is_not_overtaken_by_small_ones() -> None:
    queue = [Waiting("large", of(2, 0)), Waiting("small", of(1, 0))]
    assert plan(queue, TWO_CPUS, Resources(1, 0)) == {"large": "2 CPUs (1 free of 2)", "small": "1 CPU (0 free of 2)"}


def test_a_job_that_needs_other_resources_goes_ahead() -> None:
    cluster = Capacity(total=Resources(8, 1), used=NOTHING)
    queue = [Waiting("gpu", of(1, 1)), Waiting("cpu", of(4, 0))]
    assert plan(queue, cluster, Resources(1, 1)) == {"gpu": "1 GPU (0 free of 1)", "cpu": ""}


def test_what_ray_counts_and_what_we_started_are_not_added_up() -> None:
    # Ray lags behind: it may or may not count a job that we have just started.
    for used in (Resources(0, 0), Resources(1, 0)):
        capacity = Capacity(total=Resources(2, 0), used=used)
        assert plan([Waiting("a", of(1, 0))], capacity, Resources(1, 0)) == {"a": ""}


def test_others_on_the_cluster_are_respected() -> None:
    capacity = Capacity(total=Resources(2, 0), used=Resources(2, 0))
    assert plan([Waiting("a", of(1, 0))], capacity, NOTHING) == {"a": "1 CPU (0 free of 2)"}


def test_what_can_never_fit_is_said() -> None:
    assert never_fits(of(2, 0), Resources(2, 0)) == ""
    assert never_fits(of(3, 0), Resources(2, 0)) == "the job needs 3 CPUs, the cluster has 2"
    assert never_fits(of(1, 1), Resources(2, 0)) == "the job needs 1 GPU, the cluster has 0"


def test_a_job_that_accepts_fewer_workers_takes_what_there_is() -> None:
    assert of(8, 0, Resources(16, 0), min_workers=2) == Resources(8, 0)
    assert of(8, 0, Resources(5, 0), min_workers=2) == Resources(5, 0)
    assert of(8, 1, Resources(64, 3), min_workers=2) == Resources(3, 3)
    assert of(8, 0, Resources(1, 0), min_workers=2) == Resources(2, 0)  # which never fits
