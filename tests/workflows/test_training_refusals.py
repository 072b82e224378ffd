"""`edgecnn train` on what does not fit, in words; and where its settings come from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainings import words
from workbench import Ended, Workbench, write_images

from edgecnn.core.events import Event, Progress, Warned
from edgecnn.train.settings import Augment, TrainSettings
from edgecnn.workflows.train.command import run
from edgecnn.workflows.train.request import TrainRequest, settings_of

Invoke = Callable[..., Ended]


def test_one_image_per_class_works_with_a_warning(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    write_images(tmp_path / "data" / "train", 1, seed=5)
    write_images(tmp_path / "data" / "val", 2, seed=6)
    ended = invoke(*words(bench, tmp_path / "out", data=tmp_path / "data", epochs=1))
    assert ended.code == 0, ended.err
    assert "one image to train on shows checks, columns, rows and 1 more" in ended.err


def told_of(data: Path, out: Path, **more: Any) -> list[str]:
    told: list[Event] = []
    run(
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
        (["--set", "dropout=0.3"], "no-dropout", "leave out dropout"),
        (["--set", "stochastic_depth=0.3"], "no-stochastic-depth", "leave out stochastic_depth"),
        (["--mixup", "-1"], "bad-option", "--mixup: has to be greater than or equal to 0"),
        (["--set", "optimizer=adm"], "bad-option", "--set optimizer: has to be 'adamw' or 'sgd'"),
        (["--set", "momentum=0.8"], "bad-option", "`momentum` is of the optimizer sgd, and the optimizer is adamw"),
        (["--set", "focal_gamma=3"], "bad-option", "`focal_gamma` is of the focal loss"),
        (["--set", "class_weights=balanced", "--set", "sampling=balanced"], "bad-option", "together they do it twice"),
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


def test_a_run_that_was_refused_does_not_hold_its_folder(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "out"
    refused = invoke(*words(bench, out, "--set", "mixed_precision=fp16", "--device", "cpu"))
    assert "error[fp16-without-cuda]" in refused.err
    assert (out / ".store" / "run.json").is_file()
    ended = invoke(*words(bench, out))
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(("name", "code"), [("nothing(", "bad-freeze"), ("feature", "no-such-module")])
def test_what_to_freeze_is_looked_at_first(
    name: str, code: str, bench: Workbench, trained: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """Also before another run in the folder is: this one would never begin."""
    assert invoke(*words(bench, trained, "--set", f"freeze=['{name}']")).error == code
    assert invoke(*words(bench, tmp_path / "out", "--set", f"freeze=['{name}']")).error == code
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
    changes = ["augment.crop_padding=3", "augment.mixup=0.2", "batch=8"]
    found = settings_of(config, {"epochs": 3, "crop_padding": 4}, changes=changes)
    assert (found.epochs, found.batch, found.optimizer, found.clip_norm) == (3, 8, "sgd", None)
    assert found.augment == Augment(flip=True, crop_padding=4, mixup=0.2)
    typed = settings_of(None, {}, changes=["clip_norm=none", "freeze=[conv1]", "class_weights=none"])
    assert typed == TrainSettings(clip_norm=None, freeze=("conv1",))
    assert settings_of(None, {}, changes={"augment.flip": True}) == TrainSettings(augment=Augment(flip=True))


def test_mistakes_in_changes_and_flags_are_all_named(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    wrong = ("augment.mixpu=0.2", "optimiser=sgd", "ema=2", "flip", "schedule=[")
    more = [word for change in wrong for word in ("--set", change)]
    ended = invoke(*words(bench, tmp_path / "out", *more, "--mixup", "11"))
    assert ended.error == "bad-option"
    for line in (
        "--set augment.mixpu: unknown key; did you mean 'mixup'",
        "--set optimiser: unknown key; did you mean 'optimizer'",
        "--set ema: has to be less than 1",
        "--set flip: write it as name=value",
        "--set schedule: ",
        "--mixup: has to be less than or equal to 10",
    ):
        assert line in ended.err, line
    assert not (tmp_path / "out").exists()


def test_mistakes_in_a_settings_file_are_all_named(tmp_path: Path, bench: Workbench, invoke: Invoke) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("epoch: 7\nbatch: 1\naugment: {mixup: -1}\n")
    ended = invoke(*words(bench, tmp_path / "out", "--config", str(config)))
    assert ended.error == "bad-settings"
    for line in ("epoch: unknown key; did you mean 'epochs'", "batch: has to be", "augment.mixup: has to be"):
        assert line in ended.err
    assert invoke(*words(bench, tmp_path / "out", "--config", str(tmp_path / "none.yaml"))).error == "bad-settings"


def test_the_help_names_every_setting() -> None:
    import typer

    from edgecnn.cli.main import app

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    said = {word.strip(" .,;:()") for word in command.help.split()}
    assert {*TrainSettings.model_fields, *Augment.model_fields} - {"augment"} <= {
        word.removeprefix("augment.") for word in said
    }
