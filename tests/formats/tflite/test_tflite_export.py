"""The TFLite exporter and LiteRT's fusion lint, on networks small enough to convert in seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.preprocessing import Preprocessing

pytest.importorskip("litert_torch")

from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.export import export
from edgecnn.formats.tflite.lint import lint

PREPROCESSING = Preprocessing(crop=(32, 32), resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@dataclass(frozen=True)
class FakeModel:
    make: Callable[[], nn.Module]
    name: str = "tests:tiny"
    num_classes: int = 10
    input_shape: tuple[int, int, int] = (3, 32, 32)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        return self.make().eval()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.ReLU6()
        self.project = nn.Conv2d(16, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(self.act(self.norm(self.depthwise(x))))


class Tiny(nn.Module):
    """conv-bn-relu, padded max pooling, a depthwise residual block in a list, global average, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.blocks = nn.ModuleList([Block()])
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        for block in self.blocks:
            x = block(x)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    net = Tiny()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    return net


def negative_pool() -> nn.Module:
    """Padded max pooling over values below zero, where a border of zeros would win; then hard swish."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3)
    nn.init.constant_(conv.bias, -9.0)
    return nn.Sequential(conv, nn.MaxPool2d(3, 2, padding=1), nn.Hardswish(), nn.Conv2d(8, 10, 15), nn.Flatten())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(FakeModel(tiny), tmp_path_factory.mktemp("tiny") / "model.tflite", preprocessing=PREPROCESSING)


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(
        FakeModel(negative_pool), tmp_path_factory.mktemp("net") / "model.tflite", preprocessing=PREPROCESSING
    )


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def infer(artifact: Artifact, batch: torch.Tensor) -> np.ndarray:
    loaded = flatbuffer.interpreter(artifact.path, delegate=True)
    entry, end = loaded.get_input_details()[0]["index"], loaded.get_output_details()[0]["index"]
    rows = []
    for image in batch.permute(0, 2, 3, 1).contiguous().numpy():
        loaded.set_tensor(entry, image[None])
        loaded.invoke()
        rows.append(loaded.get_tensor(end)[0])
    return np.array(rows)


@pytest.mark.parametrize(("fixture", "make"), [("exported", tiny), ("negative", negative_pool)])
def test_the_file_computes_what_torch_computes(
    fixture: str, make: Callable[[], nn.Module], request: pytest.FixtureRequest
) -> None:
    batch = images(4)
    with torch.no_grad():
        expected = make().eval()(batch).numpy()
    np.testing.assert_allclose(infer(request.getfixturevalue(fixture), batch), expected, atol=1e-4, rtol=1e-4)


def test_input_is_channels_last_and_names_are_plain(exported: Artifact) -> None:
    (entry,), (end,) = exported.inputs, exported.outputs
    assert (entry.name, entry.shape, entry.dtype, entry.layout) == ("input", (1, 32, 32, 3), "float32", "NHWC")
    assert (end.name, end.shape, end.dtype, end.layout) == ("logits", (1, 10), "float32", None)
    assert exported.kind[:2] == ("tflite", "fp32")
    assert exported.sha256 == sha256_of(exported.path)
    assert exported.history == ("export",)
    signature = flatbuffer.interpreter(exported.path, delegate=False).get_signature_list()["serving_default"]
    assert signature == {"inputs": ["input"], "outputs": ["logits"]}


def test_layers_bear_torchs_names(exported: Artifact) -> None:
    graph = flatbuffer.Graph.read(exported.path)
    layers = [graph.layer(operator) for operator in graph.operators]
    assert {"stem", "blocks.0.depthwise", "blocks.0.project"} <= set(layers)
    assert "head.weight" in [graph.name(index) for index in range(len(graph.tensors))]
    names = [graph.name(index) for index in range(len(graph.tensors))]
    assert len(set(names)) == len(names)


def test_preprocessing_travels_in_the_metadata(exported: Artifact) -> None:
    facts = flatbuffer.Graph.read(exported.path).metadata()
    assert Preprocessing.from_dict(facts["preprocessing"]) == PREPROCESSING
    assert facts["model"] == "tests:tiny"


def test_a_padded_max_pool_after_relu_leaves_one_partition(exported: Artifact) -> None:
    found = lint(exported)
    assert found.status == "checked"
    assert found.counts["DELEGATE"] == 1
    assert "PADV2" not in found.counts
    assert found.counts["MEAN"] == 1
    assert not found.float_layers
    assert not found.warnings


def test_what_xnnpack_leaves_out_is_named(negative: Artifact) -> None:
    found = lint(negative)
    assert found.counts["PADV2"] == 1
    assert found.counts["DELEGATE"] == 2
    assert "1 x PADV2 runs outside XNNPACK (XNNPACK takes PAD with zeros only): 1.padv2" in found.warnings
    assert found.warnings[-1].endswith("operators run outside XNNPACK, in 2 partitions")
    assert not found.float_layers, "a float file has no layers that should have been integer"


def test_the_terminal_stays_clean(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 10)), input_shape=(1, 4, 6))
    artifact = export(model, tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    lint(artifact)
    assert capfd.readouterr() == ("", "")
    assert artifact.inputs[0].shape == (1, 4, 6, 1)


class Unknown(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x).flatten(1)


def test_an_operator_without_a_lowering_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        export(FakeModel(Unknown), tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    assert caught.value.code == "cannot-convert"
    assert "svd" in caught.value.why
    assert not list(tmp_path.iterdir())


class TwoHeads(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="2 outputs") as caught:
        export(FakeModel(TwoHeads), tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    assert caught.value.code == "not-a-classifier"


def test_the_missing_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingError) as caught:
        export(FakeModel(tiny), tmp_path / "model.tflite", preprocessing=PREPROCESSING)
    assert caught.value.code == "missing-extra"
    assert caught.value.hint == install_hint("tflite")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model", b"\0" * 64])
def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError):
        flatbuffer.describe(path, precision="fp32", history=())
    with pytest.raises(InputError):
        lint(Artifact(path, "tflite", "fp32", (), (), ""))
