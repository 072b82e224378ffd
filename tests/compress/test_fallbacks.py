"""Fallbacks turn a recipe's stages into others."""

from __future__ import annotations

from edgecnn.compress.fallbacks import Known, Stages
from edgecnn.compress.fallbacks.calibrate import Calibrate
from edgecnn.compress.fallbacks.keep_float import KeepFloat
from edgecnn.compress.fallbacks.prune_less import PruneLess
from edgecnn.compress.fallbacks.qat import TrainForGrid
from edgecnn.compress.fallbacks.weight_bits import WeightBits
from edgecnn.compress.prune.stage import Prune
from edgecnn.compress.qat.stage import Qat
from edgecnn.core.quantities import Amount
from edgecnn.formats.export_stage import Export
from edgecnn.formats.quantize_stage import Quantize


def test_the_bundled_fallbacks_change_only_what_they_are_for() -> None:
    stages: Stages = (Export(), Quantize())
    known = Known(0.97, lambda count: ["features.0", "fc", "features.3"][:count])
    calibrated = list(Calibrate().attempts(stages, known))
    assert [attempt.stages[1].observer for attempt in calibrated] == ["mse", "percentile"]
    assert not Calibrate().skip_reason(known)
    assert "50%" in Calibrate().skip_reason(Known(0.5, known.worst_layers))
    trained = list(TrainForGrid(epochs=(0.5, 1)).attempts(stages, known))
    assert [[stage.kind for stage in attempt.stages] for attempt in trained] == [["export", "qat", "quantize"]] * 2
    floating = list(KeepFloat(layers=(1, 2, 4)).attempts(stages, known))
    assert [attempt.stages[1].keep_float for attempt in floating] == [("features.0",), ("features.0", "fc")]
    assert list(PruneLess().attempts(stages, known)) == []  # nothing was pruned
    for wanted, less in (
        ({"macs": 0.5}, [0.75, 0.875]),
        ({"latency": "60%"}, [Amount(0.8), Amount(0.9)]),
        ({"size": "2 MB"}, []),
    ):
        pruned = list(PruneLess().attempts((Prune.model_validate(wanted), *stages), known))
        assert [getattr(attempt.stages[0], next(iter(wanted))) for attempt in pruned] == less


def test_seven_bits_are_tried_only_where_sums_of_products_overflow() -> None:
    stages: Stages = (Export(), Qat(epochs=1), Quantize(observer="mse"))
    known = Known(0.8, lambda _: [], saturates=True)
    (attempt,) = WeightBits().attempts(stages, known)
    assert [getattr(stage, "weight_bits", None) for stage in attempt.stages] == [None, 7, 7]
    assert attempt.stages[2].observer == "mse"
    assert list(WeightBits().attempts(attempt.stages, known)) == []
    assert WeightBits().applies(known)
    assert not WeightBits().applies(Known(0.8, lambda _: []))
