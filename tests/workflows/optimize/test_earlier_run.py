"""Results in the output folder that are another network's, and what a training's checkpoint is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError
from edgecnn.workflows.arguments import source_of
from edgecnn.workflows.optimize.command import request_of
from edgecnn.workflows.optimize.earlier_run import require_same_network, run_name
from edgecnn.workflows.optimize.run_report import _name


def training(folder: Path, *, finished: bool = True) -> Path:
    folder.mkdir(parents=True)
    if finished:
        (folder / "train.json").write_text("{}")
    else:
        (folder / ".store").mkdir()
        (folder / ".store" / "run.json").write_text("{}")
    (folder / "best.safetensors").write_bytes(folder.name.encode())
    return folder / "best.safetensors"


@pytest.mark.parametrize("finished", [True, False])
def test_a_training_gives_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool) -> None:
    best = training(tmp_path / "resnet18-photos", finished=finished)
    assert run_name(best) == "resnet18-photos"
    assert _name(best) == "resnet18-photos/best.safetensors"
    assert run_name(best.with_name("last.safetensors")) == "resnet18-photos"
    assert run_name(best.with_name("other.safetensors")) == "other"
    monkeypatch.chdir(best.parent)
    assert run_name(Path("best.safetensors")) == "resnet18-photos"
    request = request_of(source_of(best, preprocessing={}), target="host", recipe="int8", out=None)
    assert request.out == Path("runs/resnet18-photos-host")


def test_a_fold_has_the_name_of_both(tmp_path: Path) -> None:
    training(tmp_path / "net-data-5-folds")
    assert run_name(training(tmp_path / "net-data-5-folds" / "fold-2")) == "net-data-5-folds-fold-2"
    assert run_name(training(tmp_path / "elsewhere" / "fold-2")) == "fold-2"


@pytest.mark.parametrize("name", ["best.pth", "model.pth"])
def test_a_file_of_no_training_keeps_its_own(tmp_path: Path, name: str) -> None:
    assert run_name(tmp_path / name) == Path(name).stem
    assert _name(tmp_path / name) == name


def results(out: Path, *, file: str, network: str) -> None:
    out.mkdir(exist_ok=True)
    about = {"checkpoint": {"file": "old.pth", "sha256": file}, "model": {"sha256": network}}
    (out / "run.json").write_text(json.dumps(about))


def test_results_of_another_network_are_not_replaced(tmp_path: Path) -> None:
    checkpoint = training(tmp_path / "run")
    results(tmp_path / "out", file="0" * 64, network="1" * 64)
    with pytest.raises(InputError, match="results of another network") as raised:
        require_same_network(tmp_path / "out", checkpoint, "2" * 64)
    assert raised.value.code == "other-run"
    assert "old.pth" in raised.value.why and "--again" in raised.value.hint


def test_the_same_file_or_the_same_network_may_run_again(tmp_path: Path) -> None:
    checkpoint = training(tmp_path / "run")
    results(tmp_path / "out", file=sha256_of(checkpoint), network="of an older torch")
    require_same_network(tmp_path / "out", checkpoint, "2" * 64)
    results(tmp_path / "out", file="the same weights saved anew", network="2" * 64)
    require_same_network(tmp_path / "out", checkpoint, "2" * 64)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"checkpoint": 3}', "\x00"])
def test_what_is_no_run_is_not_in_the_way(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    require_same_network(tmp_path, training(tmp_path / "run"), "2" * 64)
