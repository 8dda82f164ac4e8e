"""Failures in words that a person can act on."""

import pytest
from ray.train import WorkerGroupError

from workers.contract.prediction import PredictSpec
from workers.contract.request import JobSpec
from workers.contract.store import StoreUnavailable
from workers.data import SampleUnreadable
from workers.failures import describe
from workers.network import NetworkRefused
from workers.predicting.finish import ShardsMissing
from workers.predicting.model import ModelUnusable
from workers.warm_start import WarmStartRefused

SPEC = JobSpec(dataset_id="ds-1", batch_size=64)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            "out_of_memory",
            "out of memory at batch_size 64",
        ),
        (NetworkRefused("UNet cannot be built: no"), "network", "UNet cannot be built: no"),
        (SampleUnreadable("sample 'a' (number 3) cannot be read: x"), "data", "sample 'a'"),
        (WarmStartRefused("warm start: job job-1 has no model any more"), "data", "job-1 has no model"),
        (StoreUnavailable("the store at h:1 does not answer"), "store", "does not answer"),
        (ValueError("odd"), "internal", "ValueError: odd"),
    ],
)
def test_the_cause_is_named(error: Exception, kind: str, words: str) -> None:
    alone, on_worker = describe(error, SPEC), describe(WorkerGroupError("failed", {1: error}), SPEC)
    assert (alone.kind, on_worker.kind) == (kind, kind)
    assert words in alone.cause
    assert words in on_worker.cause


def test_an_unreadable_sample_is_named_with_its_dataset_version_whoever_fails_with_it() -> None:
    spec = JobSpec(dataset_id="ds-1", dataset_version=3)
    bad, left = SampleUnreadable("sample 'a' (number 3) cannot be read: x"), RuntimeError("Connection closed by peer")
    for failures in ({0: bad}, {0: left, 1: bad}, {0: left, 1: left, 2: bad}):
        failure = describe(WorkerGroupError("failed", failures), spec)
        assert failure.cause == "sample 'a' (number 3) cannot be read: x, in version 3 of dataset ds-1"
        assert (failure.kind, "--exclude" in failure.hint) == ("data", True)
        assert "SampleUnreadable" in failure.detail


def test_of_a_prediction_it_is_told_what_a_prediction_can_change() -> None:
    spec = PredictSpec(model_id="job-1", dataset_id="ds-1", batch_size=8)
    failure = describe(WorkerGroupError("failed", {0: MemoryError("out of memory")}), spec)
    assert (failure.kind, failure.cause) == ("out_of_memory", "worker 0: out of memory at batch_size 8")
    assert "batch_size 4" in failure.hint
    gone = describe(WorkerGroupError("failed", {0: ModelUnusable("job job-1 has no model any more")}), spec)
    assert (gone.kind, gone.cause) == ("data", "job job-1 has no model any more")
    assert describe(ShardsMissing("shard 3 of 9 was not written"), spec).kind == "store"


def test_out_of_memory_names_the_worker_and_the_batch_size_to_try() -> None:
    failure = describe(WorkerGroupError("failed", {1: MemoryError("out of memory")}), SPEC)
    assert failure.cause.startswith("worker 1: ")
    assert "batch_size 32" in failure.hint
