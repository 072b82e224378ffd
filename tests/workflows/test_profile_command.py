"""`edgecnn profile` as a person calls it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgecnn.cli.profile import profile
from edgecnn.core.errors import EdgecnnError, InputError

app = typer.Typer()
app.command()(profile)


def run(*arguments: str | Path) -> tuple[str, EdgecnnError | None]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, EdgecnnError):
        raise result.exception
    return result.stdout, result.exception


def test_a_table_and_a_report(onnx_net: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    said, error = run(onnx_net(), "--threads", "1", "--runs", "3", "--top", "2", "--out", out)
    assert error is None
    assert "net.onnx on host, layer by layer" in said and "whole model" in said
    assert "stem" in said
    assert sorted(path.name for path in out.iterdir()) == ["profile.json", "profile.md", "profile.svg"]
    assert json.loads((out / "profile.json").read_text())["schema"] == "edgecnn.profile/1"
    assert "](profile.svg)" in (out / "profile.md").read_text()
    ET.parse(out / "profile.svg")  # noqa: S314 - our own


def test_json(tflite_net: Callable[..., Path]) -> None:
    said, error = run(tflite_net(int8=True), "--threads", "1", "--runs", "3", "--json")
    assert error is None
    raw = json.loads(said)
    assert raw["schema"] == "edgecnn.profile/1"
    assert raw["backend"] == "tflite" and raw["threads"] == 1 and raw["device"] == "host"
    assert {layer["kind"] for layer in raw["layers"]} <= {"integer", "conversion"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["absent.onnx"], "no-such-file"),
        (["net.onnx", "--device", "nobody"], "unknown-device"),
        (["net.onnx", "--backend", "onnxrutime"], "unknown-backend"),
        (["net.onnx", "--backend", "tflite"], "backend-mismatch"),
    ],
)
def test_wrong_input(
    arguments: list[str], code: str, onnx_net: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(onnx_net().parent)
    _said, error = run(*arguments)
    assert isinstance(error, InputError) and error.code == code


def test_a_folder_that_cannot_be_written(onnx_net: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _said, error = run(onnx_net(), "--runs", "3", "--out", tmp_path / "file" / "report")
    assert error is not None and error.code == "cannot-write"
