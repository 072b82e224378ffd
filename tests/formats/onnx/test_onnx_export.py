"""The ONNX exporter: free batch, metadata that travels, names of modules, and a reason when it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgecnn.core.artifact import Artifact, Kind, sha256_of
from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.inspect import METADATA_KEY
from edgecnn.formats.onnx.export import export

PREPROCESSING = Preprocessing(crop=(32, 32), resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), color="BGR")


@dataclass(frozen=True)
class FakeModel:
    make: Callable[[], nn.Module]
    name: str = "tests:tiny"
    num_classes: int = 7
    input_shape: tuple[int, int, int] = (3, 32, 32)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        return self.make().eval()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU6(inplace=True)
        self.reduce = nn.Conv2d(16, 4, 1)
        self.expand = nn.Conv2d(4, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(y.mean((2, 3), keepdim=True)))))
        return x + y * gate


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.blocks = nn.ModuleList([Block(), Block()])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(self.pool(x).flatten(1)))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    net = Tiny()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(FakeModel(tiny), tmp_path_factory.mktemp("onnx") / "model.onnx", preprocessing=PREPROCESSING)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_batch_gives_the_logits_of_torch(exported: Artifact, count: int) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    found = session.run(["logits"], {"input": images(count)})[0]
    with torch.inference_mode():
        expected = tiny().eval()(torch.from_numpy(images(count))).numpy()
    assert found.shape == (count, 7)
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_artifact_says_what_the_file_takes_and_gives(exported: Artifact) -> None:
    (source,), (logits,) = exported.inputs, exported.outputs
    assert (source.name, source.shape[1:], source.dtype, source.layout) == ("input", (3, 32, 32), "float32", "NCHW")
    assert isinstance(source.shape[0], str), "the batch is free"
    assert (logits.name, logits.shape[1:], logits.dtype) == ("logits", (7,), "float32")
    assert exported.kind == Kind("onnx", "fp32")
    assert exported.history == ("export",)
    assert exported.sha256 == sha256_of(exported.path)


def test_the_preprocessing_travels_in_the_file(exported: Artifact) -> None:
    (entry,) = (item for item in onnx.load(exported.path).metadata_props if item.key == METADATA_KEY)
    held = json.loads(entry.value)
    assert held["model"] == "tests:tiny"
    assert Preprocessing.from_dict(held["preprocessing"]) == PREPROCESSING


def test_the_file_is_valid_and_holds_only_what_runtimes_fuse(exported: Artifact) -> None:
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto, full_check=True)
    assert {item.domain: item.version for item in proto.opset_import} == {"": 18}
    kinds = {node.op_type for node in proto.graph.node}
    assert not kinds & {"BatchNormalization", "ReduceMean", "Identity", "Constant", "Dropout"}
    assert "GlobalAveragePool" in kinds


def test_nodes_are_named_after_torch_modules(exported: Artifact) -> None:
    proto = onnx.load(exported.path)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    convs = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    assert convs == ["stem.0", *(f"blocks.{i}.{part}" for i in (0, 1) for part in ("conv", "reduce", "expand"))]
    assert {"blocks.0.act", "pool", "head"} <= set(names)


def test_no_word_of_this_machine_is_in_the_file(exported: Artifact) -> None:
    raw = exported.path.read_bytes()
    assert str(Path(__file__).parent).encode() not in raw
    assert b"site-packages" not in raw


def test_exporting_twice_gives_the_same_bytes(exported: Artifact, tmp_path: Path) -> None:
    again = export(FakeModel(tiny), tmp_path / "again.onnx", preprocessing=PREPROCESSING)
    assert again.sha256 == exported.sha256


class Deciding(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y.mean((2, 3)) if float(y.sum()) > 0 else y.amax((2, 3))


def test_what_cannot_be_traced_is_refused_with_the_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepError) as caught:
        export(FakeModel(Deciding, name="my.py:deciding"), tmp_path / "model.onnx", preprocessing=PREPROCESSING)
    assert caught.value.code == "cannot-export"
    assert "my.py:deciding" in caught.value.message
    assert caught.value.why
    assert "\n" not in caught.value.why
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    out, err = capfd.readouterr()
    assert (out, err) == ("", ""), "the exporter's chatter is kept from the terminal"
