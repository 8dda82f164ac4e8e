"""Every method of the benchmark on a few small images: what it leaves behind, and that sharing changes no result."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from dale import partition
from dale.synthetic import write_samples
from tests.benchmarks.robustness import __main__ as benchmark
from tests.benchmarks.robustness import data, methods, training
from tests.benchmarks.robustness.methods import Case, cells_of
from tests.benchmarks.robustness.report import KEY, Cell, Results
from workers import network
from workers.contract.request import DaleMethod, PlainMethod

EPOCHS = 6
START = math.ceil(DaleMethod().start * EPOCHS)  # the first epoch in which confidences act
NOISE, STYLE = "missed,displace", "style:dilate"
BESIDE_PLAIN = ["plain", "plain_ema", "early_stopping", "cleanlab_in_sample", "mean_loss"]
OTHERS = [
    "dale",
    "oracle",
    "consistency",
    "believed",
    "clean_labels",
    "co_teaching",
    "robust_loss",
    "adele",
    "cleanlab_4fold",
]
ONLY_RANKS = {"cleanlab_in_sample", "mean_loss", "cleanlab_4fold"}
MEASURED = ("dice", "dice_samples", "auroc", "average_precision", "precision_first_tenth", "kinds", "cost", "seconds")


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """24 images in a folder; a tiny network, curves with more points, and no files outside."""
    folder = tmp_path_factory.mktemp("small") / "lesions"
    write_samples(folder, samples=24, size=32, seed=0)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(network.DEFAULTS, "UNet", {"channels": [4, 8, 16], "strides": [2, 2]})
        patch.setattr(methods, "EVERY", 1)
        patch.setattr(methods, "TRUSTED", 0.3)
        # So few epochs teach too little for the gate to open by itself.
        patch.setattr(partition, "GAP_OF_CLEAN", -1.0)
        patch.setattr(partition, "GAP_OF_NOISY", 0.0)
        patch.setitem(data.load.__kwdefaults__, "cache", folder.parent / "cache")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder
    torch.set_num_threads(threads)


def words(folder: Path, out: Path, names: str, noise: str = NOISE) -> list[str]:
    told = {"data": folder, "out": out, "methods": names, "noise": noise, "ratio": 0.4, "network": "UNet", "size": 32}
    told |= {"epochs": EPOCHS, "batch": 4, "learning-rate": 0.02, "augmentation": "light"}
    return [word for name, value in told.items() for word in (f"--{name}", str(value))]


def new_case(folder: Path, noise: str = NOISE) -> Case:
    options = benchmark.parse(words(folder, Path("unused"), "plain", noise))
    return benchmark.case_of(options, data.load(folder, 32), None, seed=0)


def run(case: Case, *names: str) -> dict[str, Cell]:
    return {cell["method"]: cell for name in names for cell in cells_of(case, name)}


def same_course(one: Cell, other: Cell) -> bool:
    """All that does not depend on the clock."""
    fields = ("scores", "confidence", "dice_samples", "curve", "auroc", "stopped")
    return all(one.get(name) == other.get(name) for name in fields)


@pytest.fixture(scope="module")
def out(small: Path) -> Path:
    """One results file, written by two commands."""
    out = small.parent / "results.json"
    assert benchmark.main(words(small, out, ";".join(["plain", *OTHERS, "dale_trusted"]))) == 0
    assert benchmark.main(words(small, out, "plain,dale,dale_annotators", STYLE)) == 0
    return out


@pytest.fixture(scope="module")
def cells(out: Path) -> dict[str, Cell]:
    """Those of the first command, by method."""
    return {cell["method"]: cell for cell in Results.load(out).cells if cell["noise"] == NOISE}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float, Tensor]]:
    """Epoch, strength and confidences of every epoch of network steps."""
    seen = []
    real = training.network_epoch

    def spy(learner, samples, plan, confidences, epoch):
        strength = training.dale.strength(learner.config, epoch, learner.spec.epochs)
        seen.append((epoch, strength, confidences.clone()))
        return real(learner, samples, plan, confidences, epoch)

    monkeypatch.setattr(training, "network_epoch", spy)
    return seen


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[training.Training]:
    """The trainings that cases have begun, in order."""
    begun: list[training.Training] = []
    real = Case.begin

    def spy(case: Case, *arguments, **options):
        begun.append(real(case, *arguments, **options))
        return begun[-1]

    monkeypatch.setattr(Case, "begin", spy)
    return begun


# --- what is left behind --------------------------------------------------------------------------------------------


def test_every_method_leaves_its_cells(out: Path, cells: dict[str, Cell]) -> None:
    assert list(cells) == [*BESIDE_PLAIN, *OTHERS, "dale_trusted"]
    styled = [cell["method"] for cell in Results.load(out).cells if cell["noise"] == STYLE]
    assert styled == [*BESIDE_PLAIN, "dale", "dale_annotators"]
    content = json.loads(out.read_text())
    assert len(content["command"].splitlines()) == 2
    assert content["environment"]["torch"] == torch.__version__


def test_every_cell_has_its_fields(small: Path, cells: dict[str, Cell]) -> None:
    case = new_case(small)
    for name, cell in cells.items():
        assert set(KEY) | set(MEASURED) <= set(cell), name
        assert (cell["data"], cell["epochs"], cell["size"], cell["seed"]) == ("lesions", EPOCHS, 32, 0)
        assert cell["seconds"] > 0
        assert cell["cost"] == pytest.approx(cell["seconds"] / cells["plain"]["seconds"])
        if name in ONLY_RANKS:
            assert cell["dice"] is None and cell["dice_samples"] is None
        else:
            assert len(cell["dice_samples"]) == len(case.test)
            assert cell["dice"] == pytest.approx(np.mean(cell["dice_samples"]), abs=1e-4)
            assert 0 < cell["dice"] < 1
            assert cell["peak_memory_mb"] is None or cell["peak_memory_mb"] > 0
    assert 0 <= cells["dale"]["confidence"]["corrupted"] <= cells["dale"]["confidence"]["clean"] <= 1
    assert cells["dale"]["names"] == list(case.train.names)
    for name in ("plain", *OTHERS[:-1], "dale_trusted"):
        assert [point[0] for point in cells[name]["curve"]] == list(range(1, EPOCHS + 1)), name
    last_of_network, last_of_teacher = cells["plain"]["curve"][-1][1:]
    assert last_of_network == pytest.approx(cells["plain"]["dice"], abs=1e-6)
    assert last_of_teacher == pytest.approx(cells["plain_ema"]["dice"], abs=1e-6)
    assert cells["dale"]["curve"][-1][2] == pytest.approx(cells["dale"]["dice"], abs=1e-6)
    assert 1 <= cells["early_stopping"]["stopped"] <= EPOCHS
    assert "corrected_at" in cells["adele"]


def test_rankings_are_scikit_learns_of_the_scores(small: Path, cells: dict[str, Cell]) -> None:
    case = new_case(small)
    assert 0 < case.corrupted.sum() < len(case.truth)
    for name, cell in cells.items():
        if name == "clean_labels":  # nothing was corrupted: there is nothing to find
            assert (cell["scores"], cell["auroc"], cell["kinds"]) == (None, None, {})
            continue
        suspicion = -np.array(cell["scores"])
        assert cell["auroc"] == pytest.approx(roc_auc_score(case.corrupted, suspicion), abs=0.02), name
        assert cell["average_precision"] == pytest.approx(
            average_precision_score(case.corrupted, suspicion), abs=0.05
        ), name
        assert set(cell["kinds"]) == {"missed", "displace"}
    assert cells["plain"]["auroc"] > 0.6, "the trajectory finds nothing: the scores are not those of these labels"


def test_running_again_adds_nothing(small: Path, out: Path, cells: dict[str, Cell], monkeypatch) -> None:
    before = out.read_bytes(), out.stat().st_mtime_ns

    def refuse(*arguments: object) -> None:
        raise AssertionError("a cell that is there was run again")

    monkeypatch.setattr(benchmark, "case_of", refuse)
    assert benchmark.main(words(small, out, ";".join(["plain", *OTHERS, "dale_trusted"]))) == 0
    assert benchmark.main(words(small, out, "dale_annotators", STYLE)) == 0
    assert (out.read_bytes(), out.stat().st_mtime_ns) == before


def test_a_killed_run_is_taken_up(small: Path, cells: dict[str, Cell], tmp_path: Path, monkeypatch) -> None:
    """Killed after two of plain's five cells, with half a file beside: those that are missing are added."""
    out = tmp_path / "results.json"

    def dying(case: Case, method: str) -> Iterator[Cell]:
        for number, cell in enumerate(cells_of(case, method)):
            if number == 2:
                raise KeyboardInterrupt
            yield cell

    with monkeypatch.context() as patch:
        patch.setattr(benchmark, "cells_of", dying)
        with pytest.raises(KeyboardInterrupt):
            benchmark.main(words(small, out, "plain,dale"))
    assert [cell["method"] for cell in Results.load(out).cells] == BESIDE_PLAIN[:2]
    out.with_name(f".{out.name}.part").write_text('{"cells": [{"met')
    assert benchmark.main(words(small, out, "plain,dale")) == 0
    found = Results.load(out).cells
    assert sorted(cell["method"] for cell in found) == sorted([*BESIDE_PLAIN, "dale"])
    for cell in found:
        assert same_course(cell, cells[cell["method"]]), cell["method"]


# --- sharing the first half -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "dale",
        "dale:start=0.2,stability=1",
        "dale:alignment=wasserstein",
        "consistency",
        "dale:temperature=0.3",
        "dale_trusted",
    ],
)
def test_a_method_alone_and_after_plain_is_the_same(small: Path, begun: list, name: str) -> None:
    alone, after = run(new_case(small), name)[name], run(new_case(small), "plain", name)[name]
    first, second = begun[0].state, begun[-1].state
    if name != "consistency":
        assert first.confidence.min() < 0.9, "the confidences never moved: the comparison says nothing"
    assert torch.equal(first.confidence, second.confidence)
    assert torch.equal(first.doubts, second.doubts)
    assert same_course(alone, after)


def test_the_shared_half_is_run_once(small: Path, seen: list) -> None:
    run(new_case(small), "plain", "dale", "oracle", "dale:start=0.2")
    whole, second = list(range(EPOCHS)), list(range(START, EPOCHS))
    assert [epoch for epoch, _, _ in seen] == [*whole, *second, *second, *whole]


def test_plain_after_another_method_is_the_same(small: Path) -> None:
    first, after = run(new_case(small), "plain"), run(new_case(small), "dale", "plain")
    assert all(same_course(after[name], first[name]) for name in BESIDE_PLAIN)


def test_plain_after_the_shared_half_is_plain_training_whatever_the_confidences(
    small: Path, cells: dict[str, Cell], seen: list
) -> None:
    case = new_case(small)
    run(case, "dale")
    [(key, (snapshot, *rest))] = case._first_half.items()
    spoiled = copy.deepcopy(snapshot)
    spoiled["state"]["confidence"] = torch.zeros(len(case.train))
    case._first_half[key] = (spoiled, *rest)
    seen.clear()
    spoilt = run(case, "plain")
    assert [(epoch, strength) for epoch, strength, _ in seen] == [(epoch, 0.0) for epoch in range(START, EPOCHS)]
    unshared = case.begin(PlainMethod())
    unshared.run(EPOCHS)
    test_dice = training.dice_on(unshared, unshared.learner.module, case.test)
    for cell in (spoilt["plain"], cells["plain"]):
        np.testing.assert_allclose(cell["dice_samples"], test_dice, atol=1e-4)


# --- confidences and hints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], ["plain", "dale"]], ids=["alone", "after others"])
def test_the_oracles_confidences_are_the_truth(small: Path, seen: list, begun: list, before: list[str]) -> None:
    case = new_case(small)
    run(case, *before)
    seen.clear()
    cell = run(case, "oracle")["oracle"]
    right = [float(record.kind == "clean") for record in case.truth]
    acting = [(epoch, c.tolist()) for epoch, strength, c in seen if strength > 0]
    assert acting == [(epoch, right) for epoch in range(START, EPOCHS)]
    assert begun[-1].state.confidence.tolist() == right
    assert cell["confidence"] == {"clean": 1.0, "corrupted": 0.0}
    assert 0 < sum(right) < len(right)


def test_the_control_without_confidences_believes_every_label(small: Path, seen: list, begun: list) -> None:
    case = new_case(small)
    run(case, "dale")
    seen.clear()
    cell = run(case, "consistency")["consistency"]
    assert cell["confidence"] == {"clean": 1.0, "corrupted": 1.0}
    assert [epoch for epoch, _, _ in seen] == list(range(START, EPOCHS))
    assert all((c == 1).all() for _, _, c in [*seen, (0, 0, begun[-1].state.confidence)])


def test_dales_own_confidences_act_in_the_second_half(small: Path, seen: list, cells: dict[str, Cell]) -> None:
    run(new_case(small), "dale")
    assert [(epoch, strength > 0) for epoch, strength, _ in seen] == [
        (epoch, epoch >= START) for epoch in range(EPOCHS)
    ]
    assert all((c == 1).all() for epoch, _, c in seen if epoch < START)
    assert all(c.min() < 0.9 for epoch, _, c in seen if epoch >= START)


def test_trusted_labels_are_right_ones_and_stay_believed(small: Path, begun: list) -> None:
    case = new_case(small)
    run(case, "dale_trusted")
    state = begun[-1].state
    assert state.trusted.sum() == round(0.3 * len(case.truth))
    assert not (state.trusted.numpy() & case.corrupted).any()
    assert (state.confidence[state.trusted] == 1).all()
    assert state.confidence.min() < 0.9
    assert case.hints is None, "the other methods must not be told"


def test_annotators_are_those_of_the_truth(small: Path, begun: list) -> None:
    case = new_case(small, STYLE)
    run(case, "dale_annotators")
    state = begun[-1].state
    assert [f"a{number}" for number in state.annotator.tolist()] == [record.annotator for record in case.truth]
    assert len(set(state.annotator.tolist())) == 5
    assert not state.trusted.any()
    assert case.hints is None


def test_a_method_leaves_the_case_as_it_was(small: Path) -> None:
    """Labels that a method corrects are its own."""
    case = new_case(small)
    labels, images = case.labels.clone(), case.train.images.clone()
    corrected = run(case, "adele", "clean_labels", "co_teaching")["adele"]["corrected_at"]
    assert torch.equal(case.labels, labels)
    assert torch.equal(case.train.images, images)
    assert corrected is None or corrected >= 6


def test_clean_labels_learn_from_the_truth(small: Path, begun: list) -> None:
    case = new_case(small)
    run(case, "clean_labels")
    assert torch.equal(begun[-1].samples.labels, case.train.masks)
    assert not torch.equal(case.labels, case.train.masks)


@pytest.mark.parametrize("by", ["dale", "chance"])
def test_a_review_puts_right_what_comes_first(small: Path, begun: list, by: str) -> None:
    case = new_case(small)
    run(case, "plain", "dale")
    name = f"reviewed:share=0.4,by={by}"
    cell = run(case, name)[name]
    looked_at = round(0.4 * len(case.train))
    learned = begun[-1].samples.labels
    changed = (learned != case.labels).flatten(1).any(1).numpy()
    assert cell["put_right"] == changed.sum() <= looked_at
    assert not (changed & ~case.corrupted).any()
    if by != "chance":
        first = np.argsort(case.scores[by], kind="stable")[:looked_at]
        assert set(np.flatnonzero(changed)) == set(first) & set(np.flatnonzero(case.corrupted))
    assert torch.equal(learned[changed], case.train.masks[changed])


def test_a_review_of_all_labels_or_of_none(small: Path, cells: dict[str, Cell], tmp_path: Path) -> None:
    """It reaches from plain training to that on clean labels; a later command knows the rankings of an earlier one."""
    out = tmp_path / "results.json"
    for names in ("plain", "reviewed:share=1,by=plain;reviewed:share=0,by=mean_loss"):
        assert benchmark.main(words(small, out, names)) == 0
    reviewed = {cell["method"]: cell for cell in Results.load(out).cells}
    assert reviewed["reviewed:share=1,by=plain"]["dice_samples"] == cells["clean_labels"]["dice_samples"]
    assert reviewed["reviewed:share=0,by=mean_loss"]["dice_samples"] == cells["plain"]["dice_samples"]
    for cell in reviewed.values():
        assert cell["cost"] == pytest.approx(cell["seconds"] / reviewed["plain"]["seconds"])
    with pytest.raises(ValueError, match="'dale' has not ranked these labels"):
        benchmark.main(words(small, out, "reviewed:share=0.5,by=dale"))


def test_a_snapshot_is_not_changed_by_those_who_resume(small: Path) -> None:
    case = new_case(small)
    run(case, "dale")
    method = DaleMethod()
    first = case.branch(method, methods.Watch(case))
    first.run(EPOCHS)
    second = case.branch(method, methods.Watch(case))
    assert second.epoch == START
    second.run(EPOCHS)
    for mine, theirs in zip(first.learner.student.parameters(), second.learner.student.parameters(), strict=True):
        assert torch.equal(mine, theirs)
