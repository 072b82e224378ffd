"""What is taken when nobody says how the images were prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.data.preprocessing import guess

SHAPE = (3, 224, 224)


def table(folder: Path, *sizes: tuple[int, int]) -> Path:
    (folder / "images").mkdir()
    lines = ["Path,label"]
    for index, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / "images" / f"{index}.png")
        lines.append(f"images/{index}.png,a")
    (folder / "list.csv").write_text("\n".join([*lines, "images/absent.png,a"]))
    return folder / "list.csv"


def test_small_images_of_one_size_are_left_at_it_wherever_they_are_listed(tmp_path: Path) -> None:
    listed = table(tmp_path, (32, 28), (32, 28))
    for data in (tmp_path, listed):
        found = guess(SHAPE, data)
        assert (found.crop, found.resize) == ((28, 32), None)


@pytest.mark.parametrize("sizes", [[(32, 32), (28, 28)], [(320, 320)], []])
def test_other_images_get_the_networks_size(tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    listed = table(tmp_path, *sizes)
    for data in (tmp_path, listed, None):
        found = guess(SHAPE, data)
        assert (found.crop, found.resize) == ((224, 224), 256)


def test_a_table_that_is_none_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,class\na.png,a\n")
    with pytest.raises(InputError, match="cannot use the table"):
        guess(SHAPE, tmp_path / "list.csv")
