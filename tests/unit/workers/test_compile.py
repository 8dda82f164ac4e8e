"""A job with `compile`: the same numbers from compiled code, whole batches only, and plain networks delivered."""

from __future__ import annotations

import shutil

import pytest
import torch
from pydantic import ValidationError
from torch._dynamo.testing import CompileCounterWithBackend

from tests.learning import learn, learner_of
from workers import compilation
from workers.contract.request import JobSpec

needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")


@needs_compiler
def test_compiled_code_computes_the_same() -> None:
    torch._dynamo.reset()
    rows, compiled = learn(learner_of(), 3), learn(learner_of(compile=True), 3)
    torch.testing.assert_close(compiled, rows, rtol=0, atol=1e-5)


def test_student_and_teacher_are_compiled_once_for_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compile_it = torch.compile
    monkeypatch.setattr(torch, "compile", lambda it, dynamic, options: compile_it(it, backend=counter, dynamic=dynamic))
    plain, learner = learner_of(), learner_of(compile=True)
    assert plain.state_dict()["student"].keys() == learner.state_dict()["student"].keys()
    assert plain.state_dict()["teacher"].keys() == learner.state_dict()["teacher"].keys()
    torch.testing.assert_close(learn(learner, 9), learn(plain, 9), rtol=0, atol=1e-5)
    compiled = counter.frame_count
    assert compiled == 2  # of steps with one row only, none
    with torch.no_grad():
        learner.final(torch.zeros(3, 3, 32, 32))
    assert counter.frame_count == compiled  # what is delivered is not compiled


def test_an_alignment_still_taps_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compile_it = torch.compile
    monkeypatch.setattr(torch, "compile", lambda it, dynamic, options: compile_it(it, backend=counter, dynamic=dynamic))
    method = {"name": "dale", "start": 0.0, "ramp": 0.0, "alignment": "mmd"}
    rows, compiled = learn(learner_of(method=method), 3), learn(learner_of(compile=True, method=method), 3)
    torch.testing.assert_close(compiled, rows, rtol=0, atol=1e-5)
    assert counter.frame_count == 1  # the teacher


def test_sharding_and_compile_are_refused_together() -> None:
    with pytest.raises(ValidationError, match="switch one of them off"):
        JobSpec(dataset_id="ds-1", sharding="full", compile=True)


LONG = 1 + int(compilation.PAYING_PIXELS / (16 * 128**2))  # steps of the default batch and size, on one worker


def test_a_long_run_of_a_network_that_gains_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert decided(LONG)
    assert not decided(LONG - 2)
    assert not decided(LONG, workers=2)  # each saves half and starts as late
    assert decided(2 * LONG, workers=2)
    assert decided(LONG, compile=False) is False
    assert decided(1, compile=True) is True


@pytest.mark.parametrize(
    "options",
    [
        {"network": {"name": "SegResNet"}},
        {"precision": "bfloat16"},
        {"sharding": "full"},
        {"method": {"name": "dale", "alignment": "mmd"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_was_not_measured_is_not_compiled_unasked(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not decided(100 * LONG, **options)


def test_neither_gpus_nor_volumes_nor_machines_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = JobSpec(dataset_id="ds-1")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not compilation.compiles(spec, 100 * LONG, 2, torch.device("cuda"))
    assert not compilation.compiles(spec, 100 * LONG, 3, torch.device("cpu"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not decided(100 * LONG)


def decided(steps: int, **options: object) -> bool:
    """Whether a run of so many steps on images and a CPU is compiled."""
    spec = JobSpec.model_validate({"dataset_id": "ds-1"} | options)
    return compilation.compiles(spec, steps, 2, torch.device("cpu"))
