"""Stages are their own checked options; a target says how it runs a format."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edgecnn.core.artifact import Kind
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import MissingError
from edgecnn.formats.export_stage import Export
from edgecnn.formats.quantize_stage import Quantize

BOARD = DeviceProfile(
    name="board",
    title="Board",
    deployments=(
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
        Deployment(format="tflite", backend="tflite", family="litert"),
    ),
)


@pytest.mark.parametrize(
    "options",
    [{"observer": "median"}, {"percentile": 50}, {"percentile": 101}, {"weight_bits": 4}, {"observers": "mse"}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Quantize(**options)


def test_options_are_json() -> None:
    assert Quantize(observer="mse", keep_float=("stem",)).options() == {
        "observer": "mse",
        "percentile": 99.99,
        "io": "float",
        "weight_bits": 8,
        "keep_float": ["stem"],
    }


def test_a_stage_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Quantize().observer = "mse"  # type: ignore[misc]


def test_what_follows_what_is_decided_by_format_and_precision() -> None:
    assert Export().produces(Kind("torch", "fp32"), "onnx") == Kind("onnx", "fp32")
    assert Export().produces(Kind("onnx", "fp32"), "onnx") is None
    assert Quantize().produces(Kind("onnx", "fp32"), "onnx") == Kind("onnx", "int8")
    assert Quantize().produces(Kind("onnx", "fp16"), "onnx") is None
    assert Quantize().produces(Kind("onnx", "fp32"), "tflite") is None


def test_a_board_knows_how_it_runs_a_format() -> None:
    found = BOARD.deployment("tflite")
    assert found is not None
    assert found.family == "litert"
    assert BOARD.deployment("tensorrt") is None


def test_a_format_the_board_does_not_run_is_refused(context: object) -> None:
    with pytest.raises(MissingError) as caught:
        Quantize().run(None, context)  # type: ignore[arg-type]
    assert caught.value.code == "no-deployment"
    assert "board does not run tensorrt" in caught.value.message


@pytest.fixture
def context() -> object:
    from types import SimpleNamespace

    return SimpleNamespace(target=BOARD, format="tensorrt")
