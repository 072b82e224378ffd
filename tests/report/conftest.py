"""A report with one row of every kind, made by hand."""

from __future__ import annotations

import pytest

from edgecnn.formats.fusion import FloatLayer, Fusion
from edgecnn.report.facts import DataFacts, ModelFacts, RecipeFacts, StageFacts
from edgecnn.report.model import Accuracy, Parity, Report, Row, Speed

PARITY = Parity(images=32, max_abs_diff=0.4312, cosine=0.9987, sqnr_db=25.83, agreement=0.96875)


def _speed(median_ms: float, **more: object) -> Speed:
    fields: dict[str, object] = {
        "median_ms": median_ms,
        "median_low_ms": median_ms * 0.98,
        "median_high_ms": median_ms * 1.03,
        "interval": "ci95",
        "p90_ms": median_ms * 1.06,
        "p90_bound_ms": median_ms * 1.09,
        "load_ms": 41.5,
        "first_ms": median_ms * 1.8,
        "peak_rss_bytes": 88_200_000,
        "threads": 4,
        "processes": 5,
        "samples": 640,
    }
    return Speed(**{**fields, **more})  # type: ignore[arg-type]


BASELINE = Row(
    format="onnx",
    precision="fp32",
    backend="onnxruntime",
    status="ok",
    file="artifacts/model.fp32.onnx",
    size_bytes=18_612_345,
    sha256="a1" * 32,
    accuracy=Accuracy(runtime="onnxruntime", images=400, correct=302, top1=0.755, agreement=1.0),
    parity=Parity(images=32, max_abs_diff=0.0000081, cosine=1.0, sqnr_db=None, agreement=1.0),
    speed=_speed(12.31),
)
PASSED = Row(
    format="onnx",
    precision="int8",
    backend="onnxruntime",
    status="ok",
    file="artifacts/model.int8.onnx",
    size_bytes=5_123_456,
    sha256="b2" * 32,
    outcome="PASS",
    outcome_why="0.25 points lost, at most 0.91",
    accuracy=Accuracy("onnxruntime", 400, 301, 0.7525, 0.9875, 2, 1, 0.0025, -0.0041, 0.0091),
    parity=PARITY,
    speed=_speed(7.02, speedup=1.753, speedup_low=1.702, speedup_high=1.794, conclusion="faster"),
    fusion=Fusion("onnxruntime", "checked", {"QLinearConv": 49, "QLinearAdd": 10, "QGemm": 1}, 60, 0),
)
FAILED_VERDICT = Row(
    format="tflite",
    precision="int8",
    backend="tflite",
    status="ok",
    file="artifacts/model.int8.tflite",
    size_bytes=5_301_000,
    sha256="c3" * 32,
    outcome="FAIL",
    outcome_why="4.50 points lost, at least 2.60: more than the 1 point allowed",
    accuracy=Accuracy("tflite", 400, 284, 0.71, 0.93, 21, 3, 0.045, 0.026, 0.064),
    parity=PARITY,
    speed=_speed(
        6.9,
        p90_bound_ms=None,
        processes=2,
        samples=20,
        interval="range",
        speedup=0.97,
        speedup_low=0.91,
        speedup_high=1.04,
        conclusion="INT8 is not faster here",
        reasons=("other programs used 31 % of the CPU while this was measured",),
    ),
    fusion=Fusion(
        runtime="litert",
        status="checked",
        counts={"DELEGATE": 3, "CONV_2D": 2},
        integer=47,
        floating=2,
        float_layers=(
            FloatLayer("stem/conv", "CONV_2D", "its weights are per tensor"),
            FloatLayer("head|pool", "MEAN", "no integer kernel"),
        ),
    ),
    warnings=("3 delegate partitions instead of one",),
)
STAND_IN = Row(
    format="tensorrt",
    precision="int8",
    backend="tensorrt",
    status="ok",
    file="artifacts/model.int8.tensorrt.onnx",
    size_bytes=18_900_000,
    sha256="d4" * 32,
    outcome="INCONCLUSIVE",
    outcome_why="1.00 points lost, between -0.60 and 2.60: about 1900 images would decide",
    accuracy=Accuracy(
        "onnxruntime", 400, 298, 0.745, 0.97, 8, 4, 0.01, -0.006, 0.026, "this host has no GPU for TensorRT"
    ),
    fusion=Fusion("tensorrt", "skipped", note="TensorRT is not installed"),
)
FAILED_ROW = Row("tensorrt", "fp16", "tensorrt", "failed", reason="a weight does not fit into FP16")
SKIPPED = Row("tflite", "fp32", "tflite", "skipped", reason='the extra is missing: pip install "edgecnn[tflite]"')


@pytest.fixture
def report() -> Report:
    return Report(
        title="efficientnet-lite0 for Raspberry Pi 5",
        outcome="FAIL",
        outcome_why="tflite int8 loses more than the 1 point allowed; onnx int8 passes",
        target={"name": "raspberry-pi-5", "title": "Raspberry Pi 5"},
        host={"cpu": "Example CPU", "cores": 4, "usable_cores": 4, "python": "3.11.7", "board": None},
        measured_on="this host (Example CPU, 4 cores)",
        elsewhere="This is not a Raspberry Pi 5: its times will differ, and INT8 may gain more or less there.",
        model=ModelFacts(
            name="timm:efficientnet_lite0",
            sha256="e5" * 32,
            parameters=4_652_008,
            input_shape=(3, 224, 224),
            num_classes=1000,
        ),
        data=DataFacts(
            source="photos",
            form="folder",
            images={"training": 500, "calibration": 200, "evaluation": 400},
            digests={"calibration": "f6" * 32, "evaluation": "07" * 32},
        ),
        recipe=RecipeFacts(
            name="int8",
            stages=({"export": {}}, {"quantize": {"observer": "percentile", "keep_float": ["a", "b"]}}),
        ),
        max_drop=0.01,
        profile="quick",
        rows=(BASELINE, PASSED, SKIPPED, FAILED_VERDICT, FAILED_ROW, STAND_IN),
        conclusions=("Ship onnx int8: 1.75x faster than FP32, 0.25 points lost, a quarter of the size.",),
        warnings=("13 layers were calibrated on a narrow range",),
        stages=(
            StageFacts("export", "onnx fp32", seconds=3.14),
            StageFacts("quantize", "onnx int8", seconds=21.0, cached=True),
        ),
        created="2026-11-22T17:00:00+00:00",
        version="0.1.0",
    )
