"""A pipe, a device, a link to itself: refused as what it is by every command, and never read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]

KINDS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a symbolic link that leads back to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "m.pth"],
        ["inspect", "m.onnx"],
        ["export", "m.pth"],
        ["benchmark", "m.onnx"],
        ["profile", "m.tflite"],
        ["evaluate", "m.onnx", "--data", "DATA"],
        ["evaluate", "m.pth", "--data", "DATA"],
        ["evaluate", "CHECKPOINT", "--data", "DATA", "--class-map", "m.txt"],
        ["data", "audit", "m.csv"],
        ["plan", "CHECKPOINT", "--recipe", "./m.yaml"],
        ["report", "m.json"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_none(
    invoke: Invoke, bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = next(word for word in words if word.startswith(("m.", "./m.")))
    KINDS[kind](tmp_path / name)
    known = {"DATA": str(bench.data), "CHECKPOINT": str(bench.checkpoint)}
    model = ["--model", bench.model] if "CHECKPOINT" in words else []
    ended = invoke(*(known.get(word, word) for word in words), *model)
    assert ended.code == 2, ended.err
    assert kind in ended.err or "Too many levels" in ended.err, ended.err


def test_irregular_files_in_a_data_folder_are_passed_over(invoke: Invoke, bench: Workbench, tmp_path: Path) -> None:
    data = Path(shutil.copytree(bench.data, tmp_path / "data"))
    group = next(path for path in (data / "val").iterdir() if path.is_dir())
    for number, make in enumerate(KINDS.values()):
        make(group / f"odd{number}.png")
    ended = invoke("data", "audit", str(data), "--json")
    before = invoke("data", "audit", str(bench.data), "--json")
    assert ended.json["images"] == before.json["images"]
    assert not [finding for finding in ended.json["findings"] if "broken" in finding["code"]]


@pytest.mark.parametrize(
    "words",
    [
        ["optimize", "CHECKPOINT", "--data", "DATA", "--out", "file/out"],
        ["optimize", "CHECKPOINT", "--data", "DATA", "--out", "file"],
        ["train", "DATA", "--arch", "resnet18", "--out", "file/deeper/out"],
        ["export", "CHECKPOINT", "--out", "file/model.onnx"],
        ["evaluate", "CHECKPOINT", "--data", "DATA", "--out", "file/out"],
        ["data", "audit", "DATA", "--out", "file"],
    ],
    ids=" ".join,
)
def test_results_below_a_file(
    invoke: Invoke, bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    known = {"DATA": str(bench.data), "CHECKPOINT": str(bench.checkpoint)}
    model = ["--model", bench.model] if "CHECKPOINT" in words else []
    ended = invoke(*(known.get(word, word) for word in words), *model)
    assert (ended.code, ended.error) == (5, "cannot-write")
    assert "Not a directory" in ended.err and "free some space" not in ended.err
    assert "read inputs" not in ended.err and "read images" not in ended.err, "it should be said before any work"
    assert (tmp_path / "file").read_text() == "text"
