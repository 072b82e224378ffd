"""QAT rescues what PTQ loses: MobileNetV3-Small on CIFAR-10 JPEG images, every format, before and after one epoch.

    python benchmarks/qat.py --images DIR [--keep DIR] [--train-images N] [--formats onnx tensorrt tflite] [--ablation]

The network is trained first (and kept in --keep), then quantized with each observer, then trained for one epoch on the
same images with the rounding in place, the float network as teacher and no labels. Top-1 is that of the files in their
runtimes on all validation images; of `tensorrt` the graph as written stands in, computed by ONNX Runtime.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
from torch import nn

from edgecnn.compress.qat.kernel import ROUNDS, prepare, train
from edgecnn.compress.qat.stage import Qat
from edgecnn.config.devices import load_device
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName
from edgecnn.core.errors import MissingError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.data import ImageSet, open_data
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.formats.registry import format_named
from edgecnn.predict.runtime import run_file
from edgecnn.quantize.options import Observer
from edgecnn.train import Augment, TrainSettings, fit

IMAGES = "EDGECNN_BENCH_CIFAR"
PREPARED = Preprocessing(crop=(32, 32), resize=None, mean=(0.473,) * 3, std=(0.251,) * 3)
BACKENDS: Mapping[FormatName, str] = {"onnx": "onnxruntime", "tensorrt": "onnxruntime", "tflite": "tflite"}
OBSERVERS: tuple[Observer, ...] = ("minmax", "percentile")
TRAININGS: tuple[tuple[str, Observer, Sequence[float]], ...] = (("qat minmax", "minmax", ROUNDS),)
ABLATION: tuple[tuple[str, Observer, Sequence[float]], ...] = (
    ("qat minmax, ranges once", "minmax", (1.0,)),
    ("qat percentile", "percentile", ROUNDS),
)
"""Each by its name, with its observer, and the shares of training before each of which ranges are observed."""
TARGET = "jetson-orin-nano-8gb"
"""It runs every format: TensorRT on the GPU, the others on its CPU cores."""
CALIBRATION_IMAGES = 200
VARIED = Augment(crop_padding=4, flip=True)
LOST, LEFT, AGREEMENT = 2.0, 0.5, 99.5
"""Points that PTQ has to lose for the case to be one, points that QAT may leave; percent of equal answers."""


@dataclass(frozen=True, slots=True)
class Network:
    """A torch module as `core.stage.Model`."""

    made: nn.Module
    sha256: str
    name: str = "torchvision:mobilenet_v3_small"
    num_classes: int = 10
    input_shape: tuple[int, int, int] = (3, 32, 32)

    def module(self) -> nn.Module:
        return self.made.eval()


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images as `core.stage.Data`."""

    calibration: ImageSet
    training: ImageSet
    evaluation: ImageSet
    class_names: Sequence[str]
    preprocessing: Preprocessing = PREPARED


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs."""

    place: Path
    network: Network
    data: Pictures
    options: argparse.Namespace

    def context(self, name: str, format: FormatName) -> Context:
        workdir, scratch = self.place / name, self.place / f"{name}.scratch"
        for folder in (workdir, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        return Context(
            workdir=workdir,
            scratch=scratch,
            model=self.network,
            data=self.data,
            target=load_device(TARGET),
            format=format,
            listener=records.listener,
            seed=self.options.seed,
            teacher=self.network,
        )

    def judge(self, artifact: Artifact) -> tuple[float, np.ndarray]:
        """Top-1 in percent of all validation images, and the logits."""
        images = self.data.evaluation
        backend = BACKENDS[artifact.format]
        found = run_file(
            artifact, images, backend=backend, threads=1, listener=records.listener, preprocessing=PREPARED
        )
        return 100.0 * float((found.argmax(1) == np.asarray(images.labels)).mean()), found


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        place = options.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        data = _data(options)
        network, trained = _network(place, data, options)
        bench = Bench(place, network, data, options)
        found = {format: _format(bench, format) for format in options.formats}
    goals = _goals(found)
    _print(found, goals)
    settings: dict[str, Any] = {"train_images": len(data.training), "validation_images": len(data.evaluation)}
    settings |= {"calibration_images": CALIBRATION_IMAGES, "fp32": trained, "qat": _stage(options).options()}
    records.save("qat", found, settings=settings, goals=goals)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--images", type=Path, default=os.environ.get(IMAGES), help=f"CIFAR-10 in train/, val/; or {IMAGES}"
    )
    parser.add_argument("--keep", type=Path, help="folder for the network and the files; else they are thrown away")
    parser.add_argument("--train-images", type=int, help="of the training images so many; all by default")
    parser.add_argument("--fp32-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=1.0, help="of quantization-aware training")
    parser.add_argument("--formats", nargs="+", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument("--ablation", action="store_true", help="ranges observed once, and percentile, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _data(options: argparse.Namespace) -> Pictures:
    if options.images is None or not (Path(options.images) / "train").is_dir():
        raise MissingError(
            "no-images",
            "this benchmark needs CIFAR-10 as an image folder",
            hint=f"--images DIR or {IMAGES}=DIR, a folder with train/ and val/ and a folder per class in each",
        )
    found = open_data(
        Path(options.images), num_classes=10, preprocessing=PREPARED, calibration_images=CALIBRATION_IMAGES
    )
    training = found.training.take(options.train_images or len(found.training))
    return Pictures(found.calibration, training, found.evaluation, found.class_names)


def _network(place: Path, data: Pictures, options: argparse.Namespace) -> tuple[Network, dict[str, Any]]:
    """The float network, trained here or in an earlier run, and how."""
    from safetensors.torch import load_file, save_file
    from torchvision.models import mobilenet_v3_small

    settings = TrainSettings(
        epochs=options.fp32_epochs,
        batch=128,
        optimizer="sgd",
        learning_rate=0.15,
        weight_decay=1e-4,
        warmup=0.2,
        augment=VARIED,
    )
    # torchvision's momentum of 0.01 is for ImageNet's ten thousand steps in an epoch.
    torch.manual_seed(options.seed)
    module = mobilenet_v3_small(num_classes=10, norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1))
    saved = place / "fp32.safetensors"
    if saved.is_file():
        module.load_state_dict(load_file(saved))
    else:
        records.say(f"training the float network, {settings.epochs} epochs of {len(data.training)} images")
        fit(
            module,
            data.training,
            settings=settings,
            scratch=place / "fp32.scratch",
            listener=records.listener,
            seed=options.seed,
        )
        save_file(module.state_dict(), saved)
    return Network(module.eval(), saved.name), settings.model_dump(mode="json")


def _format(bench: Bench, format: FormatName) -> dict[str, Any]:
    records.say(f"{format}: exporting")
    out = bench.place / f"{format}.fp32{format_named(format).suffix}"
    source = replace(plugins.load("exporters", format)(bench.network, out, preprocessing=PREPARED), format=format)
    top1, expected = bench.judge(source)
    found: dict[str, Any] = {"fp32": {"top1": top1}}
    for observer in OBSERVERS:
        records.say(f"{format}: quantizing, {observer}")
        made = Quantize(observer=observer).run(source, bench.context(f"{format}.ptq.{observer}", format))
        found[f"ptq {observer}"] = _compared(bench, made, top1=top1, expected=expected)[0]
    for name, observer, rounds in (*TRAININGS, *(ABLATION if bench.options.ablation else ())):
        records.say(f"{format}: training, {name}")
        stage = _stage(bench.options).model_copy(update={"observer": observer})
        trained, seconds = _trained(bench, source, stage, name=name, rounds=rounds)
        made = Quantize(observer=observer).run(trained, bench.context(f"{format}.{name}.int8", format))
        row, answers = _compared(bench, made, top1=top1, expected=expected)
        equal = float((_own(bench, trained, stage, name) == answers).mean())
        found[name] = {**row, "agreement_with_trained": 100.0 * equal, "seconds": seconds}
        records.say(f"{format} {name}: {found[name]}")
    return found


def _trained(
    bench: Bench, source: Artifact, stage: Qat, *, name: str, rounds: Sequence[float]
) -> tuple[Artifact, float]:
    """(the trained float file, seconds it took)."""
    began = time.monotonic()
    context = bench.context(f"{source.format}.{name}", source.format)
    return train(source, context, options=stage, rounds=rounds), round(time.monotonic() - began, 1)


def _own(bench: Bench, trained: Artifact, stage: Qat, name: str) -> np.ndarray:
    """What the trained network answers in torch."""
    network = prepare(trained, stage, bench.context(f"{trained.format}.{name}.again", trained.format)).network
    with torch.inference_mode():
        found = [network(torch.from_numpy(x)).argmax(1).numpy() for x in bench.data.evaluation.batches(250)]
    return np.concatenate(found)


def _stage(options: argparse.Namespace) -> Qat:
    return Qat.model_validate({"epochs": options.epochs, "training": {"augment": VARIED.model_dump()}})


def _compared(bench: Bench, made: Artifact, *, top1: float, expected: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """(how the file stands beside the float one, its answers)."""
    after, found = bench.judge(made)
    agreement = 100.0 * float((found.argmax(1) == expected.argmax(1)).mean())
    return {"top1": after, "drop_points": top1 - after, "agreement_with_fp32": agreement}, found.argmax(1)


def _goals(found: Mapping[str, Mapping[str, Any]]) -> list[records.Goal]:
    goals = []
    for format, rows in found.items():
        before, after = rows["ptq minmax"]["drop_points"], rows["qat minmax"]["drop_points"]
        equal = min(rows[name]["agreement_with_trained"] for name in rows if name.startswith("qat"))
        goals += [
            records.Goal(f"{format}: lost by PTQ, min-max", f"over {LOST} points", f"{before:.2f}", before > LOST),
            records.Goal(f"{format}: lost after QAT", f"at most {LEFT} points", f"{after:.2f}", after <= LEFT),
            records.Goal(f"{format}: file and trained network", f"{AGREEMENT} %", f"{equal:.2f} %", equal >= AGREEMENT),
        ]
    return goals


def _print(found: Mapping[str, Mapping[str, Any]], goals: Sequence[records.Goal]) -> None:
    columns = ("file", "top-1 %", "drop", "agree with FP32 %", "agree with trained %", "s")
    rows = [
        (
            f"{format} {name}",
            f"{row['top1']:.2f}",
            f"{row['drop_points']:.2f}" if "drop_points" in row else "",
            f"{row['agreement_with_fp32']:.2f}" if "agreement_with_fp32" in row else "",
            f"{row['agreement_with_trained']:.2f}" if "agreement_with_trained" in row else "",
            f"{row['seconds']:.0f}" if "seconds" in row else "",
        )
        for format, part in found.items()
        for name, row in part.items()
    ]
    records.table("MobileNetV3-Small, CIFAR-10 JPEG, 32x32", columns, rows)
    records.print_goals(goals)


if __name__ == "__main__":
    records.leave(main)
