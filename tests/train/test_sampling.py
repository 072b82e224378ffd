"""How often each class is shown, and what it weighs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecnn.core.errors import InputError
from edgecnn.train.sampling import Sampling, balanced_weights, class_counts, order

LABELS = (0,) * 90 + (1,) * 9 + (3,) * 21


def drawn(sampling: Sampling, *, batch: int, seed: int = 0) -> np.ndarray:
    return order(len(LABELS), LABELS, sampling=sampling, batch=batch, rng=np.random.default_rng(seed))


def counts(positions: np.ndarray) -> dict[int, int]:
    labels, found = np.unique(np.array(LABELS)[positions], return_counts=True)
    return dict(zip(labels.tolist(), found.tolist(), strict=True))


def test_shuffled_shows_every_image_at_most_once() -> None:
    batches = drawn("shuffled", batch=16)
    assert batches.shape == (7, 16)
    assert len(np.unique(batches)) == 7 * 16
    assert not np.array_equal(batches, drawn("shuffled", batch=16, seed=1))
    assert np.array_equal(batches, drawn("shuffled", batch=16))
    assert sorted(drawn("shuffled", batch=1000).ravel()) == list(range(120))


def test_weighted_draws_classes_alike_on_average() -> None:
    rng = np.random.default_rng(0)
    shown = [order(120, LABELS, sampling="weighted", batch=40, rng=rng) for _ in range(40)]
    found = counts(np.concatenate(shown))
    assert sum(found.values()) == 4800
    for label in (0, 1, 3):
        assert abs(found[label] / 4800 - 1 / 3) < 0.03
    assert len(np.unique(shown[0])) < 120  # with replacement


@pytest.mark.parametrize("batch", [12, 16, 2])
def test_balanced_has_every_class_equally_often_in_each_batch(batch: int) -> None:
    batches = drawn("balanced", batch=batch)
    assert batches.shape == (120 // batch, batch)
    for one in batches:
        found = counts(one)
        assert max(found.values()) - min(found.get(label, 0) for label in (0, 1, 3)) <= 1
    over_all = counts(batches)
    assert max(over_all.values()) - min(over_all.values()) <= 1


def test_balanced_shows_all_of_a_class_before_any_of_it_again() -> None:
    batches = drawn("balanced", batch=12)
    each = np.bincount(batches.ravel(), minlength=120)
    for label in (0, 1, 3):
        of_class = each[np.array(LABELS) == label]
        assert of_class.max() - of_class.min() <= 1
    # Not class by class within a batch: processes that share a batch would each see few classes.
    assert any(not np.array_equal(np.sort(row), row) for row in np.array(LABELS)[batches])


@pytest.mark.parametrize("sampling", ["weighted", "balanced"])
def test_one_image_per_class_is_enough(sampling: Sampling) -> None:
    found = order(3, (0, 1, 2), sampling=sampling, batch=2, rng=np.random.default_rng(0))
    assert found.shape == (1, 2)
    if sampling == "balanced":
        assert len(set(found.ravel())) == 2


@pytest.mark.parametrize("sampling", ["weighted", "balanced"])
def test_sampling_by_class_needs_labels(sampling: Sampling) -> None:
    with pytest.raises(InputError) as caught:
        order(8, None, sampling=sampling, batch=2, rng=np.random.default_rng(0))
    assert caught.value.code == "no-labels"
    assert "shuffled" in caught.value.hint


def test_balanced_weights_even_the_classes_out() -> None:
    weights = balanced_weights(LABELS, 4)
    found = class_counts(LABELS, 4)
    assert found.tolist() == [90, 9, 0, 21]
    assert weights.dtype == torch.float32
    weighed = (weights * found)[[0, 1, 3]]
    assert torch.allclose(weighed, torch.full((3,), 40.0))
    assert float(weights[torch.tensor(LABELS)].mean()) == pytest.approx(1.0)
    assert weights[2] == 1.0
    assert torch.equal(balanced_weights((0, 1, 0, 1), 2), torch.ones(2))


@pytest.mark.parametrize("labels", [(0, 4), (0, -1)])
def test_labels_outside_the_classes_are_refused(labels: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"label {labels[1]} is outside the 4 classes"):
        class_counts(labels, 4)
