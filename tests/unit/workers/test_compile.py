"""A job with `compile`: the same numbers from compiled code, whole batches only, and plain networks delivered."""

from __future__ import annotations

import shutil

import pytest
import torch
from pydantic import ValidationError
from torch._dynamo.testing import CompileCounterWithBackend

from tests.learning import learn, learner_of
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
