"""`edgecnn train` from weights that are there: of the same classes, of others, of a pruned network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainings import RESNET, interrupt, words
from workbench import Ended, Workbench

Invoke = Callable[..., Ended]


def test_pretrained_weights_with_the_same_and_with_other_classes(
    bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    best = str(trained / "best.safetensors")
    same = invoke(*words(bench, tmp_path / "same", "--pretrained", best, "--json", epochs=1)).json
    assert same["pretrained"]["taken"].startswith("22 of 22 tensors")
    for part in ("train", "val"):
        shutil.copytree(bench.data / part, tmp_path / "data" / part)
        shutil.rmtree(tmp_path / "data" / part / "spot")
    fewer = invoke(
        *words(bench, tmp_path / "fewer", "--pretrained", best, "--json", data=tmp_path / "data", epochs=1)
    ).json
    assert fewer["pretrained"]["taken"].startswith("20 of 22 tensors")
    told = invoke(*words(bench, tmp_path / "told", "--pretrained", best, data=tmp_path / "data", epochs=1)).err
    assert f"20 of 22 tensors taken from {best}; fresh: " in told.replace("\n", " ")
    assert "fresh: fc.weight, fc.bias (4 classes there, 3 here)" in fewer["pretrained"]["taken"]
    assert fewer["preprocessing"]["mean"] == [0.5] * 3


@pytest.fixture(scope="module")
def pruned(bench: Workbench, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's network with fewer channels, the head's inputs among them; read, never written."""
    from edgecnn.cli import failures
    from edgecnn.cli.main import run

    out = tmp_path_factory.mktemp("pruned") / "model.pruned.safetensors"
    command = ["prune", str(trained / "best.safetensors"), "--model", bench.model, "--macs", "60%", "--round-to", "2"]
    assert failures.guard(lambda: run([*command, "--out", str(out)]), ["prune"]) == 0
    return out


def plan_of(file: Path) -> tuple[Any, Any]:
    """The plan and the history that a file speaks of."""
    from safetensors import safe_open

    with safe_open(file, "np") as opened:  # type: ignore[no-untyped-call]
        about = json.loads(opened.metadata()["edgecnn"])
    return about.get("edgecnn_plan"), about.get("history")


def test_a_pruned_network_is_fine_tuned_and_opens_everywhere(
    bench: Workbench, trained: Path, pruned: Path, tmp_path: Path, invoke: Invoke
) -> None:
    out = tmp_path / "out"
    ended = invoke(*words(bench, out, "--pretrained", str(pruned), "--json", epochs=2))
    assert ended.code == 0, ended.err
    assert ended.json["pretrained"]["taken"].startswith("22 of 22 tensors")
    assert plan_of(pruned)[0]["kept"]["fc"] != {}
    for name in ("best.safetensors", "last.safetensors"):
        assert plan_of(out / name) == (plan_of(pruned)[0], ["prune", "train"])
    source = [str(out / "best.safetensors"), "--model", bench.model]
    inspected = invoke("inspect", *source, "--json").json
    assert inspected["form"] == "safetensors, pruned"
    assert inspected["parameters"] < invoke("inspect", *bench.source[:3], "--json").json["parameters"]
    assert invoke("evaluate", *source, "--data", str(bench.data)).code == 0
    assert invoke("export", *source, "--out", str(tmp_path / "m.onnx"), "--json").json["parity"]["agreement"] == 1
    assert "found finished" in invoke(*words(bench, out, "--pretrained", str(pruned), epochs=2)).out
    assert invoke(*words(bench, out, "--pretrained", str(trained / "best.safetensors"), epochs=2)).error == "other-run"


def test_a_pruned_network_on_other_classes_and_in_folds(
    bench: Workbench, pruned: Path, tmp_path: Path, invoke: Invoke
) -> None:
    for part in ("train", "val"):
        shutil.copytree(bench.data / part, tmp_path / "data" / part)
        shutil.rmtree(tmp_path / "data" / part / "spot")
    more = ("--pretrained", str(pruned), "--json")
    fewer = invoke(*words(bench, tmp_path / "fewer", *more, data=tmp_path / "data", epochs=1))
    assert fewer.code == 0, fewer.err
    assert "fresh: fc.weight, fc.bias (4 classes there, 3 here)" in fewer.json["pretrained"]["taken"]
    found = invoke("inspect", str(tmp_path / "fewer" / "best.safetensors"), "--model", bench.model, "--json").json
    assert (found["num_classes"], found["form"]) == (3, "safetensors, pruned")
    folds = invoke(*words(bench, tmp_path / "folds", *more, "--folds", "2", epochs=1))
    assert folds.code == 0, folds.err
    for number in (1, 2):
        assert plan_of(tmp_path / "folds" / f"fold-{number}" / "best.safetensors")[0] == plan_of(pruned)[0]


def test_a_pruned_network_of_the_package_says_itself_which_it_is(
    bench: Workbench, tmp_path: Path, invoke: Invoke
) -> None:
    from edgecnn.models import open_model, save
    from edgecnn.train.resnet_small import resnet_small

    whole, pruned = tmp_path / "whole.safetensors", tmp_path / "pruned.safetensors"
    save(whole, resnet_small(num_classes=4), architecture=RESNET, num_classes=4)
    assert invoke("prune", str(whole), "--macs", "50%", "--crop", "32", "--out", str(pruned)).code == 0
    settings = ["--pretrained", str(pruned), "--epochs", "1", "--batch", "20", "--device", "cpu", "--workers", "0"]
    command = ["train", str(bench.data), *settings, "--out", str(tmp_path / "out")]
    ended = invoke(*command)
    assert ended.code == 0, ended.err
    assert open_model(tmp_path / "out" / "best.safetensors").plan == open_model(pruned).plan
    ended = invoke(*command, "--arch", "resnet18")
    assert ended.error == "architecture-mismatch"
    assert f"was pruned from {RESNET}, and torchvision:resnet18 was asked for" in ended.err
    assert f"--arch {RESNET}" in ended.err


def test_a_pruned_start_that_is_broken_off_ends_as_if_it_had_not_been(
    bench: Workbench, pruned: Path, tmp_path: Path, invoke: Invoke
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = words(bench, broken, "--pretrained", str(pruned), epochs=40)
    interrupt([sys.executable, "-m", "edgecnn", *command], at="train: 1/40")
    assert (broken / ".store" / "fit").is_dir()
    assert invoke(*command).code == 0
    assert invoke(*words(bench, whole, "--pretrained", str(pruned), epochs=40)).code == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
