"""EfficientNet-Lite0 with real weights: edgecnn's INT8 beside the runtimes' own quantizers and FP32, in one run.

All files are made from the same two FP32 exports and the same calibration images, each in a process of its own whose
cost is kept; latencies are interleaved in blocks of fresh processes; accuracy is of the files in their runtimes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jobs
import numpy as np
import records
from inputs import CALIBRATION_IMAGES, PREPROCESSING, RealData, arguments, image_sets, real_data

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Precision
from edgecnn.formats.files import open_artifact
from edgecnn.measure.effort import profile_named
from edgecnn.measure.latency import Candidate, Latency, compare, measure
from edgecnn.predict.runtime import run_file

if TYPE_CHECKING:
    from edgecnn.data.images import ImageSet

BASELINE = "ONNX Runtime FP32"
OURS_ORT, PEER_ORT = "ONNX Runtime INT8, edgecnn", "ONNX Runtime INT8, quantize_static"
OURS_LITERT, PEER_LITERT = "LiteRT INT8, edgecnn", "LiteRT INT8, ai-edge-quantizer"
OURS_TENSORRT = "TensorRT Q/DQ, edgecnn"
CONVOLUTIONS = 49
AS_FAST = 0.97
"""The least of our speed over the peer's that counts as equal when the interval holds 1 or more."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One file of the comparison: how it is made, and what runs it. `timed` is False where a stand-in answers."""

    name: str
    format: FormatName
    precision: Precision
    kind: str
    backend: str
    family: str
    timed: bool = True

    @property
    def file(self) -> str:
        return f"{self.kind}.{self.format}.{self.precision}.{'tflite' if self.format == 'tflite' else 'onnx'}"


CONTENDERS = (
    Contender(BASELINE, "onnx", "fp32", "export", "onnxruntime", "onnxruntime"),
    Contender(OURS_ORT, "onnx", "int8", "ours", "onnxruntime", "onnxruntime"),
    Contender(PEER_ORT, "onnx", "int8", "quantize-static", "onnxruntime", "onnxruntime"),
    Contender("LiteRT FP32", "tflite", "fp32", "export", "tflite", "litert"),
    Contender(OURS_LITERT, "tflite", "int8", "ours", "tflite", "litert"),
    Contender(PEER_LITERT, "tflite", "int8", "ai-edge-quantizer", "tflite", "litert"),
    Contender(OURS_TENSORRT, "tensorrt", "int8", "ours", "onnxruntime", "tensorrt", timed=False),
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--observer", default=None, help="edgecnn's observer; its default when not given")
    parser.add_argument("--keep", type=Path, help="folder for the model files; else they are thrown away")
    options = parser.parse_args()
    data = real_data(options)
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        place = options.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        found = _everything(place, data, options)
    goals = _goals(found)
    _print(found, goals)
    settings = {"profile": options.profile, "threads": options.threads, "seed": options.seed}
    settings |= {"calibration_images": CALIBRATION_IMAGES, "observer": options.observer or "default"}
    records.save("efficientnet_lite0", found, settings=settings, goals=goals)


def _everything(place: Path, data: RealData, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for contender in CONTENDERS:
        records.say(f"making {contender.name}")
        cost = _make(contender, place, data, observer=options.observer)
        found[contender.name] = {"cost": jobs.to_dict(cost), "size_bytes": (place / contender.file).stat().st_size}
    for contender in CONTENDERS:
        records.say(f"linting {contender.name}")
        found[contender.name]["fusion"] = asdict(plugins.load("lints", contender.family)(_artifact(contender, place)))
    _, evaluation = image_sets(data.images)
    for name, accuracy in _accuracies(place, evaluation).items():
        found[name]["accuracy"] = accuracy
    records.say(f"measuring, profile {options.profile}")
    candidates = [Candidate(c.name, _artifact(c, place), c.backend, options.threads) for c in CONTENDERS if c.timed]
    taken = measure(candidates, profile=profile_named(options.profile), seed=options.seed, listener=records.listener)
    for name, speed in _speeds(taken).items():
        found[name]["speed"] = speed
    return found


def _make(contender: Contender, place: Path, data: RealData, *, observer: str | None) -> jobs.Cost:
    settings: dict[str, Any] = {"format": contender.format, "out": str(place / contender.file)}
    if contender.kind == "export":
        return jobs.job("export", {**settings, "weights": str(data.weights)})[0]
    source = next(c for c in CONTENDERS if c.kind == "export" and c.backend == contender.backend)
    settings |= {"source": str(place / source.file), "images": str(data.images), "count": CALIBRATION_IMAGES}
    if contender.kind == "ours" and observer:
        settings["options"] = {"observer": observer}
    return jobs.job(contender.kind, settings)[0]


def _artifact(contender: Contender, place: Path) -> Artifact:
    found = open_artifact(place / contender.file)
    return replace(found, format=contender.format, precision=contender.precision)


def _accuracies(place: Path, images: ImageSet) -> dict[str, dict[str, Any]]:
    """Top-1, and agreement and signal to noise against FP32 ONNX Runtime, by contender."""
    from edgecnn.predict.parity import parity

    labels = np.asarray(images.labels)
    found: dict[str, dict[str, Any]] = {}
    baseline = np.zeros(0)
    for contender in CONTENDERS:
        records.say(f"judging {contender.name}")
        answers = run_file(
            _artifact(contender, place),
            images,
            backend=contender.backend,
            threads=1,
            listener=records.listener,
            preprocessing=PREPROCESSING,
        )
        baseline = answers if contender.name == BASELINE else baseline
        before, after = baseline.argmax(1) == labels, answers.argmax(1) == labels
        found[contender.name] = {
            **parity(baseline, answers),
            "agreement": float((baseline.argmax(1) == answers.argmax(1)).mean()),
            "top1": float(after.mean()),
            "drop_points": 100.0 * float(before.mean() - after.mean()),
            "broke": int((before & ~after).sum()),
            "fixed": int((~before & after).sum()),
        }
    return found


def _speeds(taken: Sequence[Latency]) -> dict[str, dict[str, Any]]:
    """Latency by contender, and its ratio to FP32 ONNX Runtime and, for ours, to the peer."""
    by_name = {latency.name: latency for latency in taken}
    found: dict[str, dict[str, Any]] = {}
    for name, latency in by_name.items():
        found[name] = {**latency.summary(), "process_medians_ns": [p.median_ns for p in latency.processes]}
        found[name]["of_fp32"] = asdict(compare(latency, by_name[BASELINE]))
    for ours, peer in ((OURS_ORT, PEER_ORT), (OURS_LITERT, PEER_LITERT)):
        found[ours]["of_peer"] = asdict(compare(by_name[ours], by_name[peer]))
    return found


def _goals(found: Mapping[str, Mapping[str, Any]]) -> list[records.Goal]:
    ort, litert, tensorrt = found[OURS_ORT], found[OURS_LITERT], found[OURS_TENSORRT]
    fused = ort["fusion"]["counts"].get("QLinearConv", 0)
    drop, agreement = ort["accuracy"]["drop_points"], 100 * ort["accuracy"]["agreement"]
    megabytes, partitions = ort["size_bytes"] / 1e6, litert["fusion"]["counts"].get("DELEGATE")
    litert_drop = litert["accuracy"]["drop_points"]
    goal = records.Goal
    return [
        goal(f"{OURS_ORT}: QLinearConv", f"{CONVOLUTIONS}", f"{fused}", fused == CONVOLUTIONS),
        _as_fast(OURS_ORT, "quantize_static", ort),
        goal(f"{OURS_ORT}: drop", "at most 0.75 points", f"{drop:.2f}", drop <= 0.75),
        goal(f"{OURS_ORT}: agreement", "at least 98 %", f"{agreement:.2f} %", agreement >= 98.0),
        goal(f"{OURS_ORT}: file", "at most 5.3 MB", f"{megabytes:.2f} MB", megabytes <= 5.3),
        goal(f"{OURS_LITERT}: partitions", "1", f"{partitions}", partitions == 1),
        _as_fast(OURS_LITERT, "ai-edge-quantizer", litert),
        goal(f"{OURS_LITERT}: drop", "at most 1 point", f"{litert_drop:.2f}", litert_drop <= 1.0),
        _builds(tensorrt["fusion"]),
    ]


def _as_fast(name: str, peer: str, found: Mapping[str, Any]) -> records.Goal:
    ratio = found["speed"]["of_peer"]
    shown = f"{ratio['speedup']:.3f}x [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    return records.Goal(
        f"{name}: speed over {peer}", "1x or more", shown, ratio["high"] >= 1.0 and ratio["speedup"] >= AS_FAST
    )


def _builds(fusion: Mapping[str, Any]) -> records.Goal:
    warned = [line for line in fusion["warnings"] if "zero point" in line.lower().replace("_", " ")]
    found = f"{fusion['status']}, {len(warned)} such warnings of {len(fusion['warnings'])}: {fusion['note']}"
    met = None if fusion["status"] == "skipped" else fusion["status"] == "checked" and not warned
    return records.Goal(f"{OURS_TENSORRT}: parsed and built", "no warning about zero points", found, met)


def _print(found: Mapping[str, Mapping[str, Any]], goals: Sequence[records.Goal]) -> None:
    columns = (
        "file",
        "ms",
        "of FP32 ORT",
        "top-1 %",
        "drop",
        "agree %",
        "SQNR dB",
        "MB",
        "integer",
        "CPU s",
        "peak MB",
    )
    records.table("EfficientNet-Lite0, real weights, 224x224", columns, [_row(n, f) for n, f in found.items()])
    records.print_goals(goals)


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy, speed, cost = found["accuracy"], found.get("speed"), found["cost"]
    ratio = speed["of_fp32"] if speed else None
    sqnr = accuracy["sqnr_db"]
    return (
        name,
        f"{speed['median_ns'] / 1e6:.2f}" if speed else "not timed",
        f"{ratio['speedup']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "",
        f"{100 * accuracy['top1']:.2f}",
        f"{accuracy['drop_points']:.2f}",
        f"{100 * accuracy['agreement']:.2f}",
        "exact" if sqnr is None else f"{sqnr:.1f}",
        f"{found['size_bytes'] / 1e6:.2f}",
        f"{found['fusion']['integer']}",
        f"{cost['cpu_s']:.1f}",
        f"{cost['peak_rss_bytes'] / 1e6:.0f}",
    )


if __name__ == "__main__":
    records.leave(main)
