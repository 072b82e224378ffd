"""open_data where images have no class."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import add, opened, refusal, tree


def test_images_directly_in_train_have_no_label(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 6, "val/ant": 2, "val/bee": 2})
    data = opened(tmp_path)
    assert data.training.labels is None
    assert len(data.training) == 6 and {path.parent.name for path in data.training.paths} == {"train"}
    assert data.evaluation is not None and data.evaluation.labels is not None and len(data.evaluation) == 4
    assert data.may_train
    assert [path.name for path in data.training.paths] != sorted(path.name for path in data.training.paths)


def test_rows_to_learn_from_may_have_no_label(tmp_path: Path) -> None:
    bare, ants, bees = add(tmp_path / "x", 3), add(tmp_path / "a", 1), add(tmp_path / "b", 1)
    judged = [f"{ants[0].relative_to(tmp_path)},ant,val", f"{bees[0].relative_to(tmp_path)},bee,val"]
    rows = [f"{path.relative_to(tmp_path)},,train" for path in bare]
    table = tmp_path / "images.csv"
    table.write_text("\n".join(["path,label,split", *rows, *judged]))
    data = opened(table)
    assert data.training.labels is None and len(data.training) == 3
    assert not [note for note in data.facts()["notes"] if "label" in note]
    table.write_text("\n".join(["path,label,split", rows[0].replace(",,", ",ant,"), *rows[1:], *judged]))
    data = opened(table)
    assert data.training.labels is None
    assert "2 of 3 training images have no label: those of the others are not used" in data.facts()["notes"]
    table.write_text("\n".join(["path,label,split", *rows, judged[0], judged[1].replace(",bee,", ",,")]))
    assert "line 6: path or label is empty" in refusal(table, "bad-table").why


@pytest.mark.parametrize("place", [".", "train"])
def test_where_nothing_judges_no_image_needs_a_label(tmp_path: Path, place: str) -> None:
    add(tmp_path / place, 5)
    data = opened(tmp_path, judges=False)
    assert (len(data.training), data.training.labels, data.evaluation) == (5, None, None)
    assert data.class_names == ("0", "1")
    refusal(tmp_path, "one-class" if place == "train" else "no-images")


def test_a_table_of_paths_alone(tmp_path: Path) -> None:
    paths = add(tmp_path, 4)
    table = tmp_path / "images.csv"
    table.write_text("\n".join(["path", *(path.name for path in paths)]))
    assert len(opened(table, judges=False).training) == 4
    assert "its first line is 'path'" in refusal(table, "bad-table").why


def test_a_class_called_train_is_still_one(tmp_path: Path) -> None:
    data = opened(tree(tmp_path, {"train": 4, "bus": 4}))
    assert data.class_names == ("bus", "train")
    assert data.training.labels is not None


@pytest.mark.parametrize("header", ["path,label", "path,label,split"])
def test_images_that_are_to_be_divided_have_a_label_each_or_none(tmp_path: Path, header: str) -> None:
    paths, split = add(tmp_path, 4), ",train" if "split" in header else ""
    rows = [f"{path.name},{label}{split}" for path, label in zip(paths, ("ant", "bee", "", "ant"), strict=True)]
    table = tmp_path / "images.csv"
    table.write_text("\n".join([header, *rows]))
    assert "line 4: path or label is empty" in refusal(table, "bad-table").why
