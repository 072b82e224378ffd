"""What a user installs holds all that it needs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(built) as wheel:
        return set(wheel.namelist())


@pytest.mark.parametrize("kind", ["recipes", "devices"])
def test_the_wheel_carries_every_yaml(names: set[str], kind: str) -> None:
    expected = {f"edgecnn/bundled/{kind}/{path.name}" for path in (ROOT / kind).glob("*.yaml")}
    assert expected
    assert expected <= names


def test_the_wheel_carries_what_the_package_reads_at_run_time(names: set[str]) -> None:
    assert {
        "edgecnn/models/catalog.json",
        "edgecnn/workflows/optimize/bundle/infer.py",
        "edgecnn/probe/__main__.py",
    } <= names


def test_the_wheel_carries_nothing_else(names: set[str]) -> None:
    strays = {name for name in names if not name.startswith(("edgecnn/", "edgecnn-"))}
    assert not strays
