"""The bundle for a Jetson with stand-ins for trtexec, the bindings and CUDA: TensorRT, unless the CPU is asked for."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from jetson_bindings import Cudart, bindings
from jetson_stubs import Jetson
from PIL import Image

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.onnx.export import describe
from edgecnn.tasks.classification.task import TASK
from edgecnn.workflows.optimize.bundle import write_bundle

PREPARED = Preprocessing(crop=(8, 8), resize=None, mean=(0.0,) * 3, std=(1.0,) * 3)
LABELS = ["red", "green", "blue"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """x (n, 3, 8, 8) -> y (n, 3): the mean of each colour."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    ends = [
        helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8]),
        helper.make_tensor_value_info("y", kind, ["n", 3]),
    ]
    graph = helper.make_graph(nodes, "mean", ends[:1], ends[1:])
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    artifact = describe(path, format="tensorrt", precision="fp32", history=())
    folder = tmp_path / "bundle"
    return write_bundle(
        folder, artifact, backend="tensorrt", preprocessing=PREPARED, labels=LABELS, decoder=TASK.decoder, facts={}
    )


@pytest.fixture
def infer(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`infer.py` of the bundle on a machine with trtexec and the bindings."""
    jetson = Jetson(tmp_path)
    jetson.trtexec("10.3.0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(jetson.bin))
    monkeypatch.setitem(sys.modules, "tensorrt", bindings("10.3.0"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("infer", bundle / "infer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cuda = importlib.import_module("edge.cuda")
    assert str(cuda.__file__).startswith(str(bundle))
    library = Cudart()
    monkeypatch.setattr(cuda, "_runtime", lambda: library)
    module.jetson = jetson  # type: ignore[attr-defined]
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "edge"]:
        del sys.modules[name]


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_it_builds_an_engine_and_runs_it(infer: Any, batch: int) -> None:
    pictures = frames(3)
    with infer.BundledModel(batch=batch) as model:
        found = model.outputs(list(pictures))
        assert model.outputs([]).shape == (0, 3)
    np.testing.assert_allclose(found, pictures.mean((1, 2)) / 255, atol=1e-5)
    (built,) = [call for call in infer.jetson.calls() if any(word.startswith("--saveEngine=") for word in call)]
    assert any(f"x:{batch}x3x8x8" in word for word in built)


def test_it_computes_on_the_cpu_when_asked(infer: Any) -> None:
    pytest.importorskip("onnxruntime")
    pictures = frames(2)
    with infer.BundledModel(cpu=True) as model:
        found = model.outputs(list(pictures))
    np.testing.assert_allclose(found, pictures.mean((1, 2)) / 255, atol=1e-5)
    assert infer.jetson.calls() == []


def test_without_tensorrt_it_says_so_and_takes_no_other_way(
    infer: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(frames(1)[0]).save(bundle / "one.png")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(sys, "argv", ["infer.py", str(bundle / "one.png")])
    assert infer.main() == 4
    assert "python3-libnvinfer" in capsys.readouterr().err


def test_paths_frames_grey_pictures_and_the_likeliest(infer: Any, bundle: Path) -> None:
    picture = frames(1)[0]
    Image.fromarray(picture).save(bundle / "one.png")
    with infer.BundledModel() as model:
        answers = model.predict_all([bundle / "one.png", picture, picture[:, :, 0]], top=3)
        assert answers[0] == answers[1] and model.predict(picture) == {
            k: answers[1][k] for k in answers[1] if k != "top"
        }
        for answer in answers:
            assert sorted(one["index"] for one in answer["top"]) == [0, 1, 2]
            assert answer["top"][0]["label"] == answer["label"]
            shares = [one["probability"] for one in answer["top"]]
            assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)
        for wrong in (picture.astype(np.float32), picture[None], np.zeros((8, 8, 4), np.uint8)):
            with pytest.raises(ValueError, match="uint8"):
                model.predict(wrong)


def test_the_manifest_names_both_ways(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["backend"] == "tensorrt" and manifest["cpu"]["backend"] == "onnxruntime"
    assert "--cpu" in (bundle / "README.md").read_text()


CAMERA = """
import numpy as np

class VideoCapture:
    def __init__(self, number):
        self.left = 2

    def read(self):
        self.left -= 1
        frame = np.zeros((12, 10, 3), np.uint8)
        frame[:, :, 0] = 255
        return self.left >= 0, frame

    def release(self):
        pass
"""
"""Two frames, blue in OpenCV's order."""


def test_the_camera_example(
    infer: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(CAMERA, names)  # noqa: S102
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=names["VideoCapture"]))
    monkeypatch.setitem(sys.modules, "infer", infer)
    monkeypatch.setattr(sys, "argv", ["camera.py", str(bundle)])
    runpy.run_path(str(Path(__file__).parents[3] / "examples" / "camera.py"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(" ms  blue 58%, " in line for line in lines)
