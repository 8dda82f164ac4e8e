import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from service.ranking import auroc, average_precision, precision_at


@pytest.mark.parametrize("seed", range(8))
def test_figures_agree_with_scikit_learn_ties_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faulty = rng.random(200) < 0.3
    scores = np.round(rng.random(200) - 0.3 * faulty, 1 + seed % 3)
    assert auroc(scores.tolist(), faulty.tolist()) == pytest.approx(roc_auc_score(faulty, -scores))
    expected = average_precision_score(faulty, -scores)
    assert average_precision(scores.tolist(), faulty.tolist()) == pytest.approx(expected)


def test_precision_at_k_and_undefined_figures() -> None:
    assert precision_at([0.3, 0.1, 0.2, 0.9], [True, True, False, False], 2) == 0.5
    with pytest.raises(ValueError, match="sound"):
        auroc([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="faulty"):
        average_precision([0.1], [False])
