"""Metrics on held-out samples on a job's page, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import HeldOutSample
from workers.contract.evaluation import LEVEL, METRICS, Evaluation
from workers.contract.summaries import RESAMPLES, summaries
from workers.metrics import CalibrationSums, calibration_of

pytestmark = pytest.mark.real
NAMES = ['<b>bold & "x"', *(f"case {number}" for number in range(5))]
COUNT = 60


@pytest.fixture
def judged_job(context: Context, finished_job: str) -> str:
    """A job with metrics of two classes on 60 samples of 20 patients; those with the lowest Dice have pictures."""
    rng = np.random.default_rng(0)
    dice = np.sort(rng.beta(6, 2, (COUNT, 2)), axis=0)
    values = []
    for ordinal, row in enumerate(dice.tolist()):
        hd95 = [None if ordinal == 1 else 40 * (1 - row[0]), 40 * (1 - row[1])]
        shares = [[share**power for share in row] for power in (1.0, 1.6, 0.8, 1.2)]
        values.append(dict(zip(METRICS, [*shares[:2], hd95, *shares[2:]], strict=True)))
    sums = CalibrationSums(3)
    said = torch.from_numpy(rng.dirichlet([3, 0.5, 0.5], size=(1, 64, 64))).movedim(-1, 1)
    true = torch.multinomial(said[0].flatten(1).T ** 0.7, 1, generator=torch.manual_seed(0)).view(1, 64, 64)
    sums.add(said, true)
    evaluation = Evaluation(
        samples=COUNT,
        groups=20,
        level=LEVEL,
        resamples=RESAMPLES,
        hd95_unit="px",
        metrics=summaries(values, [str(ordinal % 20) for ordinal in range(COUNT)], 0),
        calibration=calibration_of(sums.sums),
    )
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, finished_job)
        assert job is not None
        job.evaluation = evaluation.model_dump(mode="json")
        for ordinal, of in enumerate(values):
            name = NAMES[ordinal] if ordinal < len(NAMES) else f"other {ordinal}"
            means = {metric: float(np.mean([v for v in of[metric] if v is not None])) for metric in METRICS}
            session.add(HeldOutSample(job_id=finished_job, ordinal=ordinal, name=name, classes=of, **means))
    return finished_job


def test_metrics_intervals_and_calibration_are_on_the_page(page: Page, url: str, judged_job: str) -> None:
    page.goto(f"{url}/jobs/{judged_job}")
    part = page.locator("#evaluation")
    expect(part.get_by_role("heading", level=2)).to_have_text("On held-out samples 60 of 20 groups")
    rows = part.get_by_role("row")
    expect(rows).to_have_count(1 + len(METRICS) * 3)
    row = rows.filter(has_text="HD95 (px)").nth(1).get_by_role("cell")
    expect(row.nth(0)).to_have_text("1")
    expect(row.nth(6)).to_have_text("1")  # undefined
    expect(part.locator("svg.strip")).to_have_count(len(METRICS))
    expect(part.locator("svg.strip").first.locator("circle")).to_have_count(COUNT)
    expect(part.get_by_role("img", name="Dice of 60 samples: half of them between")).to_be_visible()
    expect(part.get_by_role("img", name="Reliability of the probabilities of class 2")).to_be_visible()
    worst = part.get_by_role("list").get_by_role("link")
    expect(worst).to_have_count(6)
    expect(worst.first).to_contain_text(NAMES[0])
    picture = worst.first.get_by_role("img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    faults = [
        f"{fault['id']}: {node['html']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]
    assert faults == []


def test_a_job_without_held_out_samples_says_nothing_of_them(page: Page, url: str, finished_job: str) -> None:
    page.goto(f"{url}/jobs/{finished_job}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#evaluation")).to_be_empty()
