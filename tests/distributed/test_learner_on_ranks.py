"""The learner on two ranks, whatever it shares out: what one alone computes, and a state that any other takes up."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tests.learning import SIZE, UNET, learn, learner_of
from tests.ranks import leave
from workers import sharding
from workers.learner import Learner
from workers.network import bare, build_network

NORM = {**UNET["arguments"], "norm": "batch"}  # type: ignore[dict-item]
ADVERSARIAL = {"name": "dale", "start": 0.0, "ramp": 0.0, "alignment": "adversarial"}
HALVES = {"name": "dale", "start": 0.0, "ramp": 0.0, "stability": 1.0}
EARLIER = learner_of(seed=5).final_weights()
CASES: dict[str, dict[str, Any]] = {
    "parts": {"accumulation": 3},
    "parts, batch normalisation": {"accumulation": 4, "network": {"name": "UNet", "arguments": NORM}},
    "sharded": {"sharding": "full"},
    "sharded, parts": {"sharding": "full", "accumulation": 2},
    "sharded, batch normalisation": {"sharding": "full", "network": {"name": "UNet", "arguments": NORM}},
    "sharded, two passes": {"sharding": "full", "method": HALVES},
    "sharded, plain": {"sharding": "full", "method": {"name": "plain"}},
    "warm": {"weights": EARLIER},
    "sharded, warm": {"sharding": "full", "weights": EARLIER},
    "sharded, bfloat16": {"sharding": "full", "precision": "bfloat16"},
}
IMAGES = torch.linspace(-2, 2, 2 * 3 * SIZE * SIZE).view(2, 3, SIZE, SIZE)


def answer(learner: Learner) -> Tensor:
    with torch.no_grad():
        found: Tensor = learner.final.eval()(IMAGES)
    return found


def run_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    sharding.UNIT = 200
    for name, options in CASES.items():
        learner = learner_of(rank, 2, **options)
        talks: list[int] = []
        if isinstance(learner.parallel, DistributedDataParallel):
            learner.parallel.register_comm_hook(talks, _counting)
        found: dict[str, Any] = {"rows": learn(learner), "talks": len(talks)}
        found["local"] = sum(_local(parameter) for parameter in learner.student.parameters())
        found["moments"] = sum(_local(state["exp_avg"]) for state in learner.optimizer.state.values())
        found["of teacher"] = sum(_local(parameter) for parameter in learner.teacher.parameters())
        found["state"] = learner.state_dict()
        found["weights"] = learner.final_weights()
        found["answer"] = answer(learner)  # of a copy: the other rank need not predict as often
        torch.save(found, folder / f"{name}-{rank}.pt")
        if name.startswith("sharded"):  # and taken up again, from a state that was not shared out
            again = learner_of(rank, 2, **options)
            again.load_state_dict(torch.load(folder.parent / f"{name}.pt"))
            torch.save(learn(again, 2), folder / f"{name}-again-{rank}.pt")
    # An alignment draws together what one rank sees: only as many ranks compare, sharded and not.
    aligned = [learner_of(rank, 2, method=ADVERSARIAL, sharding=how) for how in ("none", "full")]
    torch.save([learn(learner) for learner in aligned], folder / f"aligned-{rank}.pt")
    dist.barrier()
    leave()


def _counting(talks: list[int], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    talks.append(bucket.index())
    total = bucket.buffer() / 2
    return dist.all_reduce(total, async_op=True).get_future().then(lambda future: future.value()[0])


def _local(values: Tensor) -> int:
    return (values.to_local() if isinstance(values, DTensor) else values).numel()


def alone_with(options: dict[str, Any]) -> Learner:
    """On one rank, whole; but what normalises a part at a time needs the same parts."""
    without = {"sharding"} if options.get("network") else {"sharding", "accumulation"}
    return learner_of(**{key: value for key, value in options.items() if key not in without})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one rank computes, without shares and parts."""
    folder = tmp_path_factory.mktemp("alone")
    torch.set_num_threads(1)
    for name, options in CASES.items():
        learner = alone_with(options)
        rows = learn(learner)
        state = learner.state_dict()
        torch.save(state, folder / f"{name}.pt")
        torch.save({"rows": rows, "answer": answer(learner), "again": learn(learner, 2)}, folder / f"{name}-found.pt")
    return folder


@pytest.fixture(scope="module")
def together(alone: Path) -> Path:
    folder = alone / "ranks"
    folder.mkdir()
    multiprocessing.spawn(run_rank, (folder,), nprocs=2)
    return folder


def interleaved(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """The rows of two ranks in the order of the global batches: 7 rows, but 1 in every fourth step."""
    rows, places = [], [0, 0]
    for number in range(steps):
        for row in range(1 if number % 4 == 3 else 7):
            rank = row % 2
            rows.append((first, second)[rank][places[rank]])
            places[rank] += 1
    return torch.stack(rows)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_learn_what_one_learns_and_deliver_it(alone: Path, together: Path, name: str) -> None:
    expected = torch.load(alone / f"{name}-found.pt")
    first, second = (torch.load(together / f"{name}-{rank}.pt") for rank in range(2))
    tolerance = 0.05 if "bfloat16" in name else 1e-5
    rows = interleaved(first["rows"], second["rows"], 10)
    torch.testing.assert_close(rows, expected["rows"], rtol=0, atol=tolerance)
    torch.testing.assert_close(first["answer"], expected["answer"], rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(second["answer"], first["answer"], rtol=0, atol=0)
    assert first["weights"].keys() == second["weights"].keys()
    learner = alone_with(CASES[name])
    network = build_network("UNet", learner.arguments)
    network.load_state_dict(second["weights"])
    delivered = torch.load(alone / f"{name}.pt")
    learner.load_state_dict(delivered)
    for mine, theirs in zip(network.parameters(), bare(learner.final).parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("sharded")])
def test_shares_are_halves_and_their_states_are_whole(alone: Path, together: Path, name: str) -> None:
    first, second = (torch.load(together / f"{name}-{rank}.pt") for rank in range(2))
    learner = alone_with(CASES[name])
    count = sum(parameter.numel() for parameter in learner.student.parameters())
    for kind in ("local", "moments", "of teacher"):
        assert first[kind] + second[kind] == count
        assert first[kind] < 0.6 * count
    assert second["state"] == {}
    learner.load_state_dict(first["state"])  # without shares
    tolerance = 0.05 if "bfloat16" in name else 1e-5
    expected = torch.load(alone / f"{name}-found.pt")["again"]
    torch.testing.assert_close(learn(learner, 2), expected, rtol=0, atol=tolerance)
    again = interleaved(*(torch.load(together / f"{name}-again-{rank}.pt") for rank in range(2)), 2)
    torch.testing.assert_close(again, expected, rtol=0, atol=tolerance)


def test_ranks_talk_once_a_step_however_many_parts(together: Path) -> None:
    found = torch.load(together / "parts-0.pt")
    assert found["talks"] == 10  # one bucket


def test_a_sharded_discriminator_learns_what_a_copied_one_does(together: Path) -> None:
    for rank in range(2):
        copied, sharded = torch.load(together / f"aligned-{rank}.pt")
        torch.testing.assert_close(sharded, copied, rtol=0, atol=1e-5)
