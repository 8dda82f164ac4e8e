"""Checkpoints in a store: whole or not used, few, and readable by another number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dale
from workers import checkpoint
from workers.checkpoint import Checkpoints
from workers.contract import keys
from workers.contract.request import CheckpointManifest, JobSpec, TrainRequest
from workers.contract.store import ObjectStore, StoreUnavailable, open_store
from workers.gathered import Gathered
from workers.run import Run

JOB, SAMPLES = "job-1", 7


class Weights:
    """A learner reduced to what a checkpoint asks of it."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = torch.tensor(value)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.value = state["value"]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def run_of(store: ObjectStore, rank: int = 0, world_size: int = 1) -> Run:
    request = TrainRequest(job_id=JOB, spec=JobSpec(dataset_id="ds-1"))
    return Run(request, 1, store, rank, world_size, torch.device("cpu"))


def state_of(done: int, rank: int = 0, world_size: int = 1) -> dale.ConfidenceState:
    """Confidences from which the epoch and the sample can be told."""
    state = dale.ConfidenceState(SAMPLES, rank, world_size)
    state.confidence = done + state.ordinals / 100
    return state


@pytest.fixture
def three(store: ObjectStore) -> Iterator[Checkpoints]:
    """Checkpoints after 2, 4 and 6 epochs, written one after the other."""
    checkpoints = Checkpoints(run_of(store), 1)
    for done in (2, 4, 6):
        checkpoints.begin(Weights(float(done)), state_of(done), done, Gathered())  # type: ignore[arg-type]
        assert not checkpoints.idle
        checkpoints.commit(wait=True)
        assert checkpoints.idle
    yield checkpoints


def restore(store: ObjectStore, first_missing: int = 100) -> tuple[int, float, list[float]]:
    learner, state = Weights(-1), dale.ConfidenceState(SAMPLES)
    done, _ = Checkpoints(run_of(store), 1).restore(learner, state, first_missing)  # type: ignore[arg-type]
    return done, float(learner.value), state.confidence.tolist()


def numbers(store: ObjectStore) -> set[str]:
    prefix = keys.checkpoints(JOB)
    return {key.removeprefix(prefix).split("/")[0] for key in store.list(prefix)}


def test_the_newest_is_taken_up_and_few_are_kept(store: ObjectStore, three: Checkpoints) -> None:
    assert numbers(store) == {"4", "6"}
    done, weights, confidence = restore(store)
    assert (done, weights) == (6, 6.0)
    assert confidence == pytest.approx([6 + ordinal / 100 for ordinal in range(SAMPLES)])


def test_a_run_without_checkpoints_starts_at_the_beginning(store: ObjectStore) -> None:
    assert restore(store) == (0, -1.0, [1.0] * SAMPLES)


@pytest.mark.parametrize("name", [checkpoint.TRAINING, "confidence-0-of-1.pt", keys.MANIFEST])
@pytest.mark.parametrize("harm", ["truncated", "another byte", "missing"])
def test_a_damaged_one_is_not_guessed_at(store: ObjectStore, three: Checkpoints, name: str, harm: str) -> None:
    key = keys.checkpoint(JOB, 6, name)
    data = store.get(key)
    if harm == "missing":
        store.delete(key)
    else:
        store.put(key, data[: len(data) // 2] if harm == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    assert restore(store)[:2] == (4, 4.0)
    assert numbers(store) == {"4"}, "what cannot be used is removed"


def test_one_of_which_a_shard_was_never_written_is_refused(store: ObjectStore, three: Checkpoints) -> None:
    key = keys.checkpoint(JOB, 6, keys.MANIFEST)
    manifest = CheckpointManifest.model_validate_json(store.get(key))
    store.put(key, manifest.model_copy(update={"world_size": 2}).model_dump_json().encode())
    assert restore(store)[0] == 4


def test_one_of_a_version_that_knew_less_is_passed_over(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    state = dale.ConfidenceState(SAMPLES)
    rows = {name: values for name, values in state.state_dict().items() if name != "worst"}
    monkeypatch.setattr(state, "state_dict", lambda: rows)
    checkpoints = Checkpoints(run_of(store), 1)
    checkpoints.begin(Weights(2.0), state, 2, Gathered())  # type: ignore[arg-type]
    checkpoints.commit(wait=True)
    assert restore(store)[:2] == (0, -1.0)
    assert numbers(store) == set()


def test_one_without_its_manifest_does_not_exist(store: ObjectStore, three: Checkpoints) -> None:
    """As after a kill in the middle of writing."""
    store.put(keys.checkpoint(JOB, 8, checkpoint.TRAINING), b"half")
    assert restore(store)[0] == 6
    assert numbers(store) == {"6"}


def test_an_epoch_that_is_missing_is_done_again(store: ObjectStore, three: Checkpoints) -> None:
    assert restore(store, first_missing=5)[0] == 4
    assert restore(store, first_missing=3)[0] == 0
    assert numbers(store) == set()


@pytest.mark.parametrize("world_size", [2, 3])
def test_another_number_of_ranks_shares_the_rows_anew(store: ObjectStore, three: Checkpoints, world_size: int) -> None:
    for rank in range(world_size):
        state = dale.ConfidenceState(SAMPLES, rank, world_size)
        checkpoints = Checkpoints(run_of(store, rank, world_size), 1)
        checkpoints._prune = lambda keep: None  # type: ignore[method-assign]
        # No process group: the ranks come one after the other, and the list is that of rank 0.
        checkpoints._numbers = lambda: [6]  # type: ignore[method-assign]
        saved, rows, _ = checkpoints._read(6)
        state.load(rows)
        assert float(saved["value"]) == 6
        assert [len(row["ordinals"]) for row in rows] == [len(state.ordinals)]  # foreign rows are not kept
        torch.testing.assert_close(state.confidence, 6 + torch.arange(rank, SAMPLES, world_size) / 100)


def test_a_checkpoint_that_cannot_be_written_ends_the_attempt(store: ObjectStore) -> None:
    class Broken:
        def put(self, *_: object) -> None:
            raise StoreUnavailable("gone")

    checkpoints = Checkpoints(run_of(Broken()), 1)  # type: ignore[arg-type]
    checkpoints.begin(Weights(), state_of(1), 1, Gathered())  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="gone"):
        checkpoints.commit(wait=True)


def test_the_state_is_that_of_the_moment(store: ObjectStore) -> None:
    """Training goes on while the files go up."""
    checkpoints, learner, state = Checkpoints(run_of(store), 1), Weights(1.0), state_of(1)
    checkpoints.begin(learner, state, 1, Gathered())  # type: ignore[arg-type]
    learner.value += 1
    state.confidence += 1
    checkpoints.commit(wait=True)
    assert restore(store)[1:] == (1.0, pytest.approx([1 + ordinal / 100 for ordinal in range(SAMPLES)]))


def test_the_middle_of_an_epoch_is_kept_with_what_it_has_told(store: ObjectStore) -> None:
    """Two ranks were at work; one goes on."""
    parts = []
    for rank in range(2):
        told = Gathered(
            3, [torch.tensor([rank, rank + 2])], [torch.full((2, 5), float(rank))], torch.tensor([rank + 1.0])
        )
        checkpoints = Checkpoints(run_of(store, rank, 2), 10)
        checkpoints.begin(Weights(5.0), state_of(5, rank, 2), 5, told)  # type: ignore[arg-type]
        assert checkpoints._upload is not None
        parts += checkpoints._upload.files.result()
    manifest = CheckpointManifest(job_id=JOB, attempt=1, epochs_done=5, steps=3, world_size=2, files=parts)
    store.put(keys.checkpoint(JOB, 53, keys.MANIFEST), manifest.model_dump_json().encode())
    learner, state = Weights(-1), dale.ConfidenceState(SAMPLES)
    done, gathered = Checkpoints(run_of(store), 10).restore(learner, state, 5)  # type: ignore[arg-type]
    ordinals, values = gathered.evidence
    assert (done, gathered.steps, float(gathered.loss), float(learner.value)) == (5, 3, 3.0, 5.0)
    assert dict(zip(ordinals.tolist(), values[:, 0].tolist(), strict=True)) == {0: 0, 2: 0, 1: 1, 3: 1}
    assert Checkpoints(run_of(store), 10).restore(learner, state, 4)[0] == 0  # epoch 4 must be done again
