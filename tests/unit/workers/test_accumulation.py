"""A batch in parts: gradients, losses and evidence are those of the whole."""

from __future__ import annotations

import pytest
import torch

import dale
from tests.learning import BATCH, learn, learner_of


@pytest.mark.parametrize("accumulation", [2, 3, 50])
def test_parts_together_are_the_whole(accumulation: int) -> None:
    whole, parts, still = learner_of(), learner_of(accumulation=accumulation), learner_of(learning_rate=1e-9)
    rows, rows_of_parts, rows_of_still = learn(whole), learn(parts), learn(still)
    assert rows.shape == (8 * BATCH + 2, 6)
    torch.testing.assert_close(rows_of_parts, rows, rtol=0, atol=1e-5)
    for mine, theirs in zip(parts.student.parameters(), whole.student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert not torch.allclose(rows, rows_of_still, atol=1e-3), "nothing was learned: the comparison says nothing"


def test_samples_mix_inside_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """And pair as they would on as many ranks: by what their part holds."""
    learner = learner_of(accumulation=2, method={"name": "dale", "start": 0, "mixing": 1.0, "mix_after": 0})
    drawn: list[dale.Mixing] = []
    draw = dale.draw_mixing
    monkeypatch.setattr(dale, "draw_mixing", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    images, rows = torch.zeros(6, 3, 16, 16, dtype=torch.uint8), torch.arange(6)
    learner.begin_epoch(0)
    learner.step(images, images[:, 0], rows, torch.full((6,), 1 / 6), torch.ones(6), 0)
    assert [mixing.partner.tolist() for mixing in drawn] == [[1, 0, 2], [1, 0, 2]]
