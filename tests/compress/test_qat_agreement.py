"""The integer file answers what the trained network answered, on every runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecnn.compress.qat.kernel import prepare
from edgecnn.compress.qat.stage import Qat
from edgecnn.core.artifact import Artifact, FormatName
from edgecnn.core.events import ignore
from edgecnn.formats.onnx.quantize import saturates_here
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.predict.runtime import run_file

BACKENDS: dict[FormatName, str] = {"onnx": "onnxruntime", "tensorrt": "onnxruntime", "tflite": "tflite"}
AGREEMENT = 0.995


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tensorrt", "tflite"))]
)
def test_the_file_answers_like_the_trained_network(around, exported, digits, format: FormatName) -> None:
    _, everything = digits
    source: Artifact = exported(format)
    # ONNX Runtime's 16-bit sums saturate on x86-64 without VNNI, so the file would answer otherwise than its grid says.
    bits = 7 if format == "onnx" and saturates_here() else 8
    stage = Qat.model_validate({"training": {"learning_rate": 1e-3, "device": "cpu"}, "weight_bits": bits})
    trained = stage.run(source, around.context("qat", format))
    assert trained.kind == (format, "fp32", "qat")
    made = Quantize(weight_bits=bits).run(trained, around.context("quantize", format))
    assert made.kind == (format, "int8", "qat")

    network = prepare(trained, stage, around.context("again", format)).network
    with torch.inference_mode():
        expected = np.concatenate([network(torch.from_numpy(batch)).numpy() for batch in everything.batches(256)])
    found = run_file(made, everything, backend=BACKENDS[format], threads=1, listener=ignore)
    agreement = (found.argmax(1) == expected.argmax(1)).mean()
    assert agreement >= AGREEMENT
