"""`edgecnn train`: what it leaves behind opens without questions, it goes on where it stopped, it refuses in words."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from trainings import FILES, RESNET, copy, interrupt, weights, words
from workbench import Ended, Workbench, write_images

from edgecnn.core import store

Invoke = Callable[..., Ended]


def test_the_files_it_leaves(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir() if path.is_file()) == sorted(FILES)
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert not (trained / ".store" / "fit").exists()
    about = json.loads((trained / "train.json").read_text())
    assert about["settings"]["learning_rate"] == 0.02
    assert about["class_names"] == ["checks", "columns", "rows", "spot"]
    assert about["data"]["images"] == {"training": 40, "validation": 60}
    assert {"edgecnn", "torch", "python"} <= set(about["versions"])
    assert set(about["files"]) == {"best.safetensors", "last.safetensors", "history.json"}
    history = json.loads((trained / "history.json").read_text())
    assert [epoch["validation_accuracy"] is not None for epoch in history["epochs"]] == [True] * 3
    with Image.open(trained / "confusion.png") as picture:
        assert min(picture.size) > 100


def test_the_best_epoch_is_kept_and_the_last_is_there_too(trained: Path, bench: Workbench) -> None:
    from edgecnn.core.preprocessing import Preprocessing
    from edgecnn.data import open_data
    from edgecnn.models import open_model
    from edgecnn.train import measure_accuracy

    history = json.loads((trained / "history.json").read_text())
    best = open_model(trained / "best.safetensors", architecture=bench.model)
    last = open_model(trained / "last.safetensors", architecture=bench.model)
    assert best.class_names == ("checks", "columns", "rows", "spot")
    assert best.preprocessing == Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert best.preprocessing_source == "checkpoint"
    data = open_data(bench.data, num_classes=4, preprocessing=best.preprocessing)
    for model, number in ((best, history["best"]), (last, 3)):
        measured = measure_accuracy(model.module(), data.evaluation)
        assert measured == pytest.approx(history["epochs"][number - 1]["validation_accuracy"])


def test_the_page_ends_with_the_next_command_and_a_network_of_ones_own_needs_its_code(
    bench: Workbench, trained: Path, invoke: Invoke
) -> None:
    ended = invoke(*words(bench, trained))
    assert ended.code == 0
    assert "found finished" in ended.out
    lines = ended.out.splitlines()
    assert f"best weights   {trained}/best.safetensors" in lines
    assert lines[-1] == (f"next: edgecnn optimize {trained}/best.safetensors --data {bench.data} --model {bench.model}")


def test_what_it_leaves_is_optimized_without_questions(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    """The network of the package and the images' own size: nothing to say beside the two files."""
    out = tmp_path / "out"
    command = ["train", str(bench.data), "--arch", RESNET, "--epochs", "1", "--batch", "20", "--device", "cpu"]
    ended = invoke(*command, "--workers", "0", "--out", str(out), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["preprocessing"]["crop"] == [32, 32]
    said = ended.json["next_command"].split()
    assert said == ["edgecnn", "optimize", str(out / "best.safetensors"), "--data", str(bench.data)]
    planned = invoke("plan", *said[2:], "--json")
    assert planned.code == 0, planned.err
    assert "Traceback" not in planned.err


def test_json(bench: Workbench, trained: Path, invoke: Invoke) -> None:
    found = invoke(*words(bench, trained), "--json").json
    assert found["cached"]
    assert 0 < found["accuracy"] <= 1
    assert found["accuracy"] == found["history"]["epochs"][found["history"]["best"] - 1]["validation_accuracy"]
    assert found["files"]["best.safetensors"] == str(trained / "best.safetensors")
    assert found["trackers"]["tensorboard"] == f"tensorboard --logdir {trained / 'tensorboard'}"


def test_another_run_in_the_folder_is_refused_in_words(bench: Workbench, trained: Path, invoke: Invoke) -> None:
    ended = invoke(*words(bench, trained, "--flip", epochs=5))
    assert ended.error == "other-run"
    assert "the settings: epochs was 3, is now 5" in ended.err
    assert "--again" in ended.err
    ended = invoke(*words(bench, trained, "--seed", "4"))
    assert "the seed was 0, is now 4" in ended.err


def test_other_images_or_another_network_are_another_run(
    bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    write_images(tmp_path / "data" / "train", 3, seed=5)
    write_images(tmp_path / "data" / "val", 3, seed=6)
    ended = invoke(*words(bench, trained, data=tmp_path / "data"))
    assert (ended.error, "the images differ" in ended.err) == ("other-run", True)
    command = words(bench, trained)
    command[command.index("--arch") + 1] = RESNET
    ended = invoke(*command)
    assert ended.error == "other-run"
    assert f"is now {RESNET}" in ended.err


def test_how_fast_is_no_other_run(bench: Workbench, trained: Path, invoke: Invoke) -> None:
    assert "found finished" in invoke(*words(bench, trained, "--set", "cache=off")).out


def test_a_damaged_file_is_made_again(bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = copy(trained, tmp_path / "out")
    (out / "best.safetensors").write_bytes(b"cut")
    ended = invoke(*words(bench, out))
    assert ended.code == 0
    assert "found finished" not in ended.out
    assert weights(out / "best.safetensors") == weights(trained / "best.safetensors")


def test_again_forgets_what_is_there(bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = copy(trained, tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    ended = invoke(*words(bench, out, "--again", epochs=2))
    assert ended.code == 0, ended.err
    assert len(json.loads((out / "history.json").read_text())["epochs"]) == 2
    assert (out / "notes.txt").read_text() == "mine"
    assert len(list((out / "tensorboard").glob("events.*"))) == 2  # curves and settings of one run


def test_interrupted_it_says_how_to_go_on_and_ends_as_if_it_had_not_been(
    bench: Workbench, tmp_path: Path, invoke: Invoke
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = words(bench, broken, epochs=40)
    said = interrupt([sys.executable, "-m", "edgecnn", *command], at="train: 1/40")
    assert "the training is saved as far as it came: run the same command again" in said
    assert not (broken / "train.json").exists()
    assert (broken / "last.safetensors").is_file()
    assert invoke(*command).code == 0
    assert invoke(*words(bench, whole, epochs=40)).code == 0
    for name in ("best.safetensors", "last.safetensors"):
        assert weights(broken / name) == weights(whole / name)
    told = [json.loads((out / "history.json").read_text()) for out in (broken, whole)]
    assert [epoch["loss"] for epoch in told[0]["epochs"]] == [epoch["loss"] for epoch in told[1]["epochs"]]


def test_a_full_disk_keeps_what_was_saved(
    bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twelfth file does not fit: the first epoch's are whole, and the run goes on from there."""
    out, written = tmp_path / "out", []
    flush = os.fsync

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 11:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(store.os, "fsync", full)
        ended = invoke(*words(bench, out))
    assert ended.error == "cannot-write"
    assert "No space left" in ended.err
    assert "goes on after the last epoch that was saved" in ended.err
    assert not [path.name for path in out.rglob(".*") if path.name != ".store"]
    ended = invoke(*words(bench, out))
    assert ended.code == 0, ended.err
    assert weights(out / "best.safetensors") == weights(trained / "best.safetensors")


def test_cross_validation(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "out"
    found = invoke(*words(bench, out, "--folds", "2", "--json", epochs=2)).json
    accuracies = [fold["accuracy"] for fold in found["folds"]]
    assert len(accuracies) == 2
    assert found["accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert found["standard_deviation"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / math.sqrt(2))
    assert [fold["training_images"] + fold["validation_images"] for fold in found["folds"]] == [40, 40]
    assert all((out / f"fold-{number}" / "best.safetensors").is_file() for number in (1, 2))
    (out / "fold-2" / "train.json").unlink()
    ended = invoke(*words(bench, out, "--folds", "2", epochs=2))
    assert "on average over 2 folds, standard deviation" in ended.out
    cached = {line.split()[0]: "(cached)" in line for line in ended.out.splitlines() if line[:1].isdigit()}
    assert cached == {"1": True, "2": False}


@pytest.mark.slow
def test_two_processes_write_and_print_once(bench: Workbench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    launch += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "edgecnn"]
    command = words(bench, out, "--json", epochs=2)
    command[command.index("--batch") + 1] = "10"
    done = subprocess.run([*launch, *command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["history"]["epochs"][1]["loss"] > 0
    assert done.stderr.count("train: 2/2 epoch") == 1
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == sorted(FILES)
