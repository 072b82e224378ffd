from __future__ import annotations

import numpy as np

from edgecnn.data.audit.labels import doubtful, thresholds


def test_thresholds_are_the_mean_confidence_in_each_class() -> None:
    probabilities = np.float32([[0.9, 0.1, 0], [0.7, 0.3, 0], [0.4, 0.6, 0]])
    np.testing.assert_allclose(thresholds(probabilities, np.array([0, 0, 1])), [0.8, 0.6, np.inf], rtol=1e-6)


def test_a_label_is_doubtful_where_another_class_is_confident() -> None:
    probabilities = np.float32(
        [
            [0.9, 0.1],  # as labelled
            [0.8, 0.2],
            [0.05, 0.95],  # labelled 0, and clearly 1
            [0.45, 0.55],  # labelled 0; 1 is likelier, but below what is usual for 1
            [0.2, 0.8],
            [0.1, 0.9],
        ]
    )
    found = doubtful(probabilities, [0, 0, 0, 0, 1, 1])
    assert [(item.place, item.label, item.suggested) for item in found] == [(2, 0, 1)]
    assert abs(found[0].confidence - 0.95) < 1e-6 and abs(found[0].label_confidence - 0.05) < 1e-6


def test_swapped_labels_come_first() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 600)
    logits = rng.normal(0, 1, (600, 5))
    logits[range(600), truth] += 5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels, wrong = truth.copy(), rng.choice(600, 30, replace=False)
    labels[wrong] = (truth[wrong] + 1) % 5
    found = [item.place for item in doubtful(probabilities.astype(np.float32), labels.tolist())]
    assert len(set(found) & set(wrong.tolist())) >= 22, "most of them: the others are images the model is unsure of"
    assert set(found[:20]) <= set(wrong.tolist())


def test_nothing_to_doubt() -> None:
    assert doubtful(np.zeros((0, 3), np.float32), []) == []
    assert doubtful(np.float32([[0.9, 0.1], [0.1, 0.9]]), [0, 1]) == []
