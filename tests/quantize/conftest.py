"""Small ONNX networks with random weights, and their INT8 form by the real quantizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.formats.onnx.quantize import saturates_here
from edgecnn.formats.quantize_stage import Quantize

CHANNELS = 8
SIZE = 12


@dataclass(frozen=True)
class NoiseImages:
    """Standard normal images, the same ones every time."""

    count: int = 24
    digest: str = "noise"
    labels: None = None

    def __len__(self) -> int:
        return self.count

    def take(self, count: int) -> NoiseImages:
        return NoiseImages(count)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def array(self) -> np.ndarray:
        return np.random.default_rng(5).standard_normal((self.count, CHANNELS, SIZE, SIZE)).astype(np.float32)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        images = self.array()
        for start in range(0, len(images), size):
            yield images[start : start + size]


@dataclass
class Net:
    """A graph under construction; every method adds one operator and returns the name of its result."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def conv(self, source: str, name: str, *, out: int = CHANNELS, kernel: int = 3, groups: int = 1) -> str:
        shape = (out, CHANNELS // groups, kernel, kernel)
        weight = self.random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        inputs = [
            source,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", (0.1 * self.random.standard_normal(out)).astype(np.float32)),
        ]
        return self.op("Conv", inputs, name, group=groups, pads=[kernel // 2] * 4)

    def norm(self, source: str, name: str, *, width: int = CHANNELS) -> str:
        values = {
            "weight": self.random.random(width) + 0.5,
            "bias": self.random.standard_normal(width) / 5,
            "running_mean": self.random.standard_normal(width) / 5,
            "running_var": self.random.random(width) + 0.5,
        }
        held = [self.constant(f"{name}.{part}", array.astype(np.float32)) for part, array in values.items()]
        return self.op("BatchNormalization", [source, *held], name, epsilon=0.01)

    def dense(self, source: str, name: str, *, transposed: bool = True, out: int = 5) -> str:
        weight = self.random.standard_normal((out, CHANNELS) if transposed else (CHANNELS, out)).astype(np.float32)
        inputs = [
            source,
            self.constant(f"{name}.weight", weight),
            self.constant(f"{name}.bias", self.random.standard_normal(out).astype(np.float32)),
        ]
        return self.op("Gemm", inputs, name, transB=int(transposed))

    def clip(self, source: str, name: str, low: float, high: float) -> str:
        ends = [self.constant(f"{name}.{end}", np.float32(at)) for end, at in (("min", low), ("max", high))]
        return self.op("Clip", [source, *ends], name)

    def classify(self, source: str) -> str:
        """Global pool, flatten, fully connected."""
        pooled = self.op("GlobalAveragePool", [source], "pool")
        return self.dense(self.op("Flatten", [pooled], "flatten"), "head")

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", CHANNELS, SIZE, SIZE])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(made, strict_mode=True)
        onnx.checker.check_model(inferred, full_check=True)
        return inferred


@dataclass(frozen=True)
class Int8:
    """A network before and after."""

    source: Path
    artifact: Artifact

    @property
    def graph(self) -> onnx.GraphProto:
        return onnx.load(self.artifact.path).graph

    def nodes(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type == kind]

    def constants(self) -> dict[str, np.ndarray]:
        return {item.name: numpy_helper.to_array(item) for item in self.graph.initializer}

    def sqnr_db(self) -> float:
        """Over all outputs, against the float network, on the calibration images."""
        before, after = (_outputs(path) for path in (self.source, self.artifact.path))
        assert [item.shape for item in before] == [item.shape for item in after]
        noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(before, after, strict=True))
        signal = sum(float(np.square(a.astype(np.float64)).sum()) for a in before)
        return 10 * np.log10(signal / max(noise, 1e-30))


def _outputs(path: Path) -> list[np.ndarray]:
    """Computed as written where the kernels' 16-bit sums saturate: that is the CPU's error, not the file's."""
    settings = onnxruntime.SessionOptions()
    if saturates_here():
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(None, {"input": NoiseImages().array()})
    return found


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def images() -> NoiseImages:
    return NoiseImages()


@pytest.fixture
def context(tmp_path: Path) -> Callable[[str], Context]:
    """A context that wants ONNX for a family, in folders of its own."""

    def make(family: str, images: Any = None) -> Context:
        deployment = Deployment(
            format="tensorrt" if family == "tensorrt" else "onnx", backend="onnxruntime", family=family
        )
        work, scratch = tmp_path / "work", tmp_path / "scratch"
        work.mkdir(exist_ok=True)
        scratch.mkdir(exist_ok=True)
        return Context(
            workdir=work,
            scratch=scratch,
            model=SimpleNamespace(),
            data=SimpleNamespace(calibration=images or NoiseImages(), preprocessing=Preprocessing()),
            target=DeviceProfile(name="board", title="Board", deployments=(deployment,)),
            format=deployment.format,
            listener=ignore,
            seed=0,
            teacher=SimpleNamespace(),
        )

    return make


@pytest.fixture
def int8(tmp_path: Path, context: Callable[[str], Context]) -> Callable[..., Int8]:
    """Quantize a network for a family; what comes back is valid ONNX."""
    from edgecnn.formats.onnx.quantize import quantize

    def make(model: onnx.ModelProto, family: str = "onnxruntime", **options: Any) -> Int8:
        path = tmp_path / "source.onnx"
        onnx.save(model, path)
        source = Artifact(path, "onnx", "fp32", (), (), sha256_of(path), ("export",))
        made = quantize(source, tmp_path / "int8.onnx", options=Quantize(**options), context=context(family))
        onnx.checker.check_model(onnx.load(made.path), full_check=True)
        return Int8(path, made)

    return make
