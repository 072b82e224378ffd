"""`edgecnn inspect` on checkpoints and on exported files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper

from edgecnn.cli import main
from edgecnn.core.errors import InputError
from edgecnn.formats.inspect import read
from edgecnn.models import open_model
from edgecnn.models.cost import macs


def inspect(file: Path, *words: str) -> None:
    """`edgecnn inspect FILE ...`; raises what ends it."""
    main.run(["inspect", str(file), *words])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "c.pth"
    names = [f"class {index}" for index in range(12)]
    content = {"model": torchvision.models.squeezenet1_1(num_classes=12).half().state_dict(), "class_names": names}
    torch.save(content, path)
    return path


def one_layer(path: Path) -> Path:
    """One convolution whose weights are INT8 behind a DequantizeLinear, and one in float."""
    constants = [
        numpy_helper.from_array(np.ones((4, 3, 1, 1), np.int8), "q"),
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.ones((2, 4, 1, 1), np.float32), "w"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Conv", ["x", "d"], ["y"]),
        helper.make_node("Conv", ["y", "w"], ["z"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2, 8, 8])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [z], constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    helper.set_model_props(model, {"edgecnn": '{"model": "m"}'})
    onnx.save(model, path)
    return path


def test_the_table_of_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(checkpoint)
    shown = capsys.readouterr().out
    for part in ("torchvision:squeezenet1_1", "dict with 'model'", "3 x 224 x 224", "float16", "class 7 and 4 more"):
        assert part in shown
    assert "crop 224 x 224, RGB" in shown


def test_the_json_of_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(checkpoint, "--model", "squeezenet1_1", "--json")
    facts = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], facts["num_classes"], facts["dtype"]) == ("torchvision:squeezenet1_1", 12, "float16")
    assert facts["macs"] > facts["parameters"] > 0


@pytest.mark.parametrize("text", ["{", "[]", '{"num_classes": 3}'])
def test_damaged_metadata(text: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(torchvision.models.squeezenet1_1(num_classes=12).state_dict(), tmp_path / "c.st", {"edgecnn": text})
    with pytest.raises(InputError) as caught:
        inspect(tmp_path / "c.st")
    assert caught.value.code == "damaged-metadata"
    assert "metadata" in caught.value.message


def test_multiply_accumulates_are_counted_by_hand(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    body = nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*body, nn.Linear(4, 5))\n"
    )
    state = {
        "0.weight": torch.ones(4, 3, 3, 3),
        "0.bias": torch.ones(4),
        "3.weight": torch.ones(5, 4),
        "3.bias": torch.ones(5),
    }
    torch.save({"state_dict": state, "input_size": 10}, tmp_path / "c.pth")
    assert macs(open_model(tmp_path / "c.pth", architecture=f"{source}:net")) == 10 * 10 * 4 * 3 * 9 + 4 * 5


def test_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = one_layer(tmp_path / "m.onnx")
    found = read(path, "onnx")
    assert found.inputs[0].shape == ("N", 3, 8, 8)
    assert found.operators == {"Conv": 2, "DequantizeLinear": 1}
    assert found.layers == {"int8": 1, "float32": 1}
    assert (found.opset, found.metadata) == ("ai.onnx 17", {"edgecnn": '{"model": "m"}'})
    inspect(path)
    assert "1 layers int8, 1 layers float32" in capsys.readouterr().out


def test_a_damaged_onnx_file(tmp_path: Path) -> None:
    path = one_layer(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError) as caught:
        inspect(path)
    assert caught.value.code == "damaged-file"


def test_a_tflite_file(tmp_path: Path) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    def tensor(name: bytes, shape: list[int], kind: int) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
        return made

    graph, layer, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    kinds = schema.TensorType
    graph.tensors = [
        tensor(b"x", [1, 8, 8, 3], kinds.FLOAT32),
        tensor(b"w", [4, 1, 1, 3], kinds.INT8),
        tensor(b"y", [1, 8, 8, 4], kinds.FLOAT32),
    ]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1], [2]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "m.tflite"
    path.write_bytes(bytes(builder.Output()))
    found = read(path, "tflite")
    assert (found.operators, found.layers) == ({"CONV_2D": 1}, {"int8": 1})
    assert (found.inputs[0].shape, found.inputs[0].layout, found.outputs[0].name) == ((1, 8, 8, 3), "NHWC", "y")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError):
        read(path, "tflite")
