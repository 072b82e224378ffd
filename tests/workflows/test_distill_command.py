"""`edgecnn distill`, as it is typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import workbench
from workbench import FLAGS, Workbench, in_process_of_its_own, make_workbench

from edgecnn.models import open_model

TRAINING = ("--epochs", "2", "--batch", "8", "--device", "cpu", "--workers", "0")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return make_workbench(tmp_path_factory.mktemp("distill"))


@pytest.fixture(scope="module")
def student(bench: Workbench) -> Path:
    """The trained network with its classifier shaken."""
    state = torch.load(bench.checkpoint, weights_only=True)
    state["fc.weight"] = 0.1 * torch.randn(state["fc.weight"].shape, generator=torch.Generator().manual_seed(0))
    path = bench.folder / "student.pth"
    torch.save(state, path)
    return path


def command(bench: Workbench, checkpoint: Path, out: Path, *more: str) -> list[str]:
    source = [str(checkpoint), "--model", bench.model, *FLAGS, "--data", str(bench.data)]
    return ["distill", *source, "--out", str(out), *TRAINING, *more]


def test_a_checkpoint_learns_from_a_teacher_and_is_held_against_both(
    bench: Workbench, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "taught.safetensors"
    teacher = ("--teacher", str(bench.checkpoint), "--teacher-model", bench.model)
    ended = in_process_of_its_own(*command(bench, student, out, *teacher, "--lr", "0.01", "--json"))
    assert ended.code == 0, ended.err
    found = ended.json
    assert found["path"] == str(out)
    assert found["variant"] == "distilled"
    assert found["images"] == 4 * workbench.VAL_PER_CLASS
    assert found["after"] > found["before"]
    assert found["against_before"]["drop"] == pytest.approx(found["before"] - found["after"])
    assert found["against_before"]["low"] < found["against_before"]["drop"] < found["against_before"]["high"]
    assert found["against_teacher"]["drop"] == pytest.approx(found["teacher_accuracy"] - found["after"])
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    again = in_process_of_its_own("inspect", str(out), "--model", bench.model)
    assert again.code == 0, again.err


def test_a_new_student_learns_from_the_checkpoint(bench: Workbench, tmp_path: Path) -> None:
    out = tmp_path / "small"
    ended = in_process_of_its_own(*command(bench, bench.checkpoint, out, "--student", bench.model))
    assert ended.code == 0, ended.err
    assert (tmp_path / "small.safetensors").is_file()
    assert "learned from" in ended.out
    assert "teacher: " in ended.out
    assert "before: " not in ended.out


@pytest.fixture(scope="module")
def bare(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images, those in train/ without classes."""
    folder = tmp_path_factory.mktemp("bare")
    shutil.copytree(bench.data / "val", folder / "val")
    (folder / "train").mkdir()
    for number, path in enumerate(sorted((bench.data / "train").glob("*/*"))):
        shutil.copy(path, folder / "train" / f"{number}{path.suffix}")
    return folder


def test_a_recipe_learns_from_images_without_labels(bench: Workbench, bare: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    training = "{epochs: 1, batch: 8, device: cpu, workers: 0}"
    recipe.write_text(f"name: bare\nstages:\n  - distill: {{training: {training}}}\n  - export\n")
    words = ["optimize", *bench.source, "--data", str(bare), "--out", str(out), "--format", "onnx", "--json"]
    words += ["--profile", "smoke", "--max-drop", "20%", "--recipe", str(recipe)]
    ended = in_process_of_its_own(*words)
    assert ended.code == 0, ended.err
    assert [row["accuracy"]["images"] for row in ended.json["rows"]] == [4 * workbench.VAL_PER_CLASS] * 2
    recipe.write_text(f"name: bare\nstages:\n  - prune: {{macs: 60%, finetune: {training}}}\n  - export\n")
    refused = in_process_of_its_own(*words)
    assert refused.error == "no-training-images"
    assert "the images in train/ have no labels" in refused.err


def test_images_without_labels_will_do(bench: Workbench, bare: Path, student: Path, tmp_path: Path) -> None:
    """With labelled images to judge on, and with none at all."""
    folder, out = bare, tmp_path / "taught.safetensors"
    source = [str(student), "--model", bench.model, *FLAGS, "--out", str(out), *TRAINING, "--lr", "0.01", "--json"]
    teacher = ("--teacher", str(bench.checkpoint), "--teacher-model", bench.model)
    ended = in_process_of_its_own("distill", *source, *teacher, "--data", str(folder))
    assert ended.code == 0, ended.err
    assert ended.json["after"] > ended.json["before"]
    out.unlink()
    ended = in_process_of_its_own("distill", *source, *teacher, "--data", str(folder / "train"))
    assert ended.code == 0, ended.err
    assert (ended.json["images"], ended.json["after"]) == (0, None)
    assert out.is_file()


def test_a_new_student_starts_from_pruned_weights(bench: Workbench, tmp_path: Path) -> None:
    pruned, out = tmp_path / "pruned.safetensors", tmp_path / "taught.safetensors"
    made = in_process_of_its_own(
        "prune", *bench.source, "--macs", "60%", "--round-to", "2", "--out", str(pruned), "--json"
    )
    assert made.code == 0, made.err
    words = command(bench, bench.checkpoint, out, "--student-weights", str(pruned), "--json")
    ended = in_process_of_its_own(*words, "--student", bench.model)
    assert ended.code == 0, ended.err
    assert ended.json["after"] > 0
    before, after = (open_model(path, architecture=bench.model) for path in (pruned, out))
    assert before.plan is not None
    assert (after.plan, after.parameters) == (before.plan, before.parameters)
    out.unlink()
    refused = in_process_of_its_own(*words, "--student", "resnet18")
    assert refused.error == "architecture-mismatch"
    assert f"was pruned from {bench.model}, and torchvision:resnet18 was asked for" in refused.err
    assert f"name that one: --student {bench.model}" in refused.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--teacher", "nothing.pth"), "no-such-file"),
        (("--teacher", "CKPT", "--temperature", "0"), "bad-option"),
        (("--teacher", "CKPT", "--method", "crd"), "bad-option"),
        (("--teacher", "CKPT", "--teacher-model", "MODEL", "--out", "x.pth"), "wrong-suffix"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(
    more: tuple[str, ...], code: str, bench: Workbench, student: Path, tmp_path: Path
) -> None:
    words = [{"CKPT": str(bench.checkpoint), "MODEL": bench.model}.get(word, word) for word in more]
    ended = in_process_of_its_own(*command(bench, student, tmp_path / "out.safetensors", *words), cwd=tmp_path)
    assert ended.code == 2
    assert ended.error == code
    assert not list(tmp_path.glob("*.safetensors"))


def test_one_of_teacher_and_student_is_wanted(bench: Workbench, student: Path, tmp_path: Path) -> None:
    for more in ((), ("--teacher", "a.pth", "--student", "resnet18")):
        ended = in_process_of_its_own(*command(bench, student, tmp_path / "out.safetensors", *more))
        assert ended.code == 2
        assert "give one of the two" in ended.err


def test_images_to_judge_on_alone_teach_nothing(bench: Workbench, student: Path, tmp_path: Path) -> None:
    words = command(bench, student, tmp_path / "o.safetensors", "--teacher", str(bench.checkpoint))
    shutil.copytree(bench.data / "val", tmp_path / "images" / "val")
    words[words.index(str(bench.data))] = str(tmp_path / "images")
    ended = in_process_of_its_own(*words)
    assert ended.error == "no-training-images"
