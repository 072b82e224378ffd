"""Data that cannot be used: what `optimize` says of each, and the code it ends with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]


def missing_data(folder: Path) -> None:
    shutil.rmtree(folder)


def empty_data(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def folders_without_images(folder: Path) -> None:
    for path in folder.glob("*/*/*.png"):
        path.unlink()


def one_class(folder: Path) -> None:
    for part in ("train", "val"):
        for name in ("columns", "rows", "spot"):
            shutil.rmtree(folder / part / name)


def three_classes(folder: Path) -> None:
    for part in ("train", "val"):
        shutil.rmtree(folder / part / "spot")


def broken_to_calibrate(folder: Path) -> None:
    path = folder / "train" / "rows" / "003.png"
    path.write_bytes(path.read_bytes()[:60])


def broken_to_judge(folder: Path) -> None:
    (folder / "val" / "spot" / "007.png").write_bytes(b"no image")


def overlap(folder: Path) -> None:
    shutil.copy(folder / "train" / "rows" / "003.png", folder / "val" / "rows" / "999.png")


def an_archive(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"PK\x03\x04")


DATA = [
    (missing_data, "no-data", "there is no data at"),
    (empty_data, "no-images", "train/"),
    (folders_without_images, "no-images", "train/"),
    (one_class, "one-class", "belong to one class"),
    (three_classes, "class-count", "3 classes, the network 4 outputs"),
    (broken_to_calibrate, "broken-image", "003.png"),
    (broken_to_judge, "broken-image", "007.png"),
    (overlap, "data-overlap", "999.png"),
    (an_archive, "no-data", "neither a folder nor a .csv"),
]


@pytest.mark.parametrize(("spoil", "code", "says"), DATA, ids=lambda value: getattr(value, "__name__", None))
def test_data_that_cannot_judge(
    optimize: Invoke, bench: Workbench, tmp_path: Path, spoil: Callable[[Path], None], code: str, says: str
) -> None:
    folder = Path(shutil.copytree(bench.data, tmp_path / "patterns"))
    spoil(folder)
    ended = optimize(data=folder)
    assert (ended.code, ended.error) == (2, code), ended.err
    assert says in ended.err


def test_one_class_of_several(optimize: Invoke, bench: Workbench, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bench.data, tmp_path / "patterns"))
    one_class(folder)
    (tmp_path / "classes.txt").write_text("checks\ncolumns\nrows\nspot\n")
    ended = optimize("--class-map", str(tmp_path / "classes.txt"), data=folder)
    assert (ended.code, ended.error) == (2, "one-class")
    assert "'checks'" in ended.err


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("checks\ncolumns\nrows\nspots\n", "unknown-class", "did you mean 'spots'"),
        ("checks\ncolumns\nrows\n", "bad-class-map", "3 lines, the network 4 outputs"),
        ("checks\ncolumns\nrows\nrows\n", "bad-class-map", "rows more than once"),
        ("", "bad-class-map", "0 lines"),
        (None, "bad-class-map", "No such file"),
    ],
)
def test_class_maps(optimize: Invoke, tmp_path: Path, content: str | None, code: str, says: str) -> None:
    path = tmp_path / "classes.txt"
    if content is not None:
        path.write_text(content)
    ended = optimize("--class-map", str(path))
    assert (ended.code, ended.error) == (2, code), ended.err
    assert says in ended.err
