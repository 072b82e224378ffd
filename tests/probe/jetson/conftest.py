"""`jetson`: stubs of NVIDIA's programs (see `tests/jetson_stubs.py`). No Jetson is at hand: nothing is measured."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from jetson_stubs import Jetson


@pytest.fixture
def jetson(tmp_path: Path) -> Jetson:
    return Jetson(tmp_path)


@pytest.fixture
def onnx_model(tmp_path: Path) -> Path:
    """(n, 3, 8, 8) -> (n, 3): the mean over the pixels; batch free."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["y"])],
        "mean",
        [helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 3])],
    )
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
