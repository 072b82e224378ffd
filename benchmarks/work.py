"""Exporters and quantizers, one per process: `python work.py KIND JSON` prints what it made as JSON.

Started by `jobs.job`, so that what one imports and allocates is not charged to another.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from inputs import ARCHITECTURE, PREPROCESSING, image_sets

from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.stage import Context
from edgecnn.formats.files import open_artifact
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.probe import facts

INPUT, SIGNATURE = "input", "serving_default"
"""What edgecnn calls them in the files it exports."""

TARGET = DeviceProfile(
    name="bench",
    title="bench",
    deployments=(
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
        Deployment(format="tensorrt", backend="tensorrt", family="tensorrt"),
        Deployment(format="tflite", backend="tflite", family="litert"),
    ),
)


def export(settings: dict[str, Any]) -> None:
    """`weights` to FP32 in `format` at `out`."""
    from edgecnn.models import open_model

    model = open_model(Path(settings["weights"]), architecture=ARCHITECTURE).with_preprocessing(PREPROCESSING)
    plugins.load("exporters", settings["format"])(model, Path(settings["out"]), preprocessing=PREPROCESSING)


def ours(settings: dict[str, Any]) -> None:
    """`source` to INT8 in `format` at `out` by edgecnn, with the `options` of its stage."""
    calibration, _ = image_sets(Path(settings["images"]), count=settings["count"])
    out, source = Path(settings["out"]), open_artifact(Path(settings["source"]))
    source = replace(source, format=settings["format"])
    with tempfile.TemporaryDirectory() as folder:
        made = Quantize(**settings.get("options", {})).run(source, _context(folder, settings["format"], calibration))
        out.write_bytes(made.path.read_bytes())


def _context(folder: str, format: FormatName, calibration: Any) -> Context:
    """What a quantizer needs: it starts from an exported file and reads only the calibration images."""
    place, data = Path(folder), SimpleNamespace(calibration=calibration)
    return Context(place, place, None, data, TARGET, format, lambda event: None, 0, None)  # type: ignore[arg-type]


def quantize_static(settings: dict[str, Any]) -> None:
    """`source` to INT8 by onnxruntime's own quantizer at what is best for it on x86-64 and ARM64: u8 activations, s8
    weights per channel, MinMax, after its own pre-processing."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize
    from onnxruntime.quantization.shape_inference import quant_pre_process

    calibration, _ = image_sets(Path(settings["images"]), count=settings["count"])
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(settings["source"], prepared, skip_symbolic_shape=True)
        quantize(
            prepared,
            settings["out"],
            _reader(calibration.batches(1)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def _reader(batches: Iterator[np.ndarray]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {"input": batch}

    return Reader()


def ai_edge_quantizer(settings: dict[str, Any]) -> None:
    """`source` to INT8 by ai-edge-quantizer's own static recipe and calibration, which reads its images twice."""
    from ai_edge_quantizer import quantizer, recipe

    calibration, _ = image_sets(Path(settings["images"]), count=settings["count"])
    worker = quantizer.Quantizer(settings["source"], recipe.static_wi8_ai8())
    feeds = [{INPUT: np.ascontiguousarray(batch.transpose(0, 2, 3, 1))} for batch in calibration.batches(1)]
    found = worker.calibrate({SIGNATURE: feeds})
    worker.quantize(found).export_model(settings["out"], overwrite=True)


def random_network(settings: dict[str, Any]) -> None:
    """Export and quantize torchvision's `network` with random weights; ONNX Runtime's operator counts as JSON at
    `out`."""
    import torch
    from torchvision import models

    torch.manual_seed(0)
    module = models.get_model(settings["network"], weights=None).eval()
    fp32, noise = Path(settings["out"]).with_suffix(".onnx"), _Noise()
    model = _Random(settings["network"], module)
    source = plugins.load("exporters", "onnx")(model, fp32, preprocessing=PREPROCESSING)
    with tempfile.TemporaryDirectory() as folder:
        made = Quantize().run(source, _context(folder, "onnx", noise))
        fusion = plugins.load("lints", "onnxruntime")(made)
    Path(settings["out"]).write_text(json.dumps(asdict(fusion)))


@dataclass(frozen=True)
class _Random:
    """A torchvision network as `core.stage.Model`."""

    name: str
    network: Any
    num_classes: int = 1000
    input_shape: tuple[int, int, int] = (3, 224, 224)
    sha256: str = ""

    def module(self) -> Any:
        return self.network


class _Noise:
    """Four images of Gaussian noise, as `core.stage.Images`."""

    digest, labels = "noise", None

    def __len__(self) -> int:
        return 4

    def batches(self, size: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for _ in range(len(self)):
            yield rng.standard_normal((1, 3, 224, 224), dtype=np.float32)


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "export": export,
    "ours": ours,
    "quantize-static": quantize_static,
    "random-network": random_network,
    "ai-edge-quantizer": ai_edge_quantizer,
}


def main() -> None:
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    KINDS[kind](settings)
    told = {"peak_rss_bytes": facts.peak_rss_bytes(), "torch_imported": "torch" in sys.modules}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
