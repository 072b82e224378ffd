"""What is trained is the exported graph: its operators in torch answer what ONNX Runtime and LiteRT answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from edgecnn.compress.qat.onnx import floating
from edgecnn.compress.qat.prepared import require_same
from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.onnx.export import export

FAMILIES = ("mobilenet_v3_small", "squeezenet1_1", "resnet18")
SLOW = (
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "densenet121",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "convnext_tiny",
)
SIZE = 64


@dataclass(frozen=True)
class Model:
    made: nn.Module
    input_shape: tuple[int, int, int] = (3, SIZE, SIZE)
    name: str = "tests:network"
    num_classes: int = 1000
    sha256: str = ""

    def module(self) -> nn.Module:
        return self.made.eval()


def by_onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: images})[0]
    return found


@pytest.mark.parametrize("name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_torchvision_networks_answer_as_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    network = models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # else its folding is invisible
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path / "model.onnx"
    export(Model(network), path, preprocessing=Preprocessing(crop=(SIZE, SIZE), resize=SIZE))
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    expected = by_onnxruntime(path, images)
    found = floating(path)
    with torch.inference_mode():
        answers = found(torch.from_numpy(images)).numpy()
    assert np.abs(answers - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert {path for path in found.weight_names.values() if path.endswith("weight")} <= set(found.state_dict())


X = np.random.default_rng(1).standard_normal((2, 4, 7, 8)).astype(np.float32)
KERNEL = np.random.default_rng(2).standard_normal((6, 4, 3, 3)).astype(np.float32)
TURNED = np.random.default_rng(2).standard_normal((4, 6, 3, 3)).astype(np.float32)
ROW = np.random.default_rng(3).standard_normal(4).astype(np.float32)
CHANNELS = ROW.reshape(4, 1, 1)


def whole(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


OPERATORS: list[tuple[str, list[np.ndarray | None], dict[str, Any]]] = [
    ("Conv", [KERNEL], {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [KERNEL[:4, :1], ROW], {"group": 4, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ("ConvTranspose", [TURNED], {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 1]}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("GlobalMaxPool", [], {}),
    ("BatchNormalization", [ROW, ROW * 2, ROW + 1, np.abs(ROW) + 1], {"epsilon": 1e-3}),
    ("LayerNormalization", [np.linspace(1, 2, 8, dtype=np.float32)], {"axis": -1}),
    ("InstanceNormalization", [ROW, ROW], {}),
    ("Clip", [None, np.array(0.5, np.float32)], {}),
    ("LeakyRelu", [], {"alpha": 0.3}),
    ("Elu", [], {"alpha": 0.7}),
    ("PRelu", [CHANNELS], {}),
    ("HardSigmoid", [], {"alpha": 1 / 6}),
    *[(kind, [], {}) for kind in ("HardSwish", "Sigmoid", "Tanh", "Erf", "Softplus", "Mish", "Neg", "Abs", "Exp")],
    ("Softmax", [], {"axis": 1}),
    ("LogSoftmax", [], {}),
    *[(kind, [CHANNELS], {}) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")],
    ("Pow", [np.array(2.0, np.float32)], {}),
    ("ReduceMean", [whole(2, 3)], {"keepdims": 0}),
    ("ReduceMax", [whole(1)], {}),
    ("Reshape", [whole(0, -1, 4)], {}),
    ("Flatten", [], {"axis": 2}),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ("Slice", [whole(1, 0), whole(100, -1), whole(2, 3)], {}),
    ("Slice", [whole(-1), whole(-100), whole(3), whole(-2)], {}),
    ("Gather", [whole(3, -1, 0)], {"axis": 1}),
    ("Gather", [np.array(1, np.int64)], {"axis": 2}),
    ("Split", [whole(1, 3)], {"axis": 1}),
    ("Split", [], {"axis": 3, "num_outputs": 2}),
    ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 4), np.array(1.5, np.float32)], {}),
    ("Pad", [whole(1, 2), None, whole(3)], {"mode": "reflect"}),
    ("Pad", [whole(0, 0, 1, 0, 0, 0, 0, 2)], {"mode": "edge"}),
    ("Resize", [None, np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest", "nearest_mode": "floor",
     "coordinate_transformation_mode": "asymmetric"}),
    ("Resize", [None, None, whole(2, 4, 13, 16)], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    ("Resize", [None, None, whole(2, 4, 13, 16)], {"mode": "linear", "coordinate_transformation_mode":
     "align_corners"}),
    ("Unsqueeze", [whole(0, -1)], {}),
    ("Expand", [whole(3, 1, 4, 1, 1)], {}),
    ("Tile", [whole(1, 2, 1, 1)], {}),
    ("DepthToSpace", [], {"blocksize": 2}),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    ("Cast", [], {"to": TensorProto.INT32}),
]  # fmt: skip


def single(kind: str, constants: list[np.ndarray | None], attributes: Mapping[str, Any], path: Path) -> Path:
    names = ["" if array is None else f"constant{index}" for index, array in enumerate(constants)]
    held = [numpy_helper.from_array(a, n) for a, n in zip(constants, names, strict=True) if a is not None]
    outputs = ["y", "rest"] if kind == "Split" else ["y"]
    node = helper.make_node(kind, ["x", *names], outputs, kind, **attributes)
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if kind != "Cast" else TensorProto.INT32, None)],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    OPERATORS,
    ids=[f"{kind}-{index}" for index, (kind, *_) in enumerate(OPERATORS)],
)
def test_an_operator_computes_what_onnx_runtime_computes(
    kind: str, constants: list[np.ndarray | None], attributes: dict[str, Any], tmp_path: Path
) -> None:
    path = single(kind, constants, attributes, tmp_path / "single.onnx")
    expected = by_onnxruntime(path, X)
    with torch.inference_mode():
        found = floating(path)(torch.from_numpy(X)).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="Selu of Selu") as caught:
        floating(single("Selu", [], {}, tmp_path / "single.onnx"))
    assert caught.value.code == "unknown-operator"
    assert caught.value.hint


def test_a_copy_of_the_network_has_weights_of_its_own(tmp_path: Path) -> None:
    network = floating(single("Conv", [KERNEL], {}, tmp_path / "single.onnx"))
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        assert not twin(torch.from_numpy(X)).any()
        assert network(torch.from_numpy(X)).all()


class Shapes(nn.Module):
    """What LiteRT's graphs hold beside convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.slope = nn.PReLU(8)
        self.wide = nn.Conv2d(8, 16, 3, padding=1, groups=4)
        self.head = nn.Linear(40, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.stem(x), 0.1)
        a, b = x.chunk(2, 1)
        x = torch.cat([F.avg_pool2d(b, 3, 1, 1, count_include_pad=False), a * torch.sigmoid(b)], 1)
        x = F.max_pool2d(F.pad(self.slope(x), (1, 1, 1, 1)), 2)
        x = F.hardswish(self.wide(x)) - 0.5
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = torch.cat([x, torch.tanh(x), F.elu(x[:, 4:12])], 1)
        return self.head(F.gelu(x.mean((2, 3))).softmax(1))


class Two:
    """Two images of noise."""

    digest, labels = "noise", None

    def __len__(self) -> int:
        return 2

    def take(self, count: int) -> Two:
        return self

    def batches(self, size: int) -> Any:
        yield from np.random.default_rng(0).standard_normal((2, 1, 3, 32, 32)).astype(np.float32)


def test_tflite_operators_compute_what_litert_computes(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    from edgecnn.compress.qat import tflite
    from edgecnn.formats.tflite import flatbuffer
    from edgecnn.formats.tflite.export import export as export_tflite
    from edgecnn.formats.tflite.quantize import runner

    torch.manual_seed(0)
    path = tmp_path / "model.tflite"
    model = Model(Shapes().eval(), (3, 32, 32))
    export_tflite(model, path, preprocessing=Preprocessing(crop=(32, 32), resize=32))
    graph = flatbuffer.Graph.read(path)
    network = tflite.floating(graph)
    require_same(network, runner(path, graph), Two())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    with pytest.raises(StepError, match="does not answer what its runtime answers"):
        require_same(network, runner(path, graph), Two())
