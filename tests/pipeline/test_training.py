"""`edgecnn train`: what it leaves behind opens without questions, it goes on where it stopped, it refuses in words."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from workbench import FLAGS, Ended, Workbench, write_images

from edgecnn.core import store
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.train.settings import Augment, TrainSettings
from edgecnn.training import TrainRequest, settings_of, train

Invoke = Callable[..., Ended]
RESNET = "edgecnn.train.resnet_small:resnet_small"
FILES = ("best.safetensors", "confusion.png", "history.json", "last.safetensors", "train.json")


def words(bench: Workbench, out: Path, *more: str, data: Path | None = None, epochs: int = 3) -> list[str]:
    """A training of the workbench's network that takes half a second."""
    settings = ["--epochs", str(epochs), "--batch", "20", "--lr", "0.02", "--device", "cpu", "--workers", "0"]
    return ["train", str(data or bench.data), "--arch", bench.model, *FLAGS, *settings, "--out", str(out), *more]


@pytest.fixture(scope="module")
def trained(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read, never written."""
    from edgecnn.cli import failures
    from edgecnn.cli.main import run

    out = tmp_path_factory.mktemp("trained") / "out"
    assert failures.guard(lambda: run(words(bench, out)), ["train"]) == 0
    return out


def copy(trained: Path, place: Path) -> Path:
    return Path(shutil.copytree(trained, place))


def weights(file: Path) -> dict[str, bytes]:
    """Tensor by tensor; the order of the metadata in the file is not ours to say."""
    from safetensors.numpy import load_file

    return {name: value.tobytes() for name, value in load_file(file).items()}


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
    from edgecnn.checkpoint import open_model
    from edgecnn.core.preprocessing import Preprocessing
    from edgecnn.data import open_data
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
    assert "found finished" in invoke(*words(bench, trained, "--cache", "off")).out


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


def interrupt(argv: list[str], *, at: str) -> str:
    """Press Ctrl-C where stderr shows a line that begins so; give all of stderr."""
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith(at):
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.read()
    assert process.returncode == 130, said
    return said


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
    from edgecnn.checkpoint import open_model, save
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


def test_one_image_per_class_works_with_a_warning(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    write_images(tmp_path / "data" / "train", 1, seed=5)
    write_images(tmp_path / "data" / "val", 2, seed=6)
    ended = invoke(*words(bench, tmp_path / "out", data=tmp_path / "data", epochs=1))
    assert ended.code == 0, ended.err
    assert "one image to train on shows checks, columns, rows and 1 more" in ended.err


def told_of(data: Path, out: Path, **more: Any) -> list[str]:
    told: list[Event] = []
    train(
        TrainRequest(data, out, settings=TrainSettings(epochs=1, batch=4, workers=0, device="cpu"), **more), told.append
    )
    assert any(isinstance(event, Progress) for event in told)
    return [event.message for event in told if isinstance(event, Warned)]


def test_images_of_both_parts_and_classes_nobody_learns_are_named(bench: Workbench, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data / "train", 2, seed=5, classes=("checks", "rows"))
    write_images(data / "val", 2, seed=6, classes=("checks", "rows", "spot"))
    shutil.copy(data / "train" / "rows" / "000.png", data / "val" / "rows" / "copy.png")
    said = told_of(data, tmp_path / "out", architecture=bench.model)
    assert any("no image to train on shows spot" in line for line in said)
    assert any(line.startswith("1 of 7 validation images are among the training images") for line in said)


def test_a_network_for_large_images_on_small_ones_is_said(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", 2, seed=5)
    write_images(tmp_path / "data" / "val", 1, seed=6)
    said = told_of(tmp_path / "data", tmp_path / "out", architecture="resnet18")
    assert any("torchvision:resnet18 shrinks images of 32x32 to 1x1" in line for line in said)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--arch", "resnte18"], "unknown-architecture", "did you mean 'resnet18'"),
        (["--arch", "no/such.py:net"], "no-such-file", "--arch no/such.py:net"),
        (["--dropout", "0.3"], "no-dropout", "leave out --dropout"),
        (["--stochastic-depth", "0.3"], "no-stochastic-depth", "leave out --stochastic-depth"),
        (["--mixup", "-1"], "bad-option", "--mixup: input should be greater than or equal to 0"),
        (["--optimizer", "adm"], "bad-option", "--optimizer: input should be 'adamw' or 'sgd'"),
        (["--tracker", "mlfow"], "unknown-tracker", "mlflow"),
        (["--folds", "1"], "bad-folds", "too few"),
        (["--color", "L", "--mean", "0.5", "--std", "0.25"], "channels-differ", "--color RGB"),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value and " " not in value else "",
)
def test_what_does_not_fit_is_refused(
    change: list[str], code: str, says: str, bench: Workbench, tmp_path: Path, invoke: Invoke
) -> None:
    ended = invoke(*words(bench, tmp_path / "out", *change))
    assert ended.error == code
    assert says in ended.err
    assert not (tmp_path / "out" / "train.json").exists()


@pytest.mark.parametrize(("name", "code"), [("nothing(", "bad-freeze"), ("feature", "no-such-module")])
def test_what_to_freeze_is_looked_at_first(
    name: str, code: str, bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Also before another run in the folder is: this one would never begin."""
    assert invoke(*words(bench, trained, "--freeze", name)).error == code
    assert invoke(*words(bench, tmp_path / "out", "--freeze", name)).error == code
    assert not (tmp_path / "out").exists()


def test_nothing_says_which_network(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("train", str(bench.data), "--out", str(tmp_path / "out")).error == "no-architecture"


def test_data_that_cannot_train(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    write_images(tmp_path / "one" / "train", 2, seed=1, classes=("rows",))
    write_images(tmp_path / "judging" / "val", 2, seed=1)
    write_images(tmp_path / "empty" / "val", 2, seed=1)
    (tmp_path / "empty" / "train").mkdir()
    write_images(tmp_path / "broken" / "train", 2, seed=1)
    write_images(tmp_path / "broken" / "val", 2, seed=2)
    (tmp_path / "broken" / "train" / "rows" / "001.png").write_bytes(b"no image")
    for name, code in (
        ("one", "one-class"),
        ("judging", "no-training-images"),
        ("empty", "no-images"),
        ("broken", "broken-image"),
        ("nowhere", "no-data"),
    ):
        assert invoke(*words(bench, tmp_path / "out", data=tmp_path / name)).error == code, name


def test_results_among_the_images_are_refused(bench: Workbench, invoke: Invoke) -> None:
    assert invoke(*words(bench, bench.data / "train" / "out")).error == "out-in-data"
    undivided = bench.data / "train"
    assert invoke(*words(bench, undivided / "out", data=undivided)).error == "out-in-data"
    assert invoke(*words(bench, undivided, data=undivided)).error == "out-in-data"


def test_a_factory_with_a_fixed_number_of_outputs(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    command = words(bench, tmp_path / "out")
    command[command.index("--arch") + 1] = f"{bench.model}(7)"
    assert invoke(*command).error == "class-count"


def test_settings_come_from_a_file_and_options_go_before_it(tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("epochs: 7\noptimizer: sgd\nclip_norm: null\naugment:\n  flip: true\n  crop_padding: 2\n")
    found = settings_of(config, {"epochs": 3, "crop_padding": 4, "batch": None, "freeze": [], "out": "x"})
    assert (found.epochs, found.optimizer, found.clip_norm) == (3, "sgd", None)
    assert found.augment == Augment(flip=True, crop_padding=4)
    assert settings_of(None, {"clip_norm": "none", "freeze": ["conv1"]}) == TrainSettings(
        clip_norm=None, freeze=("conv1",)
    )


def test_mistakes_in_a_settings_file_are_all_named(tmp_path: Path, bench: Workbench, invoke: Invoke) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("epoch: 7\nbatch: 1\naugment: {mixup: -1}\n")
    ended = invoke(*words(bench, tmp_path / "out", "--config", str(config)))
    assert ended.error == "bad-settings"
    for line in ("epoch: unknown key; did you mean 'epochs'", "batch: input should be", "augment.mixup: input should"):
        assert line in ended.err
    assert invoke(*words(bench, tmp_path / "out", "--config", str(tmp_path / "none.yaml"))).error == "bad-settings"


def test_every_setting_is_an_option_of_the_same_word() -> None:
    import typer

    from edgecnn.cli.main import app

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    options = {option for param in command.params for option in param.opts}
    fields = {*TrainSettings.model_fields, *Augment.model_fields} - {"augment"}
    assert {f"--{name.replace('_', '-')}" for name in fields} <= options
