"""What people get wrong: each is refused before any work, by a message, a reason and something to type."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


def pickled_code(path: Path, bench: Workbench) -> None:
    path.write_bytes(pickle.dumps({"fc.weight": Code(path.with_name("ran"))}))


def torch_saved_code(path: Path, bench: Workbench) -> None:
    import torch

    torch.save({"state_dict": {"fc.weight": torch.zeros(4, 16)}, "epoch": Code(path.with_name("ran"))}, path)


def whole_module(path: Path, bench: Workbench) -> None:
    import torch

    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)), path)


def truncated(path: Path, bench: Workbench) -> None:
    path.write_bytes(bench.checkpoint.read_bytes()[:2000])


def empty(path: Path, bench: Workbench) -> None:
    path.touch()


def directory(path: Path, bench: Workbench) -> None:
    path.mkdir()


def absent(path: Path, bench: Workbench) -> None:
    pass


def text(path: Path, bench: Workbench) -> None:
    path.write_text("<!DOCTYPE html><html>Sign in to download</html>")


def exported(path: Path, bench: Workbench) -> None:
    import onnx

    path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString())


def not_a_number(path: Path, bench: Workbench) -> None:
    import torch

    state = torch.load(bench.checkpoint, weights_only=True)
    state["fc.weight"][1, 2] = float("nan")
    torch.save(state, path)


def no_tensors(path: Path, bench: Workbench) -> None:
    import torch

    torch.save({"epoch": 3, "lr": 0.1}, path)


CHECKPOINTS = [
    (pickled_code, "not-a-checkpoint", "not opened"),
    (torch_saved_code, "unsafe-file", "Nothing was run"),
    (whole_module, "unsafe-file", "torch.save(model.state_dict()"),
    (truncated, "truncated-file", "incomplete or damaged"),
    (empty, "empty-file", "is empty"),
    (directory, "not-a-file", "is a folder"),
    (absent, "no-such-file", "there is no file"),
    (text, "not-a-checkpoint", "a web page"),
    (exported, "exported-model", "edgecnn inspect"),
    (not_a_number, "weights-not-finite", "fc.weight"),
    (no_tensors, "no-weights", "'epoch'"),
]


@pytest.mark.parametrize(("make", "code", "says"), CHECKPOINTS, ids=lambda value: getattr(value, "__name__", None))
def test_checkpoints_that_are_none(
    optimize: Invoke, bench: Workbench, tmp_path: Path, make: Callable[..., None], code: str, says: str
) -> None:
    path = tmp_path / "model.pth"
    make(path, bench)
    ended = optimize(checkpoint=path)
    assert (ended.code, ended.error) == (2, code)
    assert says in ended.err and "model.pth" in ended.err
    assert not (tmp_path / "ran").exists(), "code in the file was run"


def test_a_checkpoint_is_refused_the_same_by_every_command(invoke: Invoke, bench: Workbench, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch_saved_code(path, bench)
    for command in ("plan", "inspect", "export", "quantize"):
        ended = invoke(command, str(path))
        assert (ended.code, ended.error) == (2, "unsafe-file")
    assert [item.name for item in tmp_path.iterdir()] == ["model.pth"]


def test_keys_that_fit_nothing(optimize: Invoke, tmp_path: Path) -> None:
    import torch

    state = {"stem.kernel": torch.zeros(8, 3, 3, 3), "tail.kernel": torch.zeros(4, 8)}
    torch.save(state, tmp_path / "odd.pth")
    ended = optimize(checkpoint=tmp_path / "odd.pth", model=None)
    assert (ended.code, ended.error) == (2, "unknown-architecture")
    assert "stem.kernel" in ended.err and "--model path/to/file.py:factory" in ended.err


def test_a_network_the_weights_do_not_fit(optimize: Invoke) -> None:
    ended = optimize(model="resnet18")
    assert (ended.code, ended.error) == (2, "architecture-mismatch")
    assert "conv1.weight" in ended.err


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("resnet81", "unknown-architecture", "resnet18"),
        ("{folder}/tiny.py", "bad-model-reference", "FUNCTION"),
        ("{folder}/tiny.py:tyni", "no-such-factory", "did you mean 'tiny'"),
        ("{folder}/tinny.py:tiny", "no-such-file", "tinny.py"),
        ("{folder}/tiny.py:tiny(__import__('os'))", "bad-model-reference", "literal"),
        ("no_such_package:net", "no-such-module", "PYTHONPATH"),
    ],
)
def test_a_model_that_is_not_there(optimize: Invoke, bench: Workbench, model: str, code: str, says: str) -> None:
    ended = optimize(model=model.format(folder=bench.folder))
    assert (ended.code, ended.error) == (2, code)
    assert says in ended.err


OPTIONS = [
    (["--target", "jetsen"], "unknown-device", "did you mean 'jetson"),
    (["--recipe", "int9"], "unknown-recipe", "did you mean 'int8'"),
    (["--format", "onx"], "unknown-format", "did you mean 'onnx'"),
    (["--target", "pi", "--format", "tensorrt"], "wrong-format", "it runs: tflite, onnx"),
    (["--profile", "quik"], "unknown-profile", "did you mean 'quick'"),
    (["--max-drop", "lots"], "bad-max-drop", "--max-drop lots"),
    (["--max-drop", "100%"], "bad-max-drop", "1% or 0.01"),
    (["--max-drop", "-1%"], "bad-max-drop", "1% or 0.01"),
    (["--max-drop", "nan"], "bad-max-drop", "1% or 0.01"),
    (["--crop", "big"], "bad-option", "224 or 224x320"),
    (["--crop", "0"], "bad-option", "224 or 224x320"),
    (["--crop", "99999"], "bad-option", "224 or 224x320"),
    (["--mean", "0.5;0.5"], "bad-option", "0.485,0.456,0.406"),
    (["--mean", "0.5,0.5"], "bad-preprocessing", "3 values each"),
    (["--std", "0,0,0"], "bad-preprocessing", "std positive"),
    (["--interpolation", "cubic"], "bad-preprocessing", "bicubic"),
    (["--color", "L"], "bad-preprocessing", "1 values each"),
    (["--resize", "16"], "bad-preprocessing", "smaller than the crop"),
    (["--threads", "0"], "usage", "--threads"),
    (["--no-such-option"], "usage", "--help"),
]


@pytest.mark.parametrize(
    ("words", "code", "says"), OPTIONS, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_options_that_make_no_sense(optimize: Invoke, words: list[str], code: str, says: str) -> None:
    ended = optimize(*words)
    assert (ended.code, ended.error) == (2, code), ended.err
    assert says in ended.err


def test_one_channel_for_a_network_of_three(optimize: Invoke) -> None:
    ended = optimize("--color", "L", "--mean", "0.5", "--std", "0.5")
    assert ended.code == 2 and ended.error == "channels-differ"
    assert "RGB" in ended.err


RECIPE = """
name: mine
stages:
  - export
  - quantize: {observer: percentil, percentile: 120}
  - prunee
budgett: {max_drop: 1%}
"""


def test_a_recipe_with_several_mistakes_shows_all_of_them(optimize: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    ended = optimize("--recipe", str(path))
    assert (ended.code, ended.error) == (2, "bad-recipe")
    for place in ("stages[1].quantize.observer", "stages[1].quantize.percentile", "stages[2].prunee", "budgett"):
        assert place in ended.err, ended.err
    assert "did you mean 'budget'" in ended.err and f"recipes check {path}" in ended.err
    assert "4 problems" in ended.err


def test_a_recipe_that_leads_nowhere(optimize: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stages: [quantize]")
    ended = optimize("--recipe", str(path), "--format", "onnx")
    assert (ended.code, ended.error) == (2, "bad-recipe")
    assert "no stage before it makes what it takes" in ended.err


def test_a_missing_extra_is_an_exact_command(optimize: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    ended = optimize("--format", "tflite")
    assert (ended.code, ended.error) == (4, "missing-extra")
    assert "pip install" in ended.err and "[tflite]" in ended.err


def test_with_json_an_error_is_json_too(optimize: Invoke, invoke: Invoke, bench: Workbench) -> None:
    ended = invoke("optimize", str(bench.folder / "nothing.pth"), "--json")
    assert ended.code == 2
    error = json.loads(ended.out)["error"]
    assert (error["code"], error["exit_code"]) == ("no-such-file", 2) and error["message"] and error["hint"]
