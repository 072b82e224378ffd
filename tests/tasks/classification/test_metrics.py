"""Figures of a classifier, against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgecnn.core.errors import InputError, StepError
from edgecnn.statistics.proportions import wilson
from edgecnn.tasks.classification.metrics import BINS, Proportion, calibration_error, classify, probabilities_of

NAMES = ("a", "b", "c")


def one_hot(answers: list[int], classes: int = 3, sure: float = 0.9) -> np.ndarray:
    rest = (1 - sure) / (classes - 1)
    found = np.full((len(answers), classes), rest, np.float32)
    found[range(len(answers)), answers] = sure
    return found


def test_figures_of_each_class_can_be_counted() -> None:
    labels, answers = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2]
    scores = one_hot(answers)
    found = classify(scores, labels, names=NAMES)
    assert (found.top1.events, found.top1.count, found.images) == (4, 6, 6)
    assert found.confusion.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    a, b, c = found.classes
    assert (a.support, a.predicted, a.precision, a.recall) == (4, 3, 1.0, 0.75)
    assert a.f1 == pytest.approx(6 / 7) and b.f1 == pytest.approx(0.5)
    assert (c.support, c.predicted, c.precision, c.recall, c.f1) == (0, 1, 0.0, 0.0, 0.0)
    assert [score.name for score in found.present] == ["a", "b"], "a class without images takes no part in averages"
    assert found.macro.recall == pytest.approx((0.75 + 0.5) / 2)
    assert found.weighted.recall == pytest.approx(4 / 6), "weighted recall is accuracy"
    assert found.macro.f1 == pytest.approx((6 / 7 + 0.5) / 2)
    assert found.confused(5) == [(0, 1, 1), (1, 2, 1)]
    assert found.top5 is None, "of three classes the first five are always right"


def test_the_calibration_error_is_the_gap_in_each_bin() -> None:
    answers, labels = [0] * 10, [0] * 6 + [1] * 4
    scores = one_hot(answers, sure=0.9)
    found = classify(scores, labels, names=NAMES)
    assert found.calibration_error == pytest.approx(0.3, abs=1e-6) and found.confidence == pytest.approx(0.9)
    assert [(item.images, round(item.accuracy, 3)) for item in found.bins] == [(10, 0.6)]
    assert found.bins[0].low <= 0.9 < found.bins[0].high


@pytest.mark.parametrize("sure", [1.0, np.float32(1) + np.float32(1e-6)])
def test_certainty_belongs_to_the_last_bin(sure: float) -> None:
    """torchmetrics has a bin of its own for exactly 1, and takes more than 1 for a logit."""
    scores = np.concatenate([one_hot([0] * 5, sure=0.99), np.float32([[sure, 0, 0]] * 5)])
    found = classify(scores, [0] * 5 + [1] * 5, names=NAMES)
    assert len(found.bins) == 1 and found.bins[0].high == 1.0
    assert found.calibration_error == pytest.approx(0.995 - 0.5, abs=1e-5)


def test_bins_and_error_agree_on_any_answers() -> None:
    rng = np.random.default_rng(0)
    probabilities, given = probabilities_of(rng.normal(0, 2, (500, 7)).astype(np.float32))
    labels = rng.integers(0, 7, 500).tolist()
    found = classify(probabilities, labels, names=list("abcdefg"))
    summed = sum(item.images * abs(item.confidence - item.accuracy) for item in found.bins) / 500
    assert not given and len(found.bins) <= BINS and sum(item.images for item in found.bins) == 500
    assert found.calibration_error == pytest.approx(summed, abs=1e-9)


def test_of_equal_scores_the_first_class_is_the_answer() -> None:
    scores = np.zeros((2, 8), np.float32)
    found = classify(scores, [4, 5], names=[str(i) for i in range(8)])
    assert found.top1.events == 0 and found.top5 is not None
    assert found.top5.events == 1, "of eight equal scores, those of classes 0 to 4 are the first five"


def test_figures_agree_with_another_library() -> None:
    from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 12, 400)
    logits = rng.normal(0, 1, (400, 12)).astype(np.float32)
    logits[range(400), labels] += 1.5
    found = classify(logits, labels.tolist(), names=[str(i) for i in range(12)])
    expected = precision_recall_fscore_support(labels, logits.argmax(1), zero_division=0)
    for index, name in enumerate(("precision", "recall", "f1", "support")):
        np.testing.assert_allclose([getattr(score, name) for score in found.classes], expected[index], rtol=1e-6)
    assert found.top5 is not None
    assert found.top5.value == pytest.approx(top_k_accuracy_score(labels, logits, k=5))


def test_probabilities_are_not_taken_for_logits() -> None:
    given = one_hot([0, 1], sure=0.7)
    kept, were = probabilities_of(given.copy())
    assert were and np.array_equal(kept, given)
    made, were = probabilities_of(np.float32([[1000, 0, 0]]))
    assert not were and made[0, 0] == 1.0


@pytest.mark.parametrize("labels", [[0], [0, 3], [0, -1], []])
def test_labels_that_do_not_belong_are_refused(labels: list[int]) -> None:
    scores = one_hot([0, 1])
    with pytest.raises(InputError, match="do not belong"):
        classify(scores, labels, names=NAMES)


def test_answers_that_are_no_numbers_are_refused() -> None:
    scores = one_hot([0, 1])
    scores[1, 1] = np.nan
    with pytest.raises(StepError) as caught:
        classify(scores, [0, 1], names=NAMES)
    assert caught.value.code == "not-finite" and caught.value.hint


def test_the_interval_of_a_share() -> None:
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662), "Newcombe 1998, table I"
    assert wilson(0, 20)[0] == 0.0 and wilson(20, 20)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0) and Proportion.of(0, 0).value == 0.0


def test_the_calibration_error_without_pytorch_is_the_same() -> None:
    rng = np.random.default_rng(5)
    logits = (2 * rng.normal(size=(400, 7))).astype(np.float32)
    labels = rng.integers(0, 7, 400)
    whole = classify(logits, labels.tolist(), names=[str(number) for number in range(7)])
    confidence = probabilities_of(logits.copy())[0].max(1)
    assert calibration_error(confidence, logits.argmax(1) == labels) == pytest.approx(whole.calibration_error, abs=1e-6)
