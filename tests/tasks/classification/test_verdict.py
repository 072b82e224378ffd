"""The verdict on a classifier: paired top-1, with labels and without."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecnn.core.errors import InputError
from edgecnn.statistics import proportions
from edgecnn.tasks.classification.verdict import chance, collapse, judge, would_pass
from edgecnn.tasks.task import Flips


def predictions(broke: int, fixed: int, count: int, right: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Baseline, candidate, labels: that many discordant images, `right` that both get right, the rest both wrong."""
    labels = np.zeros(count, int)
    baseline, candidate = np.ones(count, int), np.ones(count, int)
    baseline[:broke] = 0
    candidate[broke : broke + fixed] = 0
    both = slice(broke + fixed, broke + fixed + right)
    baseline[both] = candidate[both] = 0
    return baseline, candidate, labels


def test_a_clear_pass_a_clear_fail_and_a_shrug() -> None:
    passed = judge(*predictions(10, 8, 10_000, 9_000), max_drop=0.01)
    assert passed.outcome == "PASS"
    assert passed.flips == Flips(10, 8) and passed.drop is not None
    assert passed.drop.value == pytest.approx(0.0002) and passed.drop.high <= 0.01
    assert passed.agreement == pytest.approx(1 - 18 / 10_000)
    assert passed.images_needed is None

    failed = judge(*predictions(600, 100, 10_000, 8_000), max_drop=0.01)
    assert failed.outcome == "FAIL"
    assert failed.drop is not None and failed.drop.low > 0.01
    assert "5.00" not in failed.why and "1.00 %" in failed.why

    unsure = judge(*predictions(25, 20, 1_000, 700), max_drop=0.01)
    assert unsure.outcome == "INCONCLUSIVE"
    assert unsure.images_needed is not None and unsure.images_needed > 1_000


def test_equal_predictions_pass_once_there_are_enough_images() -> None:
    few, many = judge(*predictions(0, 0, 100, 80), max_drop=0.01), judge(*predictions(0, 0, 300, 240), max_drop=0.01)
    assert few.outcome == "INCONCLUSIVE"
    assert many.outcome == "PASS"
    # With no disagreement the bound is 1 - 0.05^(1 / n).
    assert many.drop is not None and many.drop.high == pytest.approx(1 - 0.05 ** (1 / 300))
    assert few.images_needed == pytest.approx(368, abs=1), "268 by the normal approximation, and 100 for whole numbers"


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_claimed_is_what_was_asked(labelled: bool) -> None:
    baseline, candidate, labels = predictions(0, 0, 330, 300)
    asked = [
        judge(baseline, candidate, labels if labelled else None, max_drop=0.01, confidence=claim)
        for claim in (0.95, 0.975)
    ]
    assert [found.outcome for found in asked] == ["PASS", "INCONCLUSIVE"]
    assert [found.confidence for found in asked] == [0.95, 0.975]
    assert "(95 %)" in asked[0].why or "95 % confidence" in asked[0].why
    assert "97.5 %" in asked[1].why
    assert not would_pass(asked[1], images=367, max_drop=0.01) and would_pass(asked[1], images=368, max_drop=0.01)


def test_a_better_candidate_passes_a_budget_of_nothing() -> None:
    assert judge(*predictions(5, 60, 1000, 800), max_drop=0.0).outcome == "PASS"
    assert judge(*predictions(60, 5, 1000, 800), max_drop=0.0).outcome == "FAIL"


def test_no_images_decide_nothing() -> None:
    nothing = np.zeros(0, int)
    for labels in (nothing, None):
        assert judge(nothing, nothing, labels, max_drop=0.01).outcome == "INCONCLUSIVE"


def test_that_nothing_is_lost_only_a_better_candidate_can_prove() -> None:
    found = judge(*predictions(2, 2, 500), max_drop=0.0)
    assert found.outcome == "INCONCLUSIVE"
    assert "which only a candidate that is better can prove: allow a little, such as 0.1%" in found.why
    assert "only a candidate" not in judge(*predictions(2, 2, 500), max_drop=0.001).why


def test_one_image() -> None:
    assert judge(*predictions(1, 0, 1), max_drop=0.01).outcome == "INCONCLUSIVE"
    assert judge(*predictions(0, 0, 1), max_drop=0.01).outcome == "INCONCLUSIVE"


def test_lists_will_do() -> None:
    found = judge([0, 1], [0, 1], [0, 0], max_drop=0.5)  # type: ignore[arg-type]
    assert found.drop is not None and found.drop.value == 0


@pytest.mark.parametrize("max_drop", [-0.01, 1.0, 1.5, math.nan])
def test_a_budget_that_makes_no_sense_is_refused(max_drop: float) -> None:
    with pytest.raises(InputError) as caught:
        judge(*predictions(0, 0, 10), max_drop=max_drop)
    assert caught.value.code == "bad-budget"


def test_unpaired_predictions_are_refused() -> None:
    with pytest.raises(InputError, match="belong together"):
        judge(np.zeros(3), np.zeros(4), None, max_drop=0.01)
    with pytest.raises(InputError, match="belong together"):
        judge(np.zeros(3), np.zeros(3), [1, 2], max_drop=0.01)


def test_without_labels_agreement_alone_can_pass_but_never_fail() -> None:
    same = np.arange(1000) % 10
    few_differ, many_differ = same.copy(), same.copy()
    few_differ[:3] = 11
    many_differ[:500] = 11
    passed = judge(same, few_differ, None, max_drop=0.01)
    assert passed.outcome == "PASS"
    assert "no labels" in passed.why
    assert passed.drop is not None and passed.drop.value is None and passed.flips is None
    assert passed.drop.high == pytest.approx(0.00773, abs=1e-4)
    assert passed.drop.low == -passed.drop.high
    lost = judge(same, many_differ, None, max_drop=0.01)
    assert lost.outcome == "INCONCLUSIVE"
    assert lost.images_needed is None
    assert "no labels" in lost.why


def test_a_drop_at_the_budget_is_never_decided() -> None:
    assert proportions.images_to_decide(0.01, 0.05, 0.01) is None
    assert judge(*predictions(15, 5, 1000, 800), max_drop=0.01).images_needed is None


def test_healthy_predictions_raise_no_suspicion() -> None:
    labels = np.arange(1000) % 10
    for known in (labels.tolist(), None):
        assert collapse(labels, known, name="baseline", num_classes=10) == ()
        assert chance(labels, known, num_classes=10) == ()


def test_a_collapsed_candidate_is_named() -> None:
    labels = np.arange(1000) % 10
    (found,) = collapse(np.full(1000, 7), labels.tolist(), name="candidate", num_classes=10)
    assert "candidate" in found and "class 7" in found
    nearly = np.full(1000, 7)
    nearly[:20] = 3
    (found,) = collapse(nearly, labels.tolist(), name="candidate", num_classes=10)
    assert "98%" in found


def test_a_baseline_at_chance_points_at_preprocessing_and_class_map() -> None:
    rng = np.random.default_rng(0)
    labels, guesses = np.arange(1000) % 100, rng.integers(0, 100, 1000)
    (found,) = chance(guesses, labels.tolist(), num_classes=100)
    assert "--class-map" in found and "mean" in found
    assert chance(guesses % 2, labels % 2, num_classes=2) == ()


def test_images_of_one_class_may_all_get_one_answer() -> None:
    ones = np.ones(200, int)
    assert collapse(ones, ones.tolist(), name="baseline", num_classes=10) == ()
