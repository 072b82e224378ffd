"""What `inspect` says of TFLite files that other converters wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.formats.inspect import ExportedModel, read

schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated")


class File:
    """A file under construction, of one subgraph for each list of operators."""

    def __init__(self) -> None:
        self.codes: list[Any] = []
        self.graphs: list[Any] = []

    def graph(self, tensors: list[tuple[str, list[int], str]], *operators: tuple[str, list[int], int]) -> Any:
        """`tensors` are (name, shape, type), `operators` (name, inputs, output); the first tensor is fed."""
        graph = schema.SubGraphT()
        graph.tensors = [self.tensor(*item) for item in tensors]
        graph.inputs, graph.outputs = [0], [operators[-1][2]]
        graph.operators = [self.operator(*item) for item in operators]
        self.graphs.append(graph)
        return graph

    def tensor(self, name: str, shape: list[int], kind: str) -> Any:
        made = schema.TensorT()
        made.name, made.buffer, made.type = name.encode(), 0, getattr(schema.TensorType, kind)
        made.shape = [abs(size) for size in shape]
        made.shapeSignature = shape if -1 in shape else None
        return made

    def operator(self, name: str, inputs: list[int], output: int) -> Any:
        code, made = schema.OperatorCodeT(), schema.OperatorT()
        number = getattr(schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        self.codes.append(code)
        made.opcodeIndex, made.inputs, made.outputs = len(self.codes) - 1, inputs, [output]
        return made

    def held(self, folder: Path) -> ExportedModel:
        import flatbuffers

        model = schema.ModelT()
        model.version, model.operatorCodes = 3, self.codes
        model.subgraphs, model.buffers = self.graphs, [schema.BufferT()]
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        (folder / "m.tflite").write_bytes(bytes(builder.Output()))
        return read(folder / "m.tflite", "tflite")


IMAGE = ("x", [1, 8, 8, 3], "FLOAT32")


def filters(kind: str, name: str = "w") -> tuple[str, list[int], str]:
    return name, [4, 1, 1, 3], kind


@pytest.mark.parametrize("kind", ["FLOAT16", "INT8"])
def test_weights_that_are_turned_into_float_are_what_is_stored(tmp_path: Path, kind: str) -> None:
    """One dequantized filter serves two layers."""
    file = File()
    answers = [(name, [1, 8, 8, 4], "FLOAT32") for name in ("y", "z")]
    file.graph(
        [IMAGE, filters(kind), filters("FLOAT32", "v"), *answers],
        ("DEQUANTIZE", [1], 2),
        ("CONV_2D", [0, 2], 3),
        ("CONV_2D", [0, 2], 4),
    )
    assert file.held(tmp_path).layers == {kind.lower(): 2}


def test_sparse_weights_are_called_so(tmp_path: Path) -> None:
    file = File()
    graph = file.graph(
        [IMAGE, filters("FLOAT16"), filters("FLOAT16", "d"), filters("FLOAT32", "v"), ("y", [1, 8, 8, 4], "FLOAT32")],
        ("DENSIFY", [1], 2),
        ("DEQUANTIZE", [2], 3),
        ("CONV_2D", [0, 3], 4),
    )
    graph.tensors[1].sparsity = schema.SparsityParametersT()
    assert file.held(tmp_path).layers == {"float16 sparse": 1}


def test_a_product_of_two_computed_tensors_has_no_weights(tmp_path: Path) -> None:
    file = File()
    rows = [(name, [1, 4], "FLOAT32") for name in ("x", "a", "y")]
    file.graph(rows, ("RELU", [0], 1), ("FULLY_CONNECTED", [0, 1], 2))
    found = file.held(tmp_path)
    assert (found.layers, found.operators) == ({}, {"RELU": 1, "FULLY_CONNECTED": 1})


def test_branches_are_read(tmp_path: Path) -> None:
    file = File()
    answer = ("y", [1, 8, 8, 4], "FLOAT32")
    file.graph([IMAGE, ("c", [], "BOOL"), answer], ("IF", [1, 0], 2))
    for kind in ("FLOAT32", "INT8"):
        file.graph([IMAGE, filters(kind), answer], ("CONV_2D", [0, 1], 2))
    found = file.held(tmp_path)
    assert found.operators == {"IF": 1, "CONV_2D": 2}
    assert found.layers == {"float32": 1, "int8": 1}


def test_sizes_that_the_file_leaves_free(tmp_path: Path) -> None:
    file = File()
    shape = [-1, -1, 8, 3]
    file.graph([("x", shape, "FLOAT32"), ("y", shape, "FLOAT32")], ("RELU", [0], 1))
    assert file.held(tmp_path).inputs[0].shape == ("?", "?", 8, 3)
