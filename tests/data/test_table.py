"""open_data of CSV tables: columns, splits, and what is wrong with a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_folders import add, opened, refusal


def table(root: Path, rows: list[str], header: str = "path,label") -> Path:
    path = root / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_with_a_split(tmp_path: Path) -> None:
    files = add(tmp_path / "images", 8)
    rows = [
        f"images/{file.name},{'ant' if n % 2 else 'bee'},{'train' if n < 4 else 'val'}" for n, file in enumerate(files)
    ]
    data = opened(table(tmp_path, rows, "Path, Label ,SPLIT"))
    assert set(data.calibration.paths) == set(files[:4])
    assert set(data.evaluation.paths) == set(files[4:])
    assert data.class_names == ("ant", "bee")


def test_a_table_without_a_split_is_divided_here(tmp_path: Path) -> None:
    outside = add(tmp_path / "elsewhere", 10)
    (tmp_path / "lists").mkdir()
    rows = [f"../elsewhere/{file.name},{n % 2}" for n, file in enumerate(outside)]
    data = opened(table(tmp_path / "lists", rows))
    assert len(data.evaluation) == 6
    assert data.facts()["split"].startswith("made here")
    assert data.facts()["classes"] == "labels are output indices"
    assert any(
        "10 images" in note and "lie outside its folder: ../elsewhere/" in note for note in data.facts()["notes"]
    )


def test_a_table_may_say_that_its_paths_are_absolute(tmp_path: Path) -> None:
    files = add(tmp_path / "elsewhere", 4)
    (tmp_path / "lists").mkdir()
    rows = [f"{file},{n % 2}" for n, file in enumerate(files)]
    data = opened(table(tmp_path / "lists", rows, "absolute_path,label"))
    assert {*data.calibration.paths, *data.evaluation.paths} == set(files)
    assert not [note for note in data.facts()["notes"] if "outside" in note]


def test_a_table_of_indices_fits_a_larger_network_and_a_class_map(tmp_path: Path) -> None:
    files = add(tmp_path, 4)
    path = table(tmp_path, [f"{file.name},{n % 2 * 7}" for n, file in enumerate(files)])
    assert set(opened(path, num_classes=10).evaluation.labels or ()) == {0, 7}
    (tmp_path / "map.json").write_text('{"ant": 0, "bee": 7}')
    assert set(opened(path, num_classes=10, class_map=tmp_path / "map.json").evaluation.labels or ()) == {0, 7}
    assert "label 7" in refusal(path, "class-count", num_classes=5).message


@pytest.mark.parametrize(
    ("rows", "header", "why"),
    [
        (["a.png,x"], "file,class", "file,class"),
        (["gone.png,x"], "path,label", "line 2: there is no file gone.png"),
        ([",x"], "path,label", "line 2: path or label is empty"),
        (["a.png"], "path,label", "line 2: path or label is empty"),
        (["a.png,x,dev"], "path,label,split", "split 'dev'"),
        (["a.png,x"], "path,label,split", "split ''"),
        (["/etc/hostname,x"], "path,label", "line 2: /etc/hostname is an absolute path"),
        ([f"{'n' * 5000}.png,x"], "path,label", "line 2: " + "n" * 80 + "...: File name too long"),
        (["pipe.png,x"], "path,label", "line 2: pipe.png is a named pipe"),
        ([".,x"], "path,label", "line 2: . is a folder"),
        (["loop.png,x"], "path,label", "loop.png is a symbolic link that leads back to itself"),
        ([f"gone{n}.png,x" for n in range(9)], "path,label", "and 6 more"),
    ],
)
def test_a_wrong_table_says_which_line(tmp_path: Path, rows: list[str], header: str, why: str) -> None:
    add(tmp_path, 1)[0].rename(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert why in refusal(table(tmp_path, rows, header), "bad-table").why


def test_an_empty_or_binary_table(tmp_path: Path) -> None:
    refusal(table(tmp_path, []), "no-images")
    (tmp_path / "zero.csv").write_bytes(b"")
    refusal(tmp_path / "zero.csv", "bad-table")
    (tmp_path / "binary.csv").write_bytes(b"path,label\n\xff\xfe,\x00\n")
    refusal(tmp_path / "binary.csv", "bad-table")


def test_a_table_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    files = add(tmp_path, 4)
    text = "path,label\r\n" + "".join(f'"{file.name}",{n % 2}\r\n' for n, file in enumerate(files)) + "\r\n"
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(opened(tmp_path / "list.csv").training) == 2


# --- the demo's digits ----------------------------------------------------------------------------------------------
