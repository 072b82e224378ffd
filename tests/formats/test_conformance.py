"""The three formats that come with edgecnn do what every format must do."""

from __future__ import annotations

import pytest

from edgecnn.formats.onnx import FORMAT as ONNX
from edgecnn.formats.tensorrt import FORMAT as TENSORRT
from edgecnn.formats.tflite import FORMAT as TFLITE
from edgecnn.testing.format import FormatConformance


class TestOnnx(FormatConformance):
    format = ONNX


class TestTensorrt(FormatConformance):
    format = TENSORRT


@pytest.mark.skipif(TFLITE.missing_extra() is not None, reason="the extra `tflite` is not installed")
class TestTflite(FormatConformance):
    format = TFLITE
