"""Tables and class maps from anywhere: read, or refused by an InputError; nothing else, whatever the text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fuzzing import JSON, damaged, examples
from hypothesis import given
from hypothesis import strategies as st
from image_folders import add, opened, refusal

from edgecnn.core.errors import InputError
from edgecnn.data.classes import output_index, read_class_map
from edgecnn.data.folder import list_folder
from edgecnn.data.opening import classes_in
from edgecnn.data.table import list_table

TABLE = b"path,label,split\na.png,ant,train\nb.png,bee,val\n\xc3\xa4.png,4,test\n"
ODD = ["a.png", "../a.png", "/dev/zero", ".", "\0", "x" * 5000, "9" * 5000, "-1", "²"]
CELLS = st.text(max_size=12) | st.sampled_from(ODD)


HEADERS = st.sampled_from(["path,label", "absolute_path,label"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fuzz")
    for name in ("a.png", "b.png", "ä.png"):
        (place / name).touch()
    return place


def read(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    for unlabelled in (False, True):
        try:
            list_table(path, unlabelled=unlabelled)
        except InputError as error:
            assert error.code in ("bad-table", "no-images")


@examples(200)
@given(raw=damaged(TABLE))
def test_damaged_tables(folder: Path, raw: bytes) -> None:
    read(folder / "table.csv", raw)


@examples(150)
@given(
    rows=st.lists(st.lists(CELLS, max_size=4), max_size=4),
    header=HEADERS,
)
def test_tables_of_anything(folder: Path, rows: list[list[str]], header: str) -> None:
    text = "\n".join([header, *(",".join(row) for row in rows)])
    read(folder / "table.csv", text.encode("utf-8", "surrogatepass"))


@examples(150)
@given(raw=JSON, text=st.lists(CELLS, max_size=4))
def test_class_maps(folder: Path, raw: Any, text: list[str]) -> None:
    contents = {
        "map.json": json.dumps(raw),
        "map.csv": "\n".join(f"{cell},{cell}" for cell in text),
        "map.txt": "\n".join(text),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            read_class_map(folder / name, 4)
        except InputError as error:
            assert error.code == "bad-class-map"


def test_labels_that_are_very_long_numbers(tmp_path: Path) -> None:
    files = add(tmp_path, 4)
    table = tmp_path / "table.csv"
    table.write_text(
        "path,label\n" + "".join(f"{file.name},{'9' * (n % 2 * 4999 + 1)}\n" for n, file in enumerate(files))
    )
    assert output_index("9" * 5000) is None
    assert len(classes_in(table)) == 2
    assert set(opened(table).class_names) == {"9", "9" * 5000}


@pytest.mark.parametrize("name", [b"ant\xff", b"ant/\xe4.png"], ids=["a folder", "an image"])
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    add(tmp_path / "bee", 2)
    add(tmp_path / "ant", 2)
    odd = tmp_path / os.fsdecode(name)
    if odd.suffix:
        odd.touch()
    else:
        (tmp_path / "ant").rename(odd)
    error = refusal(tmp_path, "bad-name")
    assert "\\x" in error.message
    str(error).encode()
    with pytest.raises(InputError):
        list_folder(tmp_path)
