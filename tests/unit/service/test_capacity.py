from __future__ import annotations

from service.jobs.capacity import NOTHING, Capacity, Resources, Waiting, needs, never_fits, plan

TWO_CPUS = Capacity(total=Resources(2, 0), used=NOTHING)


def test_a_job_takes_a_cpu_and_its_gpus_for_each_worker() -> None:
    assert needs(3, 1) == Resources(3, 3)
    assert needs(2, 0) == Resources(2, 0)


def test_what_is_free_goes_to_the_oldest() -> None:
    queue = [Waiting("a", needs(1, 0)), Waiting("b", needs(1, 0)), Waiting("c", needs(1, 0))]
    assert plan(queue, TWO_CPUS, NOTHING) == {"a": "", "b": "", "c": "1 CPU (0 free of 2)"}


def test_a_large_job_is_not_overtaken_by_small_ones() -> None:
    queue = [Waiting("large", needs(2, 0)), Waiting("small", needs(1, 0))]
    assert plan(queue, TWO_CPUS, Resources(1, 0)) == {"large": "2 CPUs (1 free of 2)", "small": "1 CPU (0 free of 2)"}


def test_a_job_that_needs_other_resources_goes_ahead() -> None:
    cluster = Capacity(total=Resources(8, 1), used=NOTHING)
    queue = [Waiting("gpu", needs(1, 1)), Waiting("cpu", needs(4, 0))]
    assert plan(queue, cluster, Resources(1, 1)) == {"gpu": "1 GPU (0 free of 1)", "cpu": ""}


def test_what_ray_counts_and_what_we_started_are_not_added_up() -> None:
    # Ray lags behind: it may or may not count a job that we have just started.
    for used in (Resources(0, 0), Resources(1, 0)):
        capacity = Capacity(total=Resources(2, 0), used=used)
        assert plan([Waiting("a", needs(1, 0))], capacity, Resources(1, 0)) == {"a": ""}


def test_others_on_the_cluster_are_respected() -> None:
    capacity = Capacity(total=Resources(2, 0), used=Resources(2, 0))
    assert plan([Waiting("a", needs(1, 0))], capacity, NOTHING) == {"a": "1 CPU (0 free of 2)"}


def test_what_can_never_fit_is_said() -> None:
    assert never_fits(needs(2, 0), Resources(2, 0)) == ""
    assert never_fits(needs(3, 0), Resources(2, 0)) == "the job needs 3 CPUs, the cluster has 2"
    assert never_fits(needs(1, 1), Resources(2, 0)) == "the job needs 1 GPU, the cluster has 0"
