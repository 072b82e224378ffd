"""Conformance of a format: inherit `FormatConformance`, set `format`, and run pytest.

A small network is exported, run in its runtime or what stands in for it on this host, quantized, linted, read back and
bundled. What a format has no kernel for is skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, Kind, sha256_of
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError, MissingError
from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.formats.cast_stage import Cast
from edgecnn.formats.export_stage import Export
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.inspect import read
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.formats.registry import Format, format_named, formats

if TYPE_CHECKING:
    from torch import nn

SIDE, CLASSES = 32, 5
MACS = 16 * 16 * 16 * 27 + 16 * 16 * 32 * 16 * 9 + 32 * CLASSES
"""Multiply-accumulates of the network's two convolutions and its last layer."""
PREPROCESSING = Preprocessing(resize=None, crop=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
GARBAGE = b"this is no model of any kind " * 40


class SmallNetwork:
    """Two convolutions and a linear layer with fixed random weights; satisfies `core.stage.Model`."""

    name = "small"
    num_classes = CLASSES
    input_shape = (3, SIDE, SIDE)
    sha256 = "small"

    def module(self) -> nn.Module:
        import torch
        from torch import nn

        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)).eval()


@dataclass(frozen=True)
class RandomImages:
    """Images of noise, each of a colour of its own; satisfies `core.stage.Images`."""

    count: int
    labels: Sequence[int] | None = None
    digest: str = "random"
    preprocessing: Preprocessing = PREPROCESSING

    @property
    def ids(self) -> Sequence[str]:
        return [str(index) for index in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(1)
        colours = rng.integers(0, 200, (self.count, 1, 1, 3))
        every = (colours + rng.integers(0, 56, (self.count, SIDE, SIDE, 3))).astype(np.uint8)
        yield from (every[start : start + size] for start in range(0, self.count, size))

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for pixels in self.pixels(size):
            normal = (pixels.astype(np.float32) / 255 - 0.5) / 0.25
            yield np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)

    def take(self, count: int) -> RandomImages:
        return RandomImages(min(count, self.count))


@dataclass(frozen=True)
class RandomData:
    """Images to calibrate on, nothing to learn from; satisfies `core.stage.Data`."""

    calibration: RandomImages = field(default_factory=lambda: RandomImages(16))
    training: None = None
    evaluation: None = None
    preprocessing: Preprocessing = PREPROCESSING
    class_names: Sequence[str] = tuple(f"class{index}" for index in range(CLASSES))


class FormatConformance:
    """`format` is the value under test; it is registered, and the packages that make its files are installed."""

    format: ClassVar[Format]
    float_tolerance: ClassVar[float] = 1e-3
    """How far an FP32 output may be from PyTorch's, as a share of the largest."""
    int8_correlation: ClassVar[float] = 0.95
    """How much the INT8 outputs must at least agree with PyTorch's."""

    @pytest.fixture
    def context(self, tmp_path: Path) -> Context:
        work, scratch = tmp_path / "work", tmp_path / "scratch"
        work.mkdir()
        scratch.mkdir()
        deployment = Deployment(format=self.format.name, backend=self.format.backend, family=self.format.family)
        target = DeviceProfile(name="host", title="This machine", local=True, deployments=(deployment,))
        network = SmallNetwork()
        return Context(work, scratch, network, RandomData(), target, self.format.name, ignore, 0, network)

    @pytest.fixture
    def exported(self, context: Context, tmp_path: Path) -> Artifact:
        if missing := Export().missing(self.format.name):
            pytest.skip(f"the extra `{missing}` is not installed")
        return Export().run(Artifact(tmp_path, "torch", "fp32", (), (), "checkpoint"), context)

    @pytest.fixture
    def quantized(self, exported: Artifact, context: Context) -> Artifact:
        if not self.format.quantize:
            pytest.skip("it has no INT8")
        return Quantize().run(exported, context)

    def outputs(self, artifact: Artifact, images: RandomImages) -> np.ndarray:
        """What the file answers on this host, in a process of its own."""
        from edgecnn.predict.runtime import run_file

        return run_file(artifact, images, backend=self.format.backend_here, threads=1, listener=ignore)

    def expected(self, images: RandomImages) -> np.ndarray:
        import torch

        with torch.inference_mode():
            logits = SmallNetwork().module()(torch.from_numpy(next(images.batches(len(images)))))
        outputs: np.ndarray = logits.numpy()
        return outputs

    def test_it_is_registered_and_its_kernels_exist(self) -> None:
        assert format_named(self.format.name) is self.format and self.format in formats()
        assert self.format.suffix.startswith(".") and self.format.title and self.format.runtime
        for kernel in ("export", "quantize", "cast", "lint", "read", "trace", "qat", "readme", "wheels", "board_check"):
            reference = getattr(self.format, kernel)
            assert not reference or callable(plugins.resolve(reference)), reference

    def test_no_other_format_has_its_file_names(self) -> None:
        alike = [item for item in formats() if (item.suffix, item.dialect) == (self.format.suffix, self.format.dialect)]
        assert alike == [self.format]

    def test_an_export_says_what_it_is(self, exported: Artifact) -> None:
        assert exported.kind == Kind(self.format.name, "fp32") and exported.history == ("export",)
        assert exported.path.suffix == self.format.suffix and exported.sha256 == sha256_of(exported.path)
        (image,), (answer,) = exported.inputs, exported.outputs
        assert image.layout in ("NCHW", "NHWC") and sorted(image.shape[1:]) == [3, SIDE, SIDE]
        assert answer.shape[1:] == (CLASSES,)

    def test_an_export_answers_as_pytorch_does(self, exported: Artifact) -> None:
        images = RandomImages(6)
        expected, outputs = self.expected(images), self.outputs(exported, images)
        assert outputs.shape == expected.shape
        assert np.abs(outputs - expected).max() <= self.float_tolerance * np.abs(expected).max()

    def test_int8_is_smaller_and_answers_nearly_the_same(self, exported: Artifact, quantized: Artifact) -> None:
        assert quantized.kind == Kind(self.format.name, "int8") and quantized.history == ("export", "quantize")
        assert quantized.size_bytes < exported.size_bytes
        images = RandomImages(12)
        expected, outputs = self.expected(images), self.outputs(quantized, images)
        centred = [values - values.mean(axis=0) for values in (expected, outputs)]
        assert np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1] >= self.int8_correlation

    def test_half_precision_answers_nearly_the_same(self, exported: Artifact, context: Context) -> None:
        if not self.format.cast:
            pytest.skip("it has no FP16")
        halved = Cast(formats=(self.format.name,)).run(exported, context)
        images = RandomImages(6)
        expected, outputs = self.expected(images), self.outputs(halved, images)
        assert halved.kind == Kind(self.format.name, "fp16")
        assert np.abs(outputs - expected).max() <= 0.01 * np.abs(expected).max()

    def test_the_lint_says_what_stays_in_float(self, exported: Artifact, quantized: Artifact) -> None:
        for artifact in (exported, quantized):
            fusion: Fusion = plugins.resolve(self.format.lint)(artifact)
            assert fusion.runtime == self.format.family
            if fusion.status == "skipped":
                pytest.skip(fusion.note)
            assert fusion.status == "checked" and fusion.counts
        assert fusion.integer >= 3 and not fusion.float_layers

    def test_a_file_is_read_back(self, exported: Artifact, quantized: Artifact) -> None:
        inspection = read(exported.path, self.format.name)
        assert [item.shape[1:] for item in inspection.inputs] == [item.shape[1:] for item in exported.inputs]
        assert sum(inspection.layers.values()) == 3 and inspection.size_bytes == exported.size_bytes
        for artifact in (exported, quantized):
            about = read(artifact.path, self.format.name).exported_as()
            assert Preprocessing.from_dict(about["preprocessing"]) == PREPROCESSING

    def test_its_files_are_recognised_by_their_first_bytes(self, exported: Artifact) -> None:
        from edgecnn.models.files import kind_of

        kind = kind_of(exported.path)
        assert format_named(kind).suffix == self.format.suffix

    def test_layers_have_times_and_costs(self, exported: Artifact, context: Context) -> None:
        from edgecnn.measure.device import ThisMachine
        from edgecnn.measure.layer_profile import profile

        if not self.format.trace or not self.format.runs_here:
            pytest.skip("its layers cannot be timed on this host")
        layer_profile = profile(
            exported,
            device=ThisMachine(),
            profile=context.target,
            backend=self.format.backend,
            threads=1,
            runs=3,
            listener=ignore,
        )
        assert layer_profile.macs == MACS
        assert all(layer.time_ns >= 0 for layer in layer_profile.layers)

    def test_a_bundle_runs_alone(self, exported: Artifact, tmp_path: Path) -> None:
        from PIL import Image

        from edgecnn.tasks.classification.task import TASK
        from edgecnn.workflows.optimize.bundle import write_bundle

        data = RandomData()
        bundle = write_bundle(
            tmp_path / "bundle",
            exported,
            backend=self.format.backend_here,
            preprocessing=PREPROCESSING,
            labels=data.class_names,
            decoder=TASK.decoder,
            facts={},
        )
        elsewhere = Path(shutil.copytree(bundle, tmp_path / "board"))
        Image.fromarray(next(RandomImages(1).pixels(1))[0]).save(tmp_path / "photo.png")
        command = [sys.executable, "-I", str(elsewhere / "infer.py"), "--json", str(tmp_path / "photo.png")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["index"] == int(self.expected(RandomImages(1))[0].argmax())

    def test_a_damaged_file_is_refused(self, exported: Artifact, tmp_path: Path) -> None:
        bad = tmp_path / f"bad{self.format.suffix}"
        for content in (GARBAGE, exported.path.read_bytes()[: exported.size_bytes // 3]):
            bad.write_bytes(content)
            with pytest.raises((InputError, MissingError)):
                read(bad, self.format.name)
            with pytest.raises(EdgecnnError):
                self.outputs(Artifact(bad, self.format.name, "fp32", (), (), "bad"), RandomImages(1))
