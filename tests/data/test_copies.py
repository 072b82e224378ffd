"""Copies of an image that judges are one image, whatever named them more than once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from image_folders import P, add, opened, tree

from edgecnn.data.evaluation_set import list_labelled, open_evaluation_set
from edgecnn.data.tensors import open_tensors


def listed(folder: Path, times: int) -> Path:
    """A table that names each of eight images to judge on so many times, and four to calibrate on once."""
    judging = [(image, label) for label in ("a", "b") for image in add(folder / label, 4)]
    training = [(image, label) for label in ("a", "b") for image in add(folder / "train" / label, 2)]
    lines = [f"{image.relative_to(folder)},{label},val" for image, label in judging * times]
    lines += [f"{image.relative_to(folder)},{label},train" for image, label in training]
    table = folder / "images.csv"
    table.write_text("\n".join(["path,label,split", *lines, ""]))
    return table


def copied(folder: Path, times: int) -> Path:
    """A folder in which each image to judge on lies so many times under other names."""
    tree(folder, {"train/a": 2, "train/b": 2, "val/a": 4, "val/b": 4})
    for image in list((folder / "val").glob("*/*.png")):
        for number in range(times - 1):
            shutil.copy(image, image.with_name(f"{image.stem}-{number}.png"))
    return folder


@pytest.mark.parametrize("write", [listed, copied])
def test_copies_judge_once_and_are_counted(tmp_path: Path, write) -> None:
    once, often = opened(write(tmp_path / "1", 1)), opened(write(tmp_path / "5", 5))
    assert "copies" not in once.facts()["images"]
    assert not any("copies" in note for note in once.facts()["notes"])
    assert often.facts()["images"]["evaluation"] == len(often.evaluation) == len(once.evaluation) == 8
    assert often.facts()["images"]["copies"] == 32
    assert "32 of 40 images to judge on are copies of others: 8 distinct ones judge" in often.facts()["notes"]
    assert len(set(often.evaluation.file_digests())) == 8


@pytest.mark.parametrize("write", [listed, copied])
def test_evaluate_counts_an_image_once(tmp_path: Path, write) -> None:
    listing = list_labelled(write(tmp_path / "data", 3))
    found = open_evaluation_set(listing, num_classes=2, preprocessing=P)
    assert (len(found.images), found.facts["images"], found.facts["copies"]) == (8, 8, 16)
    assert "16 of 24 images to judge on are copies of others: 8 distinct ones judge" in found.notes


def test_tensors_that_are_the_same_judge_once() -> None:
    images = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
    labels = np.arange(6) % 2
    judging = [(images[2:], labels[2:])] * 7
    found = open_tensors(
        {"train": [(images[:2], labels[:2])], "val": judging}, num_classes=2, stated={}, calibration_images=2, seed=0
    )
    assert found.evaluation is not None and len(found.evaluation) == 4
    assert found.facts["images"] == {"training": 2, "calibration": 2, "evaluation": 4, "copies": 24}
    assert found.facts["notes"] == ["24 of 28 images to judge on are copies of others: 4 distinct ones judge"]


def test_copies_in_a_set_that_is_divided_here_judge_once(tmp_path: Path) -> None:
    for label in "ab":
        for image in add(tmp_path / label, 6):
            shutil.copy(image, image.with_name(f"copy-{image.name}"))
    found = opened(tmp_path)
    assert len(found.evaluation) == len(set(found.evaluation.file_digests())) == found.facts()["images"]["copies"] == 6
