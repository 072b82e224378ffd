"""The stage `distill`: a student that learns from a teacher, as a recipe asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import workbench

from edgecnn.compress.distill.cache import teacher_logits
from edgecnn.compress.distill.kernel import seeing
from edgecnn.compress.distill.stage import Distill
from edgecnn.compress.prune.algorithm import shrink
from edgecnn.compress.prune.group import Ranking
from edgecnn.config import yaml_file
from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Progress, ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.data import ImageSet, open_data
from edgecnn.models import LoadedModel, open_model, reopen, save
from edgecnn.train import fit, measure_accuracy
from edgecnn.train.resnet_small import resnet_small
from edgecnn.train.settings import TrainSettings

PREPROCESSING = Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
SMALL = "edgecnn.train.resnet_small:resnet_small"
HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)
CPU = {"device": "cpu", "batch": 16, "mixed_precision": "off", "learning_rate": 0.01}


@dataclass
class Data:
    training: ImageSet | None
    calibration: ImageSet
    evaluation: ImageSet
    preprocessing: Preprocessing = PREPROCESSING
    class_names: tuple[str, ...] = workbench.CLASSES


@dataclass
class Bench:
    """A teacher that knows the patterns, and images in a folder."""

    folder: Path
    teacher: LoadedModel
    data: Data
    told: list[Event] = field(default_factory=list)

    def context(self, name: str, **changes: Any) -> Context:
        work, scratch = self.folder / name / "work", self.folder / name / "scratch"
        for made in (work, scratch):
            made.mkdir(parents=True, exist_ok=True)
        fields: dict[str, Any] = {
            "workdir": work,
            "scratch": scratch,
            "model": self.teacher,
            "data": self.data,
            "target": HOST,
            "format": "onnx",
            "listener": self.told.append,
            "seed": 0,
            "teacher": self.teacher,
        }
        return Context(**{**fields, **changes})

    @property
    def source(self) -> Artifact:
        return Artifact(self.folder / "teacher.safetensors", "torch", "fp32", (), (), self.teacher.sha256)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("distill")
    workbench.write_images(folder / "patterns" / "train", 16, seed=1)
    workbench.write_images(folder / "patterns" / "val", 12, seed=2)
    found = open_data(folder / "patterns", num_classes=4, preprocessing=PREPROCESSING)
    data = Data(found.training, found.calibration, found.evaluation)
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = resnet_small(4)
    assert data.training is not None
    fit(module, data.training, settings=TrainSettings(epochs=6, **CPU), seed=1)
    path = folder / "teacher.safetensors"
    save(path, module, architecture=SMALL, num_classes=4, preprocessing=PREPROCESSING)
    (folder / "tiny.py").write_text(workbench.TINY)
    return Bench(folder, open_model(path).with_preprocessing(PREPROCESSING), data)


@pytest.fixture
def bench(made: Bench, tmp_path: Path) -> Bench:
    return replace(made, folder=tmp_path, told=[])


def distill(**options: Any) -> Distill:
    training = {"epochs": 3, **CPU, **options.pop("training", {})}
    return Distill(**options, training=training)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(open_model(path, architecture=None).module().state_dict())


def damaged(model: LoadedModel, folder: Path) -> LoadedModel:
    """The teacher after an accident: its last layer forgot what it knew."""
    module = model.module()
    with torch.no_grad():
        module.fc.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(3))  # type: ignore[union-attr, operator]
    save(folder / "damaged.safetensors", module, architecture=SMALL, num_classes=4, preprocessing=PREPROCESSING)
    return open_model(folder / "damaged.safetensors").with_preprocessing(PREPROCESSING)


@pytest.mark.parametrize("method", ["dist", "hinton", "dkd"])
def test_a_damaged_network_learns_from_the_original_without_labels(bench: Bench, method: str) -> None:
    """label_weight 0: what it knows afterwards it has from the teacher."""
    student = damaged(bench.teacher, bench.folder)
    context = bench.context("run", model=student)
    made = distill(method=method, label_weight=0.0).run(bench.source, context)
    assert made.kind == Kind("torch", "fp32", "distilled")
    assert made.history == ("distill",)
    assert made.path.parent == context.workdir
    after = open_model(made.path)
    assert after.preprocessing == PREPROCESSING
    assert after.class_names == workbench.CLASSES
    accuracies = [measure_accuracy(model.module(), bench.data.evaluation) for model in (student, after)]
    assert accuracies[1] > accuracies[0] + 0.2
    assert [event.done for event in bench.told if isinstance(event, Progress) and event.unit == "epoch"] == [1, 2, 3]


def test_images_without_labels_teach_as_well(bench: Bench) -> None:
    assert bench.data.training is not None
    blind = ImageSet(bench.data.training.paths, None, preprocessing=PREPROCESSING, root=bench.data.training.root)
    context = bench.context(
        "blind", model=damaged(bench.teacher, bench.folder), data=replace(bench.data, training=blind)
    )
    made = distill().run(bench.source, context)
    assert measure_accuracy(open_model(made.path).module(), bench.data.evaluation) > 0.7
    with pytest.raises(InputError) as raised:
        distill(label_weight=0.5).run(bench.source, bench.context("blind-2", data=context.data))
    assert raised.value.code == "no-labels"


def test_a_pruned_network_stays_one_and_a_new_student_is_distilled(bench: Bench) -> None:
    pruned = Kind("torch", "fp32", "pruned")
    assert Distill().produces(pruned, "onnx") == pruned
    assert Distill(student="resnet18").produces(pruned, "onnx") == Kind("torch", "fp32", "distilled")
    assert Distill().produces(Kind("torch", "fp32"), "tflite") == Kind("torch", "fp32", "distilled")
    assert Distill().produces(Kind("onnx", "fp32"), "onnx") is None
    assert Distill().produces(Kind("torch", "int8"), "onnx") is None


def test_a_pruned_network_learns_from_the_whole_one_and_keeps_its_plan(bench: Bench) -> None:
    whole, example = bench.teacher.module(), torch.zeros(1, 3, 32, 32)
    smaller = shrink(whole, example, {"blocks.4.conv1": 16}, ranking=Ranking(round_to=16))
    path = bench.folder / "pruned.safetensors"
    save(path, smaller.module, architecture=SMALL, num_classes=4, preprocessing=PREPROCESSING, plan=smaller.plan)
    context = bench.context("pruned", model=reopen(path).with_preprocessing(PREPROCESSING))
    made = distill(training={"epochs": 1}).run(replace(bench.source, variant="pruned"), context)
    assert made.variant == "pruned"
    after = reopen(made.path)
    assert after.plan == smaller.plan
    assert after.module().get_submodule("blocks.4.conv1").out_channels == 16
    assert after.sha256 != context.model.sha256


def test_a_new_student_of_the_users_code_is_built_by_seed(made: Bench, bench: Bench) -> None:
    """The same seed gives the same weights, whatever else has drawn random numbers."""
    stage = distill(student=f"{made.folder / 'tiny.py'}:tiny", training={"epochs": 4})
    found = []
    for name in ("first", "second"):
        torch.rand(17)
        artifact = stage.run(bench.source, bench.context(name))
        found.append(open_model(artifact.path, architecture=stage.student))
    assert found[0].sha256 == found[1].sha256
    assert found[0].num_classes == 4
    assert measure_accuracy(found[0].module(), bench.data.evaluation) > 0.4


def test_cached_answers_teach_the_same_as_live_ones(bench: Bench) -> None:
    """Batches of another size round differently, so not bit for bit."""
    student = damaged(bench.teacher, bench.folder)
    runs = {}
    for cached in (True, False):
        context = bench.context(f"cached-{cached}", model=student)
        stage = distill(cache_logits=cached, training={"epochs": 1})
        runs[cached] = weights(stage.run(bench.source, context).path)
        assert any(context.scratch.glob("teacher-*.npy")) is cached
    for name, value in runs[True].items():
        assert torch.allclose(value.float(), runs[False][name].float(), atol=2e-2), name
    assert distill().caches
    assert not distill(training={"augment": {"flip": True}}).caches


def test_answers_are_asked_once(bench: Bench) -> None:
    module, images = bench.teacher.module(), bench.data.calibration
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    module.register_forward_hook(count)
    ask = {"folder": bench.folder, "device": "cpu", "listener": ignore}
    first = teacher_logits(module, images, identity="a", **ask)  # type: ignore[arg-type]
    before = asked
    again = teacher_logits(module, images, identity="a", **ask)  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert asked == before > 0
    teacher_logits(module, images, identity="b", **ask)  # type: ignore[arg-type]
    assert asked > before
    next(bench.folder.glob("teacher-*.npy")).write_bytes(b"cut")
    assert torch.equal(teacher_logits(module, images, identity="a", **ask), first)  # type: ignore[arg-type]


def test_a_teacher_that_answers_nan_is_named(bench: Bench) -> None:
    module = bench.teacher.module()
    with torch.no_grad():
        module.fc.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(StepError) as raised:
        teacher_logits(module, bench.data.calibration, identity="n", folder=bench.folder, device="cpu", listener=ignore)
    assert raised.value.code == "teacher-not-finite"
    assert not list(bench.folder.glob("teacher-*"))


def test_a_teacher_that_answers_nan_is_not_taken_for_a_learning_rate(bench: Bench) -> None:
    """Asked batch by batch, it would be the training loss that is no number."""
    state = bench.teacher.module().state_dict()
    state["fc.weight"].fill_(3e38)  # a checkpoint with NaN in it would not even open
    path = bench.folder / "broken.pth"
    torch.save(state, path)
    training = {"epochs": 1, "batch": 8, "workers": 0, "augment": {"flip": True}}
    stage = Distill(teacher=str(path), teacher_model=bench.teacher.name, training=training)  # type: ignore[arg-type]
    with pytest.raises(StepError) as raised:
        stage.run(bench.source, bench.context("broken"))
    assert raised.value.code == "teacher-not-finite"


def test_a_teachers_checkpoint_is_shown_images_in_its_own_preprocessing(made: Bench, bench: Bench) -> None:
    other = PREPROCESSING.changed(mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))
    path = bench.folder / "other.safetensors"
    save(path, bench.teacher.module(), architecture=SMALL, num_classes=4, preprocessing=other)
    teacher = open_model(path)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def normalised(preprocessing: Preprocessing) -> torch.Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
        return (pixels - mean) / std

    with torch.no_grad():
        expected = teacher.module()(normalised(other))
        found = seeing(teacher, PREPROCESSING)(normalised(PREPROCESSING))
    assert torch.allclose(found, expected, atol=1e-4)
    assert type(seeing(made.teacher, PREPROCESSING)) is type(made.teacher.module())


def test_a_teacher_of_other_classes_is_refused_before_training(bench: Bench) -> None:
    path = bench.folder / "seven.safetensors"
    save(path, resnet_small(7), architecture=SMALL, num_classes=7, preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="the student has 4 classes and the teacher 7") as raised:
        distill(teacher=str(path)).run(bench.source, bench.context("seven"))
    assert raised.value.code == "classes-differ"
    assert bench.told == []


def test_without_training_images_it_says_what_remains(bench: Bench) -> None:
    with pytest.raises(InputError) as raised:
        distill().run(bench.source, bench.context("none", data=replace(bench.data, training=None)))
    assert raised.value.code == "no-training-images"
    assert "--data DIR" in raised.value.hint


def test_files_that_options_name_decide_the_result(bench: Bench) -> None:
    path = bench.folder / "t.safetensors"
    path.write_bytes(b"one")
    stage = Distill(teacher=str(path))
    before = stage.decides(HOST, "onnx")
    assert before == stage.decides(HOST, "tflite")
    path.write_bytes(b"two")
    assert stage.decides(HOST, "onnx") != before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"training": {"epoch": 3}}, "stages[1].distill.training.epoch: unknown key; did you mean 'epochs'"),
        ({"training": {"augment": {"flap": True}}}, "stages[1].distill.training.augment.flap: unknown key; did you"),
        ({"training": {"epochs": 0}}, "stages[1].distill.training.epochs: has to be greater than or equal to 1"),
        ({"method": "crd"}, "stages[1].distill.method: has to be 'dist', 'hinton' or 'dkd'"),
        ({"teacher_model": "resnet18"}, "give `teacher` its path"),
        ({"student_weights": "w.pth"}, "name its architecture"),
        ({"cache_logits": True, "training": {"augment": {"mixup": 0.2}}}, "shows another image in every epoch"),
        ({"training": {"early_stopping": 3}}, "`training.early_stopping` has no place here: it needs images to judge"),
        ({"training": {"dropout": 0.5}}, "`training.dropout` has no place here: it is set when a network is built"),
    ],
)
def test_a_recipe_is_told_where_its_mistake_is(options: dict[str, Any], said: str) -> None:
    problems: list[str] = []
    assert yaml_file.validate(Distill, options, at="stages[1].distill", problems=problems) is None
    assert len(problems) == 1
    assert said in problems[0]
    assert problems[0].startswith("stages[1].distill")


def test_its_options_are_json_and_read_back() -> None:
    stage = Distill(method="dkd", training=TrainSettings(epochs=2))
    assert Distill(**stage.options()) == stage
    assert stage.options()["training"]["epochs"] == 2


def test_the_stage_is_light() -> None:
    """Naming it in a recipe does not load torch."""
    import subprocess
    import sys

    look = "import sys, edgecnn.compress.distill.stage; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(bench: Bench) -> None:
    """The warm-up of DKD is told by the epoch, so it goes on as well."""
    student = damaged(bench.teacher, bench.folder)
    stage = distill(method="dkd", training={"epochs": 3})
    whole = stage.run(bench.source, bench.context("whole", model=student))

    class Killed(BaseException):
        pass

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.unit == "epoch" and event.done == 2:
            raise Killed

    with pytest.raises(Killed):
        stage.run(bench.source, bench.context("killed", model=student, listener=kill))
    again = stage.run(bench.source, bench.context("killed", model=student))
    assert again.sha256 == whole.sha256
    assert [event.done for event in bench.told if isinstance(event, Progress) and event.unit == "epoch"][-1] == 3
