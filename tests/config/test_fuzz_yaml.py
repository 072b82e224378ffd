"""Recipes and device files from anywhere: read, or refused by an InputError; nothing else, whatever the text."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import JSON, damaged, examples
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.config.devices import load_device
from edgecnn.config.recipe import load_recipe
from edgecnn.config.yaml_file import read_mapping, scalar
from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.quantities import milliseconds, share, size_bytes

RECIPES = [path.read_bytes() for path in Path(__file__).parents[2].glob("recipes/*.yaml")]
DEVICES = [path.read_bytes() for path in Path(__file__).parents[2].glob("devices/*.yaml")]
NUMBERS = st.from_regex(r"\A-?[0-9]{1,500}(\.[0-9]{0,9})?(e[0-9]{1,4})? ?(|%|MB|GiB|ms|s|us|B|x)\Z")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file.yaml"


def refused_or_read(read: Any, *arguments: Any) -> None:
    try:
        read(*arguments)
    except InputError as error:
        assert error.message


@examples(100)
@given(raw=damaged(*RECIPES))
def test_damaged_recipes(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    refused_or_read(load_recipe, str(path))


@examples(100)
@given(raw=damaged(*DEVICES))
def test_damaged_devices(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    refused_or_read(load_device, str(path))


@examples(100)
@given(value=JSON)
def test_recipes_of_anything(path: Path, value: Any) -> None:
    for content in (value, {"stages": value}, {"budget": value}, {"stages": [{"quantize": value}]}):
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="replace")
        refused_or_read(load_recipe, str(path))


@pytest.mark.parametrize(
    "text",
    [
        "!!timestamp x",
        "a: !!timestamp 2001-99-99",
        "a: 2001-99-99",
        "a: !!int ''",
        "a: !!float x",
        "a: !!bool x",
        "a: !!binary '?'",
        "a: !!set [1]",
        "a: !!omap {b: 1}",
        "a: !!pairs 3",
        "a: !!python/object/apply:os.system [id]",
        "? [a]\n: 1",
        "? {a: 1}\n: 1",
        f"a: {10**400}",
        "a: " + "9" * 5000,
        "a: 190:20:30:99999999999999999999",
        "[" * 3000,
        "{a: " * 3000,
        "a: &b [*b]",
        "\x00",
        "---\n---\n",
    ],
    ids=lambda text: text[:30].strip(),
)
def test_what_yaml_can_say_besides(path: Path, text: str) -> None:
    path.write_text(text)
    refused_or_read(partial(read_mapping, what="recipe"), path)
    refused_or_read(load_recipe, str(path))
    with contextlib.suppress(ValueError):
        scalar(text)


@examples(200)
@given(raw=JSON)
def test_preprocessing_of_anything(raw: Any) -> None:
    for name in Preprocessing.model_fields:
        refused_or_read(Preprocessing.from_dict, {name: raw})


@examples(300)
@given(text=NUMBERS | st.text(max_size=20))
def test_quantities(text: str) -> None:
    for read in (share, milliseconds, size_bytes):
        try:
            assert isinstance(read(text), int | float)
        except ValueError:
            continue
