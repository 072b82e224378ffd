"""Ladder: which attempt follows which, on trials whose losses are written down."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.fallbacks.calibrate import Calibrate
from edgecnn.compress.fallbacks.weight_bits import WeightBits
from edgecnn.config.recipe import Recipe
from edgecnn.formats.export_stage import Export
from edgecnn.formats.onnx import quantize
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.ladder import Ladder
from edgecnn.workflows.optimize.trial import Trial


class Faint(Fallback):
    """Applies to nothing."""

    kind: ClassVar[str] = "faint"

    def applies(self, known: Known) -> bool:
        return False

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        raise AssertionError("it does not apply")


def trial(loss: float, *, passes: bool = False) -> Trial:
    judgement: Any = SimpleNamespace(largest_loss=loss, agreement=0.95)
    execution = Execution("onnx", records=[{"stage": "quantize"}])
    return Trial("", execution, SimpleNamespace(), judgement, exceeds="", passes=passes)  # type: ignore[arg-type]


def attempts(*fallbacks: Fallback, losses: list[float]) -> list[Attempt]:
    """What the ladder tries when the recipe as written loses `losses[0]` and each attempt the next of them."""
    recipe = Recipe(name="t", stages=(Export(), Quantize()), ladder=fallbacks)
    request: Any = SimpleNamespace(recipe=recipe, budget=SimpleNamespace(max_drop=0.01))
    ladder, history, steps = Ladder(request, SimpleNamespace()), [trial(losses[0])], []  # type: ignore[arg-type]
    for loss in losses[1:]:
        step = ladder(history)
        assert isinstance(step, tuple), step
        steps.append(step[1])
        history.append(trial(loss))
    return steps


@pytest.mark.parametrize(
    ("loss", "bits", "label"), [(0.1, 7, "7-bit weights, calibrate mse"), (0.3, 8, "calibrate mse")]
)
def test_later_fallbacks_start_from_seven_bits_only_where_these_helped(monkeypatch, loss, bits, label) -> None:
    monkeypatch.setattr(quantize, "saturates_here", lambda: True)
    narrow, calibrated = attempts(WeightBits(), Calibrate(observers=("mse",)), losses=[0.2, loss, 0.15])
    assert (narrow.label, narrow.stages[1].weight_bits) == ("7-bit weights", 7)
    assert (calibrated.label, calibrated.stages[1].weight_bits, calibrated.stages[1].observer) == (label, bits, "mse")


def test_a_fallback_that_does_not_apply_is_passed_over_without_a_row(monkeypatch) -> None:
    monkeypatch.setattr(quantize, "saturates_here", lambda: False)
    (calibrated,) = attempts(WeightBits(), Faint(), Calibrate(observers=("mse",)), losses=[0.2, 0.1])
    assert (calibrated.label, calibrated.stages[1].weight_bits) == ("calibrate mse", 8)
