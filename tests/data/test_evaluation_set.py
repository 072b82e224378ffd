"""Which images judge a finished model, and which data cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import write_images

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data.evaluation_set import EvaluationSet, list_labelled, open_evaluation_set

P = Preprocessing(crop=(32, 32), resize=None)


def judging(path: Path, **more: object) -> EvaluationSet:
    return open_evaluation_set(list_labelled(path), num_classes=4, preprocessing=P, **more)  # type: ignore[arg-type]


def test_val_judges_where_there_is_one_and_else_everything(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "train", 3, seed=0)
    write_images(tmp_path / "d" / "val", 2, seed=1)
    found = judging(tmp_path / "d")
    assert len(found.images) == 8 and found.facts["source"].endswith("val") and found.notes == ()
    assert {path.parent.parent.name for path in found.images.paths} == {"val"}
    assert found.class_names == ("checks", "columns", "rows", "spot")
    whole = judging(tmp_path / "d" / "train")
    assert len(whole.images) == 12 and "undivided" not in str(whole.facts["source"])


def test_a_train_folder_alone_is_pointed_out(tmp_path: Path) -> None:
    write_images(tmp_path / "d" / "train", 2, seed=0)
    assert any("train folder" in note for note in judging(tmp_path / "d").notes)


def test_a_class_map_orders_the_outputs(tmp_path: Path) -> None:
    write_images(tmp_path / "d", 1, seed=0)
    (tmp_path / "classes.txt").write_text("spot\nrows\ncolumns\nchecks\n")
    found = judging(tmp_path / "d", class_map=tmp_path / "classes.txt")
    assert found.images.labels == (3, 2, 1, 0) and found.class_names[0] == "spot"


def test_images_without_labels_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write_images(tmp_path / "d", 1, seed=0, classes=("rows",))
    with pytest.raises(InputError) as caught:
        list_labelled(tmp_path / "d" / "rows")
    assert caught.value.code == "no-labels" and "DIR/val/CLASS" in caught.value.hint
    with pytest.raises(InputError) as caught:
        list_labelled(tmp_path / "d")
    assert caught.value.code == "one-class"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        list_labelled(tmp_path / "empty")
    assert caught.value.code == "no-images"
