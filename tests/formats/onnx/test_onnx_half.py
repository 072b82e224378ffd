"""FP16: half the file, the same answers, float at both ends; and no weight silently clipped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.errors import StepError
from edgecnn.formats.cast_stage import Cast
from edgecnn.formats.onnx.export import describe
from edgecnn.formats.onnx.half import to_half

COUNT = 4


def network(path: Path, *, largest: float = 1.0) -> Artifact:
    random = np.random.default_rng(0)
    weight = (random.standard_normal((16, 3, 3, 3)) / 5).astype(np.float32)
    weight[0, 0, 0, 0] = largest
    nodes = [
        helper.make_node("Conv", ["input", "stem.weight", "stem.bias"], ["a"], "stem", pads=[1] * 4),
        helper.make_node("Clip", ["a", "zero", "six"], ["b"], "act"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], "pool"),
        helper.make_node("Flatten", ["c"], ["d"], "flatten"),
        helper.make_node("Gemm", ["d", "head.weight"], ["logits"], "head", transB=1),
    ]
    constants = {
        "stem.weight": weight,
        "stem.bias": random.standard_normal(16).astype(np.float32),
        "zero": np.float32(0),
        "six": np.float32(6),
        "head.weight": random.standard_normal((10, 16)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    entry = made.metadata_props.add()
    entry.key, entry.value = "edgecnn", "{}"
    onnx.save(onnx.shape_inference.infer_shapes(made), path)
    return describe(path, format="tensorrt", precision="fp32", history=("export",))


def logits(path: Path) -> np.ndarray:
    images = np.random.default_rng(1).standard_normal((COUNT, 3, 16, 16)).astype(np.float32)
    found: np.ndarray = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        None, {"input": images}
    )[0]
    return found


def test_half_precision_is_close_and_its_ends_are_float(tmp_path: Path) -> None:
    source = network(tmp_path / "fp32.onnx")
    half = to_half(source, tmp_path / "fp16.onnx")
    assert half.kind == Kind("tensorrt", "fp16")
    assert half.history == ("export", "cast")
    assert [spec.dtype for spec in half.inputs + half.outputs] == ["float32", "float32"]
    assert isinstance(half.inputs[0].shape[0], str), "the batch stays free"
    found = logits(half.path)
    assert found.dtype == np.float32
    assert found == pytest.approx(logits(source.path), abs=0.02)
    assert not np.array_equal(found, logits(source.path))


def test_every_weight_is_half_and_the_file_is_valid(tmp_path: Path) -> None:
    half = to_half(network(tmp_path / "fp32.onnx"), tmp_path / "fp16.onnx")
    proto = onnx.load(half.path)
    onnx.checker.check_model(proto, full_check=True)
    assert {item.data_type for item in proto.graph.initializer} == {TensorProto.FLOAT16}
    assert [item.key for item in proto.metadata_props] == ["edgecnn"], "the preprocessing still travels"


@pytest.mark.parametrize("largest", [7e4, -1e6, np.inf])
def test_a_weight_that_does_not_fit_is_refused_by_name(tmp_path: Path, largest: float) -> None:
    with pytest.raises(StepError) as caught:
        to_half(network(tmp_path / "fp32.onnx", largest=largest), tmp_path / "fp16.onnx")
    assert caught.value.code == "does-not-fit-half"
    assert "stem.weight" in caught.value.message
    assert "65504" in caught.value.why
    assert not (tmp_path / "fp16.onnx").exists()


def test_the_largest_half_fits(tmp_path: Path) -> None:
    to_half(network(tmp_path / "fp32.onnx", largest=65504.0), tmp_path / "fp16.onnx")


def test_the_stage_applies_to_the_formats_it_names() -> None:
    cast = Cast()
    assert cast.produces(Kind("tensorrt", "fp32"), "tensorrt") == Kind("tensorrt", "fp16")
    assert cast.produces(Kind("onnx", "fp32"), "onnx") is None
    assert cast.produces(Kind("tensorrt", "int8"), "tensorrt") is None


def test_the_stage_writes_into_its_folder(tmp_path: Path) -> None:
    source = network(tmp_path / "fp32.onnx")
    made = Cast().run(source, SimpleNamespace(workdir=tmp_path, format="tensorrt"))
    assert made.path == tmp_path / "model.fp16.onnx"
