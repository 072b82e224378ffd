"""An ONNX file in which no layer with weights became INT8 is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgecnn.core.errors import StepError

Make = Callable[..., Any]


def two_layers(net: Any) -> list[str]:
    return [net.classify(net.op("Relu", [net.conv("input", "stem")], "act"))]


@pytest.mark.parametrize("family", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("patterns", [("stem", "head"), (".*",)])
def test_with_every_layer_kept_in_float_there_is_no_int8_file(
    net: Any, int8: Make, family: str, patterns: tuple[str, ...]
) -> None:
    with pytest.raises(StepError) as caught:
        int8(net.model(*two_layers(net)), family, keep_float=patterns)
    assert caught.value.code == "nothing-quantized"
    assert "keep_float" in caught.value.why and "keep_float" in caught.value.hint


def test_a_file_in_fp16_is_not_called_int8(net: Any, int8: Make) -> None:
    """Its Q/DQ nodes are for float32 tensors: it would get none."""
    model = net.model(*two_layers(net))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(StepError) as caught:
        int8(model)
    assert caught.value.code == "nothing-quantized"
    assert caught.value.why == "its weights are float16, and INT8 is made of float32"


def test_a_network_without_a_layer_that_can_be_quantized_is_not_called_int8(net: Any, int8: Make) -> None:
    with pytest.raises(StepError) as caught:
        int8(net.model(net.op("Flatten", [net.op("GlobalAveragePool", ["input"], "pool")], "flatten")))
    assert caught.value.code == "nothing-quantized"
