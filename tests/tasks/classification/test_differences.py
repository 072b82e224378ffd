"""Differences between two classifiers: alarms of classes are seldom false, and what broke is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.tasks.classification.differences import _classes, differences
from edgecnn.tasks.classification.packing import pack, unpack
from edgecnn.tasks.task import Answers

NAMES = [f"class {number}" for number in range(12)]


class _Images:
    def __init__(self, labels: list[int] | None) -> None:
        self.labels = labels


def _answers(predicted: np.ndarray, labels: list[int] | None) -> Answers:
    outputs = np.full((len(predicted), len(NAMES)), -4.0, np.float32)
    outputs[np.arange(len(predicted)), predicted] = 4.0
    images: Any = _Images(labels)
    return Answers(outputs, images)


def test_the_class_that_broke_is_an_alarm_and_no_other() -> None:
    truth = np.repeat(np.arange(12), 60)
    after = truth.copy()
    after[truth == 7] = np.where(np.arange(60) < 30, 2, 7)
    after[0] = 5  # one image of another class
    found = differences(
        _answers(truth, truth.tolist()), _answers(after, truth.tolist()), NAMES, max_class_drop=0.05, confidence=0.95
    )
    assert [change.name for change in found.alarms] == ["class 7"]
    (alarm,) = found.alarms
    assert (alarm.images, alarm.broke, alarm.fixed, alarm.drop) == (60, 30, 0, 0.5) and found.groups[0] == alarm
    assert {item.expected for item in found.broken} == {"class 7", "class 0"} and len(found.broken) == 31
    assert [name for name, *_ in found.figures] == ["top-1", "top-5", "calibration error"]
    assert found.figures[0][1:4] == ("100.00 %", "95.69 %", "-4.31 points")
    low, high = map(float, found.figures[0][4].split(" … "))
    assert low < -4.31 < high < 0


def test_a_class_that_lost_no_more_than_allowed_is_none() -> None:
    truth = np.repeat(np.arange(12), 60)
    after = np.where((truth == 7) & (np.arange(len(truth)) % 20 == 0), 2, truth)  # 5 % of it
    found = differences(
        _answers(truth, truth.tolist()), _answers(after, truth.tolist()), NAMES, max_class_drop=0.05, confidence=0.95
    )
    assert not found.alarms and found.groups[0].name == "class 7"


def test_without_labels_the_images_answered_otherwise_are_listed() -> None:
    before, after = np.zeros(20, int), np.zeros(20, int)
    after[4] = 3
    found = differences(_answers(before, None), _answers(after, None), NAMES, max_class_drop=0.0, confidence=0.95)
    assert not found.groups and not found.figures
    assert [(item.row, item.expected, item.answer) for item in found.broken] == [(4, "class 0", "class 3")]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_false_alarms_are_at_most_5_percent_of_all(share: float) -> None:
    """Forty classes that lose just what is allowed and ten that lose four times that, a thousand times."""
    rng, images, allowed = np.random.default_rng(1), 80, share
    truth = np.repeat(np.arange(50), images)
    names = [str(number) for number in range(50)]
    losing = np.where(np.arange(50) < 10, min(4 * allowed, 0.9), allowed)[truth]
    right = np.ones(len(truth), bool)
    shares, hits = [], 0
    for _ in range(1_000):
        still = rng.random(len(truth)) >= losing
        alarms = [int(change.name) for change in _classes(right, still, truth, names, allowed) if change.alarm]
        shares.append(sum(name >= 10 for name in alarms) / max(1, len(alarms)))
        hits += sum(name < 10 for name in alarms)
    assert np.mean(shares) <= 0.05
    assert hits > 5_000  # and it does see what is there


@pytest.mark.parametrize("classes", [2, 3, 10, 1_000])
def test_packed_answers_rank_and_are_as_sure_as_before(classes: int) -> None:
    outputs = (3 * np.random.default_rng(0).normal(size=(300, classes))).astype(np.float32)
    packed = pack(outputs)
    again = unpack(packed, width=classes)
    assert again.shape == outputs.shape and again.dtype == np.float32
    best = np.argsort(-outputs, axis=1)[:, : min(5, classes)]
    assert np.array_equal(np.argsort(-again, axis=1)[:, : min(5, classes)], best)
    exact = np.exp(outputs - outputs.max(1, keepdims=True))
    assert np.abs(np.exp(again).max(1) - 1 / exact.sum(1)).max() < 1e-3
    assert sum(array.nbytes for array in packed.values()) <= 300 * (2 + 5 * packed["best"].itemsize)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed.pop("best"),
        lambda packed: packed.update(best=packed["best"][:, :2]),
        lambda packed: packed.update(best=packed["best"] + 7),
        lambda packed: packed.update(best=packed["best"] * 0),
        lambda packed: packed.update(confidence=packed["confidence"] * np.float16(np.nan)),
    ],
    ids=["missing", "narrow", "beyond", "twice", "nan"],
)
def test_arrays_that_are_no_packed_answers_are_refused(spoil: Any) -> None:
    packed = dict(pack(np.random.default_rng(0).normal(size=(9, 10)).astype(np.float32)))
    spoil(packed)
    with pytest.raises((KeyError, ValueError)):
        unpack(packed, width=10)
