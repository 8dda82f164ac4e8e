from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.jobs import memory
from service.jobs.capacity import Resources
from service.jobs.memory import Footprint, estimate
from service.jobs.suggestions import Shape, batch_size, size, workers
from tests.unit.service.fake_ray import FakeRay
from workers.contract.request import JobSpec

MIB = 2**20
FOUND = Footprint(parameters=4 * MIB, buffers=MIB, activations=20 * MIB, once=0, map=MIB)


def job(**spec: object) -> JobSpec:
    return JobSpec.model_validate({"dataset_id": "ds-1", **spec})


def test_sizes_are_those_of_the_median_sample() -> None:
    images = [Shape((300, 200), 5), Shape((640, 480), 3), Shape((100, 90), 3)]
    assert (size(images, 2).field, size(images, 2).value) == ("image_size", 304)
    assert "300 pixels in the median" in size(images, 2).reason
    assert size([Shape((1920, 1080), 1)], 2).value == 512
    assert size([Shape((5, 4), 1)], 2).value == 16
    volumes = [Shape((36, 50, 40), 9), Shape((90, 90, 90), 1)]
    assert (size(volumes, 3).field, size(volumes, 3).value) == ("patch_size", 32)
    assert size([Shape((512, 512, 400), 1)], 3).value == 128


def test_workers_are_as_many_as_there_is_room_and_work_for() -> None:
    assert workers(job(), Resources(8, 0)).value == 8
    assert workers(job(batch_size=3), Resources(8, 0)).value == 3
    assert workers(job(gpus_per_worker=1), Resources(8, 2)).value == 2


def test_memory_follows_rows_precision_and_shares() -> None:
    whole = estimate(job(batch_size=16), FOUND, 2)
    assert (whole.weights, whole.gradients, whole.optimizer, whole.teacher) == (5 * MIB, 4 * MIB, 8 * MIB, 5 * MIB)
    assert whole.activations == 2 * 16 * (20 + 6) * MIB
    for spec, rows in (({"workers": 4}, 4), ({"workers": 3}, 6), ({"accumulation": 5}, 4)):
        assert estimate(job(batch_size=16, **spec), FOUND, 2).activations == 2 * rows * 26 * MIB
    assert estimate(job(batch_size=1, precision="bfloat16"), FOUND, 2).activations == 2 * 16 * MIB
    assert estimate(job(batch_size=1, method={"name": "dale", "stability": 1}), FOUND, 3).activations == 2 * 28.5 * MIB
    assert estimate(job(batch_size=4, workers=4, sharding="full"), FOUND, 2).optimizer == 2 * MIB


def test_a_batch_is_as_large_as_fits() -> None:
    def fitting(memory_bytes: int, **spec: object) -> int:
        suggestion = batch_size(job(**spec), FOUND, 2, memory_bytes, 8)
        needed = estimate(job(**spec, batch_size=suggestion.value), FOUND, 2).total
        assert ("does not fit" in suggestion.reason) == (needed > 0.8 * memory_bytes / job(**spec).workers)
        return suggestion.value

    assert fitting(64 * 2**30) == 16  # the contract's: more is a matter of learning, not of memory
    assert fitting(1200 * MIB) == 4
    assert fitting(100 * MIB) == 1
    assert fitting(8000 * MIB, workers=4) == 16
    assert fitting(100 * MIB, workers=4) == 4


@pytest.fixture
def counted(context: Context, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A service that can build networks; the sizes that it asked for."""
    asked: list[tuple[int, ...]] = []

    def footprints(
        spec: JobSpec, sizes: tuple[int, ...], classes: int, channels: int, dims: int
    ) -> list[Footprint | None]:
        asked.append(sizes)
        return [replace(FOUND, activations=edge * MIB) if edge <= 256 else None for edge in sizes]

    monkeypatch.setattr(memory, "footprints", footprints)
    object.__setattr__(context.settings, "network_check", True)
    return asked


def test_a_dry_run_suggests_what_was_left_out_and_the_job_keeps_its_defaults(
    client: TestClient, add_dataset: Callable[..., str], ray: FakeRay, counted: list[tuple[int, ...]]
) -> None:
    ray.machines = {"a": 3 * 2**30, "b": 2**30}
    dataset_id = add_dataset()  # of 64 x 48 pixels

    def plan(**spec: object) -> dict[str, object]:
        answer = client.post("/v1/jobs", params={"dry_run": True}, json={"dataset_id": dataset_id, **spec})
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = plan()
    assert {one["field"]: one["value"] for one in found["suggested"]} == {
        "image_size": 64,
        "workers": 4,
        "batch_size": 4,  # with 4 workers on the larger machine, each has 614 MiB: nothing fits
    }
    assert all(len(one["reason"]) > 20 for one in found["suggested"])
    assert counted[-1] == (128, 64)
    assert found["spec"]["image_size"] == 128
    assert found["memory"]["total"] == sum(value for name, value in found["memory"].items() if name != "total")
    assert found["memory"]["activations"] == 2 * 16 * (128 + 6) * MIB
    assert re.search(r"about 4\.8 GiB .* no machine .* more than 3\.0 GiB", found["warnings"][0])
    assert plan(batch_size=8)["warnings"] == []
    assert [one["field"] for one in plan(image_size=64, workers=2, batch_size=2)["suggested"]] == []
    assert client.get("/v1/jobs").json()["jobs"] == []
    assert client.post("/v1/jobs", json={"dataset_id": dataset_id}).json()["spec"] == found["spec"]


def test_where_nothing_can_be_built_memory_is_unknown(client: TestClient, add_dataset: Callable[..., str]) -> None:
    answer = client.post("/v1/jobs", params={"dry_run": True}, json={"dataset_id": add_dataset()}).json()
    assert (answer["memory"], answer["warnings"]) == (None, [])
    assert [one["field"] for one in answer["suggested"]] == ["image_size"]


def test_the_process_that_counts_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job(network={"name": "UNet", "arguments": {"channels": [2, 4], "strides": [2]}})
    found = memory.footprints(spec, (32, 33), 2, 3, 2)
    assert found is not None and found[0] is not None and found[1] is None  # 33 pixels cannot be halved and doubled
    monkeypatch.setattr(memory.subprocess, "run", None)
    assert memory.footprints(spec, (32, 33), 2, 3, 2) == found
