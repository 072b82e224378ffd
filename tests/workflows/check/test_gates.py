"""Gates: a latency passes or fails by its interval alone, and by nothing that other programs spoiled."""

from __future__ import annotations

from typing import Any

import pytest

from edgecnn.report.check.model import Gate, LatencyRatio
from edgecnn.tasks.differences import Differences
from edgecnn.tasks.task import Judgement
from edgecnn.workflows.check.gates import Asked, gates, limit_of


def _gate(low: float, ratio: float, high: float, *reasons: str, limit: float = 0.8) -> Gate:
    latency = LatencyRatio(ratio, low, high, "ci95", 5, 1.0, ratio, "valid", reasons)
    judged = Judgement("PASS", "it passes")
    asked = Asked(0.01, max_latency_ratio=limit)
    *_, gate = gates(asked, judged, Differences(), latency, 1)
    return gate


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.70, 0.75, 0.79), "PASS"),
        ((0.81, 0.85, 0.90), "FAIL"),
        ((0.75, 0.79, 0.82), "INCONCLUSIVE"),
        ((0.7999, 0.7999, 0.7999), "INCONCLUSIVE"),  # within the noise floor of 1 %
        ((0.8001, 0.8001, 0.8001), "INCONCLUSIVE"),
    ],
)
def test_the_whole_interval_has_to_lie_on_one_side(interval: tuple[float, float, float], outcome: str) -> None:
    assert _gate(*interval).outcome == outcome


@pytest.mark.parametrize("interval", [(0.2, 0.25, 0.3), (2.0, 2.5, 3.0)])
def test_a_disturbed_measurement_decides_nothing(interval: tuple[float, float, float]) -> None:
    gate = _gate(*interval, "other programs used up to 49% of the CPU meanwhile")
    assert gate.outcome == "INCONCLUSIVE" and "49%" in gate.why


def test_what_was_not_asked_is_no_gate() -> None:
    judged = Judgement("INCONCLUSIVE", "too few", images_needed=1_234)
    (gate,) = gates(Asked(0.01), judged, Differences(), None, 10**9)
    assert gate == Gate(
        "accuracy", "INCONCLUSIVE", "too few; about 1,234 images would decide it, with 80 % probability"
    )


@pytest.mark.parametrize(("written", "value"), [("80%", 0.8), (0.8, 0.8), ("1.5", 1.5), (None, None)])
def test_a_ratio_is_read_as_it_is_written(written: Any, value: float | None) -> None:
    assert limit_of(written) == value
