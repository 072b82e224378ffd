"""Full-integer TFLite from our own ranges: agreement with the float network, the two kinds of I/O, and the traps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.core.preprocessing import Preprocessing

pytest.importorskip("litert_torch")
pytest.importorskip("ai_edge_quantizer")

from edgecnn.formats.quantize_stage import Quantize
from edgecnn.formats.tflite import flatbuffer
from edgecnn.formats.tflite.export import export
from edgecnn.formats.tflite.lint import lint
from edgecnn.formats.tflite.quantize import quantize, revive_dead_channels
from edgecnn.quantize.ranges import Range, RangeTable

CLASSES = 10
WEIGHTED_OR_JOINING = 6
"""stem, depthwise, project, add, mean, head."""


@dataclass(frozen=True)
class FakeModel:
    make: Callable[[], nn.Module]
    name: str = "tests:tiny"
    num_classes: int = CLASSES
    input_shape: tuple[int, int, int] = (3, 32, 32)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        return self.make().eval()


@dataclass(frozen=True)
class FakeImages:
    """Gratings, one direction and frequency per class, in noise."""

    count: int
    seed: int = 0
    scale: float = 1.0
    digest: str = "fake"
    labels: None = None

    def __len__(self) -> int:
        return self.count

    def take(self, count: int) -> FakeImages:
        return replace(self, count=count)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def classes(self) -> np.ndarray:
        return np.arange(self.count) % CLASSES

    def array(self) -> np.ndarray:
        noise = np.random.default_rng(self.seed)
        row, column = np.mgrid[0:32, 0:32] / 32.0
        angle = self.classes()[:, None, None] * np.pi / CLASSES
        wave = np.cos(
            2 * np.pi * (2 + self.classes()[:, None, None] % 3) * (row * np.cos(angle) + column * np.sin(angle))
        )
        waves = np.stack([wave, -wave, wave * 0.5], axis=1)
        return ((waves + 0.2 * noise.standard_normal(waves.shape)) * self.scale).astype(np.float32)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        images = self.array()
        for start in range(0, len(images), size):
            yield images[start : start + size]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.act = nn.ReLU6()
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.project = nn.Conv2d(32, 32, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, CLASSES)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = x + self.project(self.act(self.depthwise(x)))
        return self.pool(x).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def tiny() -> nn.Module:
    """Random features, and a last layer solved by least squares to tell the gratings apart."""
    torch.manual_seed(0)
    net = Tiny().eval()
    train = FakeImages(200, seed=7)
    wanted = np.eye(CLASSES)[train.classes()] * 8 - 4
    with torch.no_grad():
        seen = net.features(torch.from_numpy(train.array())).numpy()
        solved = np.linalg.lstsq(np.c_[seen, np.ones(len(seen))], wanted, rcond=None)[0].astype(np.float32)
        net.head.weight.copy_(torch.from_numpy(solved[:-1].T.copy()))
        net.head.bias.copy_(torch.from_numpy(solved[-1].copy()))
    return net


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    preprocessing = Preprocessing(crop=(32, 32), resize=32)
    return export(FakeModel(tiny), tmp_path_factory.mktemp("float") / "model.tflite", preprocessing=preprocessing)


@pytest.fixture(scope="module")
def float_ended(source: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(source, tmp_path_factory.mktemp("float-io"), Quantize())


@pytest.fixture(scope="module")
def int8_ended(source: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(source, tmp_path_factory.mktemp("int8-io"), Quantize(io="int8"))


def run(
    source: Artifact,
    folder: Path,
    options: Quantize,
    *,
    images: FakeImages = FakeImages(40),
    told: list[Event] | None = None,
) -> Artifact:
    events = [] if told is None else told
    context = SimpleNamespace(data=SimpleNamespace(calibration=images), scratch=folder, listener=events.append)
    return quantize(source, folder / "model.int8.tflite", options=options, context=context)


def infer(artifact: Artifact, images: np.ndarray) -> np.ndarray:
    """Logits in float32, whatever the file's I/O."""
    loaded = flatbuffer.interpreter(artifact.path, delegate=True)
    entry, end = loaded.get_input_details()[0], loaded.get_output_details()[0]
    rows = []
    for image in images.transpose(0, 2, 3, 1):
        fed = image[None]
        if entry["dtype"] == np.int8:
            scale, zero = entry["quantization"]
            fed = np.clip(np.rint(fed / scale) + zero, -128, 127).astype(np.int8)
        loaded.set_tensor(entry["index"], fed)
        loaded.invoke()
        row = loaded.get_tensor(end["index"])[0]
        if end["dtype"] == np.int8:
            scale, zero = end["quantization"]
            row = (row.astype(np.float32) - zero) * scale
        rows.append(row)
    return np.array(rows)


def test_the_integer_file_agrees_with_torch(float_ended: Artifact) -> None:
    images = FakeImages(100, seed=3)
    with torch.no_grad():
        expected = tiny()(torch.from_numpy(images.array())).numpy()
    assert (expected.argmax(1) == images.classes()).mean() > 0.9, "the network must tell the classes apart"
    found = infer(float_ended, images.array())
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.97
    noise = ((found - expected) ** 2).sum() / (expected**2).sum()
    assert 10 * np.log10(1 / noise) > 20


def test_every_layer_is_integer_and_xnnpack_takes_the_whole_graph(float_ended: Artifact) -> None:
    found = lint(float_ended)
    assert (found.integer, found.floating) == (WEIGHTED_OR_JOINING, 0)
    assert found.counts["DELEGATE"] == 1
    assert (found.counts["QUANTIZE"], found.counts["DEQUANTIZE"]) == (1, 1)
    assert not found.float_layers
    assert not found.warnings


def test_float_ends_keep_names_and_types(source: Artifact, float_ended: Artifact) -> None:
    assert float_ended.inputs == source.inputs
    assert float_ended.outputs == source.outputs
    assert float_ended.kind[:2] == ("tflite", "int8")
    assert float_ended.history == ("export", "quantize")
    assert float_ended.size_bytes < source.size_bytes


def test_int8_ends_compute_the_same(float_ended: Artifact, int8_ended: Artifact) -> None:
    assert [spec.dtype for spec in (*int8_ended.inputs, *int8_ended.outputs)] == ["int8", "int8"]
    assert [spec.name for spec in (*int8_ended.inputs, *int8_ended.outputs)] == ["input", "logits"]
    found = lint(int8_ended)
    assert found.counts["DELEGATE"] == 1
    assert "QUANTIZE" not in found.counts
    images = FakeImages(20, seed=5).array()
    np.testing.assert_allclose(infer(int8_ended, images), infer(float_ended, images), atol=1e-5)


def test_metadata_survives(source: Artifact, float_ended: Artifact) -> None:
    facts = flatbuffer.Graph.read(float_ended.path).metadata()
    assert facts == flatbuffer.Graph.read(source.path).metadata()
    assert facts["preprocessing"]["crop"] == [32, 32]


def test_the_ranges_are_kept_beside_the_file(float_ended: Artifact) -> None:
    ranges = RangeTable.from_json((float_ended.path.parent / "ranges.json").read_text())
    assert {"input", "stem", "depthwise", "project", "logits"} <= set(ranges.ranges)
    assert ranges["stem"].low == 0.0
    assert 0.0 < ranges["stem"].high <= 6.0


def test_progress_is_told_per_image(source: Artifact, tmp_path: Path) -> None:
    told: list[Event] = []
    run(source, tmp_path, Quantize(observer="percentile"), images=FakeImages(5), told=told)
    steps = [event for event in told if isinstance(event, Progress)]
    assert [(step.done, step.total) for step in steps] == [(done, 5) for done in range(1, 6)]


def test_a_kept_layer_stays_float_and_the_lint_says_so(source: Artifact, tmp_path: Path) -> None:
    kept = run(source, tmp_path, Quantize(keep_float=("dep.*wise", "head")), images=FakeImages(5))
    found = lint(kept)
    assert {layer.name for layer in found.float_layers if layer.op in flatbuffer.WEIGHTED} == {"depthwise", "logits"}
    assert found.floating == 2
    said = [line for line in found.warnings if "stays in float (not quantized" in line]
    assert any("depthwise" in line for line in said) and any("logits" in line for line in said)
    assert any("2 layers with weights run in float" in line for line in found.warnings)


@pytest.mark.parametrize("patterns", [(".*",), ("stem", "depthwise", "project", "head")])
def test_with_every_layer_kept_in_float_there_is_no_int8_file(
    source: Artifact, tmp_path: Path, patterns: tuple[str, ...]
) -> None:
    with pytest.raises(StepError) as caught:
        run(source, tmp_path, Quantize(keep_float=patterns), images=FakeImages(5))
    assert caught.value.code == "nothing-quantized"
    assert not (tmp_path / "model.int8.tflite").exists()


@pytest.mark.parametrize(
    ("options", "code", "hint"),
    [
        (Quantize(keep_float=("depthwsie",)), "unknown-layer", "depthwise"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    source: Artifact, tmp_path: Path, options: Quantize, code: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        run(source, tmp_path, options)
    assert caught.value.code == code
    assert hint in caught.value.hint
    assert not (tmp_path / "model.int8.tflite").exists()


def test_black_calibration_images_still_give_a_file_that_loads(source: Artifact, tmp_path: Path) -> None:
    dead = run(source, tmp_path, Quantize(), images=FakeImages(3, scale=0.0))
    assert np.isfinite(infer(dead, FakeImages(2).array())).all()


@pytest.mark.parametrize(
    ("images", "code"), [(FakeImages(0), "no-images"), (FakeImages(2, scale=float("nan")), "not-finite")]
)
def test_images_that_calibrate_nothing_are_an_error(
    source: Artifact, tmp_path: Path, images: FakeImages, code: str
) -> None:
    with pytest.raises(StepError) as caught:
        run(source, tmp_path, Quantize(), images=images)
    assert caught.value.code == code


def test_a_dead_channel_is_revived_without_changing_the_float_network(source: Artifact, tmp_path: Path) -> None:
    graph = flatbuffer.Graph.read(source.path)
    operator = next(op for op in graph.operators if graph.layer(op) == "project")
    weights, bias = graph.constant(operator.inputs[1]), graph.constant(operator.inputs[2])
    weights[3], bias[3] = weights[3] * 1e-11, 2.0
    graph.set_constant(operator.inputs[1], weights)
    graph.set_constant(operator.inputs[2], bias)
    graph.write(tmp_path / "dead.tflite")
    dead = replace(source, path=tmp_path / "dead.tflite")

    images = FakeImages(20, seed=3).array()
    told: list[Event] = []
    expected, found = infer(dead, images), infer(run(dead, tmp_path, Quantize(), told=told), images)
    assert any(isinstance(event, Warned) and event.code == "dead-channels" for event in told)
    assert 10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum()) > 20

    assert revive_dead_channels(graph, RangeTable({"depthwise": Range(0.0, 6.0)})) == 1
    graph.write(tmp_path / "revived.tflite")
    np.testing.assert_allclose(infer(replace(source, path=tmp_path / "revived.tflite"), images), expected, atol=1e-4)


def test_the_missing_extra_is_told(source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer.quantizer", None)
    with pytest.raises(MissingError) as caught:
        run(source, tmp_path, Quantize(), images=FakeImages(2))
    assert caught.value.hint == install_hint("tflite")


def test_the_terminal_stays_clean(source: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lint(run(source, tmp_path, Quantize(), images=FakeImages(2)))
    assert capfd.readouterr() == ("", "")


def negative_pool() -> nn.Module:
    """Padded max pooling over values below zero, where a border of zeros would win; then hard swish."""
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, CLASSES, 15)
    nn.init.constant_(first.bias, -2.5)
    return nn.Sequential(first, nn.MaxPool2d(3, 2, padding=1), nn.Hardswish(), last, nn.Flatten())


def test_hard_swish_and_padding_with_minus_infinity_are_right_but_outside_xnnpack(tmp_path: Path) -> None:
    plain = export(
        FakeModel(negative_pool), tmp_path / "model.tflite", preprocessing=Preprocessing(crop=(32, 32), resize=32)
    )
    found = run(plain, tmp_path, Quantize())
    images = FakeImages(20, seed=3).array()
    expected = infer(plain, images)
    assert 10 * np.log10((expected**2).sum() / ((infer(found, images) - expected) ** 2).sum()) > 20
    told = lint(found)
    assert {layer.op for layer in told.float_layers} == {"HARD_SWISH", "PADV2"}
    swish = next(layer for layer in told.float_layers if layer.op == "HARD_SWISH")
    assert swish.name == "2.hard_swish"
    assert "XNNPACK" in swish.why
    assert told.counts["DELEGATE"] > 1
    assert any("1 x HARD_SWISH" in line for line in told.warnings)
