"""What `inspect` says of ONNX files that other exporters wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.formats.inspect import ExportedModel, read

WEIGHT = np.ones((4, 3, 1, 1), np.float32)


def value(name: str, shape: Sequence[Any] | None = (1, 3, 8, 8), kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def held(
    path: Path, nodes: Sequence[Any], *, inputs: Sequence[Any] = (), constants: Sequence[Any] = ()
) -> ExportedModel:
    graph = helper.make_graph(nodes, "g", inputs or [value("x")], [value("y", None)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path / "m.onnx")
    return read(path / "m.onnx", "onnx")


def constant(name: str, array: np.ndarray) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8])
def test_weights_in_constant_nodes_count(tmp_path: Path, kind: type) -> None:
    nodes = [
        constant("w", WEIGHT.astype(kind)),
        helper.make_node("Cast", ["w"], ["v"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "v"], ["y"]),
    ]
    assert held(tmp_path, nodes).layers == {np.dtype(kind).name: 1}


def test_a_shape_is_no_weight(tmp_path: Path) -> None:
    """The filter is made of zeros, in a shape that is stored as int64."""
    shape = numpy_helper.from_array(np.array([4, 3, 1, 1]), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    assert held(tmp_path, nodes, constants=[shape]).layers == {"float32": 1}


def test_a_product_of_two_computed_tensors_has_no_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Reshape", ["x", "size"], ["a"]),
        constant("w", WEIGHT),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    assert held(tmp_path, nodes).layers == {"float32": 1}


def test_sparse_weights_are_called_so(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0, 5])), [4, 3])
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "g",
        [value("x", (1, 4))],
        [value("y", (1, 3))],
        sparse_initializer=[sparse],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert read(tmp_path / "m.onnx", "onnx").layers == {"float32 sparse": 1}


def test_branches_are_read_with_the_names_around_them(tmp_path: Path) -> None:
    """One branch takes the weight of the graph around it, the other has one of its own under the same name."""
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    ours = helper.make_graph([conv], "then", [], [value("y")])
    own = helper.make_graph([constant("w", WEIGHT.astype(np.float16)), conv], "else", [], [value("y")])
    nodes = [helper.make_node("If", ["condition"], ["y"], then_branch=ours, else_branch=own)]
    inputs = [value("x"), value("condition", (), TensorProto.BOOL)]
    found = held(tmp_path, nodes, inputs=inputs, constants=[numpy_helper.from_array(WEIGHT, "w")])
    assert found.operators == {"Conv": 2, "If": 1, "Constant": 1}
    assert found.layers == {"float32": 1, "float16": 1}


def test_sizes_that_the_file_leaves_free_are_no_zeros(tmp_path: Path) -> None:
    inputs = [value("x", ("batch", None, 8, -1)), value("any", None), value("none", (0, 3)), value("scalar", ())]
    found = held(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], inputs=inputs)
    assert [item.shape for item in found.inputs] == [("batch", "?", 8, "?"), ("...",), ("?", 3), ()]


def test_recurrent_weights_count(tmp_path: Path) -> None:
    constants = [numpy_helper.from_array(np.ones((1, 8, 4), np.float32), name) for name in ("w", "r")]
    nodes = [helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=2)]
    assert held(tmp_path, nodes, inputs=[value("x", (1, 1, 4))], constants=constants).layers == {"float32": 1}
