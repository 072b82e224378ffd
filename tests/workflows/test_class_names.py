"""Names of the classes: those that are known travel in every file, and none are invented."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from workbench import CLASSES, FLAGS, Workbench, write_images

from edgecnn.formats.inspect import read
from edgecnn.models import open_model, save
from edgecnn.train.resnet_small import resnet_small

if TYPE_CHECKING:
    from workbench import Ended

Invoke = Callable[..., "Ended"]
NAME = "edgecnn.train.resnet_small:resnet_small"


def checkpoint(folder: Path, *, names: tuple[str, ...] | None = None) -> Path:
    path = folder / "small.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save(path, resnet_small(num_classes=4), architecture=NAME, num_classes=4, class_names=names)
    return path


def pruned(path: Path, invoke: Invoke, *more: str) -> Path:
    ended = invoke("prune", str(path), "--macs", "60%", *FLAGS, *more)
    assert ended.code == 0, ended.err
    return path.with_name("small.pruned.safetensors")


def test_without_data_no_names_are_invented(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    made = pruned(checkpoint(tmp_path), invoke)
    assert open_model(made).class_names is None
    ended = invoke("evaluate", str(made), "--data", str(bench.data))
    assert ended.code == 0, ended.err


def test_images_without_classes_name_none(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for index, image in enumerate(sorted(bench.data.rglob("*.png"))[:8]):
        shutil.copy(image, folder / f"{index}.png")
    assert open_model(pruned(checkpoint(tmp_path), invoke, "--data", str(folder))).class_names is None


def test_the_names_of_the_checkpoint_stay(tmp_path: Path, invoke: Invoke) -> None:
    names = ("spot", "rows", "columns", "checks")
    assert open_model(pruned(checkpoint(tmp_path, names=names), invoke)).class_names == names


def test_a_default_name_replaces_nothing(tmp_path: Path, invoke: Invoke) -> None:
    path = checkpoint(tmp_path)
    made = pruned(path, invoke)
    before = made.read_bytes()
    ended = invoke("prune", str(path), "--macs", "50%", *FLAGS)
    assert (ended.code, ended.error) == (2, "out-exists")
    assert made.read_bytes() == before
    assert invoke("prune", str(path), "--macs", "50%", *FLAGS, "--out", str(made)).code == 0
    assert made.read_bytes() != before


@pytest.mark.parametrize("classes", [("ant", "bee", "cat", "dog"), ("ant", "bee"), ("ant",)], ids=len)
def test_conversion_takes_images_of_other_classes(tmp_path: Path, invoke: Invoke, classes: tuple[str, ...]) -> None:
    write_images(tmp_path / "source", 4, seed=3)
    for name, source in zip(classes, CLASSES, strict=False):
        shutil.copytree(tmp_path / "source" / source, tmp_path / "photos" / "train" / name)
    path = checkpoint(tmp_path, names=CLASSES)
    ended = invoke("quantize", str(path), *FLAGS, "--data", str(tmp_path / "photos"), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["images"] in ("calibration", "evaluation")
    assert "nothing here depends on them" in ended.err
    assert invoke("inspect", ended.json["path"], "--json").code == 0


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=pytest.mark.slow)])
def test_a_file_matches_folders_by_name(bench: Workbench, tmp_path: Path, invoke: Invoke, format: str) -> None:
    """Its outputs are in an order of their own, and one class has no folder."""
    path = checkpoint(tmp_path, names=("spot", "rows", "columns", "checks"))
    made = invoke("export", str(path), *FLAGS, "--format", format, "--json")
    assert made.code == 0, made.err
    shutil.copytree(bench.data / "val", tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos" / "rows")
    words = ("--data", str(tmp_path / "photos"), "--json")
    ours, theirs = (invoke("evaluate", made.json["path"], *words), invoke("evaluate", str(path), *words, *FLAGS))
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert ours.json["classes"] == theirs.json["classes"]
    assert ours.json["confusion"] == theirs.json["confusion"]


def test_the_dialect_of_tensorrt_names_the_classes(tmp_path: Path, invoke: Invoke) -> None:
    made = invoke("export", str(checkpoint(tmp_path, names=CLASSES)), *FLAGS, "--format", "tensorrt", "--json")
    assert made.code == 0, made.err
    assert read(Path(made.json["path"]), "tensorrt").exported_as()["class_names"] == list(CLASSES)
