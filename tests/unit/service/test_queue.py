from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.capacity import NOTHING, Capacity, Resources
from service.jobs.queue import Entry, enqueue, plan

TWO_CPUS = Capacity(total=Resources(2, 0), used=NOTHING)


def cpus(job_id: str, count: int, project: str = "a", priority: int = 0) -> Entry:
    return Entry(job_id, Resources(count, 0), project, priority)


def cluster(cpus: int, gpus: int = 0) -> Capacity:
    return Capacity(total=Resources(cpus, gpus), used=NOTHING)


def test_what_is_free_goes_to_the_first() -> None:
    queue = [cpus("a", 1), cpus("b", 1), cpus("c", 1)]
    assert plan(queue, TWO_CPUS, []) == {"a": "", "b": "", "c": "1 CPU (0 free of 2)"}


def test_a_large_job_is_not_overtaken_by_small_ones() -> None:
    queue = [cpus("large", 2), cpus("small", 1)]
    assert plan(queue, TWO_CPUS, [cpus("before", 1)]) == {
        "large": "2 CPUs (1 free of 2)",
        "small": "1 CPU (0 free of 2), behind large",
    }


def test_a_job_that_needs_other_resources_goes_ahead() -> None:
    queue = [Entry("gpu", Resources(1, 1)), Entry("cpu", Resources(4, 0))]
    assert plan(queue, cluster(8, 1), [Entry("before", Resources(1, 1))]) == {"gpu": "1 GPU (0 free of 1)", "cpu": ""}


def test_what_ray_counts_and_what_we_started_are_not_added_up() -> None:
    # Ray lags behind: it may or may not count a job that we have just started.
    for used in (Resources(0, 0), Resources(1, 0)):
        capacity = Capacity(total=Resources(2, 0), used=used)
        assert plan([cpus("a", 1)], capacity, [cpus("before", 1)]) == {"a": ""}


def test_others_on_the_cluster_are_respected() -> None:
    capacity = Capacity(total=Resources(2, 0), used=Resources(2, 0))
    assert plan([cpus("a", 1)], capacity, []) == {"a": "1 CPU (0 free of 2)"}


def test_a_job_waits_behind_one_of_higher_priority_which_is_named_to_its_own_project_only() -> None:
    queue = [cpus("x", 4, priority=1), cpus("own", 2), cpus("foreign", 2, project="b")]
    waiting = plan(queue, cluster(4), [cpus("before", 3)])
    assert waiting["own"] == "2 CPUs (0 free of 4), behind x of higher priority"
    assert waiting["foreign"] == "2 CPUs (0 free of 4), behind a job of another project of higher priority"


def test_a_limit_says_who_has_the_places_and_holds_nothing_back_from_others() -> None:
    queue = [cpus("held", 4), cpus("other", 4, project="b")]
    waiting = plan(queue, cluster(8), [cpus("one", 1), cpus("two", 1)], {"a": 2})
    assert waiting == {"held": "its project's limit of 2 running jobs: one and two run", "other": ""}
    assert plan([cpus("held", 1)], cluster(8), [cpus("one", 1)], {"a": 1})["held"] == (
        "its project's limit of 1 running job: one runs"
    )
    assert plan([cpus("held", 1)], cluster(8), [], {"a": 0})["held"] == "its project's limit of 0 running jobs"
    five = [cpus(str(number), 1) for number in range(5)]
    assert "0, 1, 2 and 2 more run" in plan([cpus("held", 1)], cluster(8), five, {"a": 2})["held"]


def test_a_job_ahead_that_waits_for_room_keeps_its_place_under_the_limit() -> None:
    queue = [Entry("gpu", Resources(1, 1), "a", 1), cpus("cpu", 1)]
    waiting = plan(queue, cluster(8, 1), [Entry("before", Resources(1, 1), "b")], {"a": 1})
    assert waiting == {"gpu": "1 GPU (0 free of 1)", "cpu": "its project's limit of 1 running job: gpu is ahead"}


def test_a_new_job_queues_up_behind_its_equals() -> None:
    queue = [cpus("high", 1, priority=5), cpus("first", 1), cpus("low", 1, priority=-3)]
    for priority, place in ((6, 0), (5, 1), (0, 2), (-1, 2), (-3, 3), (-9, 3)):
        assert enqueue(queue, cpus("new", 1, priority=priority))[place].job_id == "new"


entries = st.builds(
    lambda cpus, gpus, project, priority: (Resources(cpus, gpus), project, priority),
    st.integers(0, 6),
    st.integers(0, 2),
    st.sampled_from("abc"),
    st.integers(-2, 2),
)


@given(
    queued=st.lists(entries, max_size=8),
    running=st.lists(entries, max_size=4),
    total=st.builds(Resources, st.integers(0, 12), st.integers(0, 4)),
    used=st.builds(Resources, st.integers(0, 12), st.integers(0, 4)),
    limits=st.dictionaries(st.sampled_from("abc"), st.integers(0, 4)),
)
def test_whatever_waits_nothing_is_exceeded_and_nobody_is_robbed(
    queued: list[tuple[Resources, str, int]],
    running: list[tuple[Resources, str, int]],
    total: Resources,
    used: Resources,
    limits: dict[str, int],
) -> None:
    started = [Entry(f"run-{number}", *job) for number, job in enumerate(running)]
    queue: list[Entry] = []
    for number, job in enumerate(queued):
        queue = enqueue(queue, Entry(f"job-{number}", *job))
    waiting = plan(queue, Capacity(total, used), started, limits)
    assert list(waiting) == [job.job_id for job in queue]
    starts = [job for job in queue if not waiting[job.job_id]]
    before = sum((job.need for job in started), NOTHING).at_least(used)
    after = sum((job.need for job in starts), before)
    for kind in ("cpus", "gpus"):  # what others took is theirs; we add nothing that is not there
        assert getattr(after, kind) <= max(getattr(total, kind), getattr(before, kind))
    for project, limit in limits.items():
        ours = [sum(job.project_id == project for job in some) for some in (started, starts)]
        assert sum(ours) <= max(limit, ours[0])
    for place, job in enumerate(queue):
        ahead = [other for other in queue[:place] if waiting[other.job_id]]
        if waiting[job.job_id] or not ahead:
            continue
        # It starts although others wait ahead: by what each of them needs, it is none the worse for it.
        for other in ahead:
            if "limit" in waiting[other.job_id]:
                assert other.project_id != job.project_id or limits[other.project_id] == 0
                continue
            earlier = sum((one.need for one in queue[:place] if not waiting[one.job_id]), before)
            kept = sum((one.need for one in ahead if "limit" not in waiting[one.job_id]), NOTHING)
            for kind in ("cpus", "gpus"):
                need = getattr(job.need, kind)
                assert not need or getattr(earlier + kept, kind) + need <= getattr(total, kind)
