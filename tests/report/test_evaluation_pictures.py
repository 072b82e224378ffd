"""A confusion matrix and a contact sheet as files that open, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.core.errors import InputError, StepError
from edgecnn.report.contact_sheet import EDGE, SheetPicture, write_sheet
from edgecnn.report.evaluation import confusion


def matrix(count: int) -> np.ndarray:
    found = np.zeros((count, count), np.int64)
    np.fill_diagonal(found, 40)
    found[0, 1] = 12
    return found


@pytest.mark.parametrize("count", [2, 10, 40, 300])
def test_a_picture_for_few_and_for_many_classes(tmp_path: Path, count: int) -> None:
    path = tmp_path / "confusion.png"
    confusion.picture(matrix(count), [f"class {index}" for index in range(count)], path)
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 300 and max(image.size) < 4000
        assert np.asarray(image.convert("L")).std() > 10
    assert [item.name for item in tmp_path.iterdir()] == ["confusion.png"]


def test_the_same_matrix_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        confusion.picture(matrix(3), ["a", "b", "c"], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_names_are_only_names(tmp_path: Path) -> None:
    names = ["$\\frac{x$", "猫", "x" * 300, "a\nb"]
    confusion.picture(matrix(4), names, tmp_path / "a.png")
    confusion.picture(np.zeros((2, 2), np.int64), ["_a", "b"], tmp_path / "empty.png")
    confusion.picture(matrix(61), [*names, *map(str, range(57))], tmp_path / "many.png")
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_a_lone_dark_cell_of_many_is_not_lost(tmp_path: Path) -> None:
    shares = np.zeros((1000, 1000))
    shares[3, 777] = 1.0
    blocks = confusion._blocks(shares)
    assert blocks.shape == (confusion.BLOCKS, confusion.BLOCKS) and blocks.max() == 1.0 and (blocks > 0).sum() == 1


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 names"):
        confusion.picture(matrix(2), ["a", "b", "c"], tmp_path / "a.png")


def test_pictures_of_any_kind_on_one_sheet(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "small.png")
    Image.new("CMYK", (640, 200), (255, 0, 0, 0)).save(tmp_path / "large.jpg")
    Image.new("LA", (1, 600)).save(tmp_path / "thin.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    names = ["small.png", "large.jpg", "thin.png", "broken.png", "gone.png"]
    words = ("some words that are far too long for one picture", "a/b/c/" * 9)
    cells = [SheetPicture(tmp_path / name, (name, *words)) for name in names]
    write_sheet(cells, tmp_path / "sheet.png", title="what was found", columns=2)
    with Image.open(tmp_path / "sheet.png") as image:
        found = np.asarray(image.convert("RGB"))
    assert found.shape[1] >= 2 * EDGE and found.shape[0] > 3 * EDGE
    assert (found == [255, 0, 0]).all(2).sum() == (EDGE // 32 * 32) ** 2, "a small one is enlarged by a whole factor"
    assert (found == [0xD8] * 3).all(2).sum() >= 2 * EDGE * EDGE * 0.9, "what cannot be read leaves its place grey"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepError):
        write_sheet([], tmp_path / "no" / "sheet.png", title="")
