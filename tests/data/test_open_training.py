"""What a folder or a table gives to train on: classes first, then images, and what is doubtful about them."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import write_images

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import open_data
from edgecnn.data.opening import classes_in, open_training

AS_IT_IS = Preprocessing(crop=(32, 32), resize=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_images(tmp_path / "train", 3, seed=1, classes=("rows", "checks"))
    write_images(tmp_path / "val", 2, seed=2, classes=("rows", "spot"))
    return tmp_path


def table(folder: Path, labels: list[str]) -> Path:
    write_images(folder / "images", len(labels), seed=1, classes=("rows",))
    lines = [f"images/rows/{number:03}.png,{label}" for number, label in enumerate(labels)]
    path = folder / "table.csv"
    path.write_text("\n".join(["path,label", *lines]))
    return path


def test_classes_of_a_folder_are_all_that_either_part_has(folder: Path) -> None:
    assert classes_in(folder) == ("checks", "rows", "spot")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["cat", "ant", "cat"], ("ant", "cat")), (["0", "3", "1"], ("0", "1", "2", "3")), (["0", "x"], ("0", "x"))],
)
def test_classes_of_a_table(labels: list[str], classes: tuple[str, ...], tmp_path: Path) -> None:
    assert classes_in(table(tmp_path, labels)) == classes


def test_labels_that_are_identifiers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        classes_in(table(tmp_path, ["0", "90210017"]))
    assert caught.value.code == "class-count"


def test_training_and_validation_with_doubts(folder: Path) -> None:
    found = open_training(folder, preprocessing=AS_IT_IS, class_names=classes_in(folder))
    assert (len(found.training), len(found.validation)) == (6, 4)
    assert found.doubts == ("no image to train on shows spot: the network will never answer that",)
    assert found.facts["digests"] == {"training": found.training.digest, "validation": found.validation.digest}


def test_a_class_folder_without_any_image_is_told_of(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_images(tmp_path / part, 2, seed=len(part))
        (tmp_path / part / "zebra").mkdir()
    classes = classes_in(tmp_path)
    assert "zebra" in classes
    found = open_training(tmp_path, preprocessing=AS_IT_IS, class_names=classes)
    assert "no image to train on shows zebra: the network will never answer that" in found.doubts


def test_a_fifth_of_undivided_images_validates(tmp_path: Path) -> None:
    """What validates here judges there; that some of what was learned here judges there too is said."""
    write_images(tmp_path / "images", 10, seed=1)
    classes = classes_in(tmp_path / "images")
    here = open_training(tmp_path / "images", preprocessing=AS_IT_IS, class_names=classes, seed=3)
    there = open_data(tmp_path / "images", num_classes=4, preprocessing=AS_IT_IS, seed=3)
    assert (len(here.training), len(here.validation)) == (32, 8)
    assert here.facts["split"] == "made here: 20% of each class held out by seed 3"
    assert set(here.validation.paths) < set(there.evaluation.paths)
    assert len(there.evaluation) == 20
    assert any("no val/ folder" in doubt for doubt in here.doubts)


@pytest.mark.parametrize(("count", "validating"), [(2, 1), (3, 1), (5, 1), (6, 2)])
def test_every_class_validates_however_few_images_it_has(tmp_path: Path, count: int, validating: int) -> None:
    write_images(tmp_path / "images", count, seed=1)
    classes = classes_in(tmp_path / "images")
    found = open_training(tmp_path / "images", preprocessing=AS_IT_IS, class_names=classes)
    assert len(found.validation) == validating * len(classes)
    assert len(found.training) == (count - validating) * len(classes)


def test_images_to_judge_on_alone_do_not_train(tmp_path: Path) -> None:
    write_images(tmp_path / "val", 2, seed=1)
    with pytest.raises(InputError) as caught:
        open_training(tmp_path, preprocessing=AS_IT_IS, class_names=classes_in(tmp_path))
    assert caught.value.code == "no-training-images"
