"""The stage `prune`: its options, what it writes, and what it says of what stayed whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import workbench
from pydantic import ValidationError

from edgecnn.compress.prune.stage import Prune
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, Kind, sha256_of
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.data import ImageSet, open_data
from edgecnn.models import LoadedModel, open_model, reopen, save
from edgecnn.train.resnet_small import resnet_small

PREPROCESSING = Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
SMALL = "edgecnn.train.resnet_small:resnet_small"
HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)
FINETUNE = {
    **{"epochs": 1, "batch": 16, "device": "cpu", "mixed_precision": "off", "workers": 0},
    "learning_rate": 0.01,
}


@dataclass
class Data:
    training: ImageSet | None
    calibration: ImageSet
    evaluation: ImageSet | None = None
    preprocessing: Preprocessing = PREPROCESSING
    class_names: tuple[str, ...] = workbench.CLASSES


@dataclass
class Bench:
    """A small network, images in a folder, and what the stage told."""

    folder: Path
    model: LoadedModel
    data: Data
    told: list[Event] = field(default_factory=list)

    def run(self, stage: Prune, name: str = "first", **changes: Any) -> tuple[Artifact, dict[str, Any]]:
        work, scratch = self.folder / name / "work", self.folder / name / "scratch"
        for made in (work, scratch):
            made.mkdir(parents=True, exist_ok=True)
        model = changes.get("model", self.model)
        fields: dict[str, Any] = {"model": self.model, "data": self.data, "teacher": self.model, **changes}
        context = Context(
            workdir=work, scratch=scratch, target=HOST, format="onnx", listener=self.told.append, seed=0, **fields
        )
        source = Artifact(self.folder / "model.safetensors", "torch", "fp32", (), (), model.sha256)
        return stage.run(source, context), json.loads((work / "facts.json").read_text())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("prune")
    workbench.write_images(folder / "patterns" / "train", 16, seed=1)
    workbench.write_images(folder / "patterns" / "val", 4, seed=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = resnet_small(num_classes=4).eval()
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    path = folder / "model.safetensors"
    save(path, module, architecture=SMALL, num_classes=4, preprocessing=PREPROCESSING)
    model = open_model(path).with_preprocessing(PREPROCESSING)
    data = open_data(folder / "patterns", num_classes=4, preprocessing=PREPROCESSING, calibration_images=32)
    return Bench(folder, model, Data(data.training, data.calibration))


@pytest.fixture
def bench(given: Bench, tmp_path: Path) -> Bench:
    return Bench(tmp_path, given.model, given.data)


def test_it_is_found_by_its_word() -> None:
    assert plugins.load("stages", "prune") is Prune


def test_it_makes_a_pruned_network_of_a_float_one() -> None:
    stage = Prune(macs=0.5)
    for source in (Kind("torch", "fp32"), Kind("torch", "fp32", "pruned"), Kind("torch", "fp32", "distilled")):
        assert stage.produces(source, "tflite") == Kind("torch", "fp32", "pruned")
    assert stage.produces(Kind("onnx", "fp32"), "onnx") is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "none was given"),
        ({"macs": "50%", "size": "50%"}, "macs and size were given"),
        ({"macs": 0}, "greater than 0"),
        ({"macs": 1}, "less than 1"),
        ({"macs": "50%", "max_layer": 1}, "less than 1"),
        ({"macs": "half"}, "write a percentage"),
        ({"size": "2 apples"}, "write a size"),
        ({"size": "-1"}, "write a size"),
        ({"size": True}, "write a size"),
        ({"latency": "120%"}, "write a time"),
        ({"latency": "60%", "iterations": 2}, "leave out `iterations`"),
        ({"macs": "50%", "round_to": 0}, "greater than or equal to 1"),
        ({"macs": "50%", "importance": "magic"}, "group-l2"),
        ({"macs": "50%", "ignore": ["("]}, "regular expression"),
        ({"macs": "50%", "finetune": {"epochs": 0}}, "greater than or equal to 1"),
        ({"macs": "50%", "finetune": {"early_stopping": 2}}, "needs images to judge epochs on"),
        ({"macs": "50%", "finetune": {"stochastic_depth": 0.1}}, "set when a network is built"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Prune(**options)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"macs": "50%"}, 0.5),
        ({"parameters": 0.3}, 0.3),
        ({"size": "40%"}, "0.4"),
        ({"size": "0.4"}, "0.4"),
        ({"size": "2 MB"}, "2000000 B"),
        ({"size": 65536}, "65536 B"),
        ({"latency": "60%"}, "0.6"),
        ({"latency": "0.8 ms"}, "0.8 ms"),
        ({"latency": "8"}, "8 ms"),
    ],
    ids=str,
)
def test_options_are_json_and_read_again_as_they_were(options: dict[str, Any], kept: Any) -> None:
    stage = Prune(**options)
    assert stage.options()[next(iter(options))] == kept
    assert Prune(**json.loads(json.dumps(stage.options()))) == stage


def test_images_are_inputs_where_it_learns_from_them() -> None:
    assert not Prune(macs=0.5).trains
    assert Prune(macs=0.5, importance="taylor").trains
    assert Prune(macs=0.5, finetune=FINETUNE).trains  # type: ignore[arg-type]


def test_the_target_decides_where_latency_is_asked_for() -> None:
    assert Prune(macs=0.5).decides(HOST, "onnx") is None
    assert Prune(latency="50%").decides(HOST, "onnx") == ["host", "onnx", "onnxruntime"]


def test_a_smaller_checkpoint_is_written_that_opens_bit_for_bit(bench: Bench) -> None:
    artifact, facts = bench.run(Prune(macs=0.5, bn_images=0))
    assert artifact.kind == Kind("torch", "fp32", "pruned")
    assert artifact.history == ("prune",)
    assert artifact.sha256 == sha256_of(artifact.path)
    opened = reopen(artifact.path).with_preprocessing(PREPROCESSING)
    assert opened.name == bench.model.name
    assert (opened.num_classes, opened.class_names) == (4, workbench.CLASSES)
    assert opened.plan is not None
    assert opened.sha256 != bench.model.sha256
    assert facts["macs"]["after"] <= 0.5 * facts["macs"]["before"]
    assert facts["macs"]["before"] > 1e6
    again, _ = bench.run(Prune(macs=0.5, bn_images=0), "again")
    assert again.sha256 == artifact.sha256
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(opened.module()(image), reopen(again.path).module()(image))


def test_what_stays_whole_is_told_and_written(bench: Bench) -> None:
    _, facts = bench.run(Prune(macs=0.8, ignore=("blocks.5",)))
    warned = [event for event in bench.told if isinstance(event, Warned)]
    for event in warned:
        assert event.code == "left-whole"
        assert "whole: " in event.message
    named = " ".join(event.message for event in warned)
    assert all(why in named for why in facts["left_whole"].values() if "for each class" not in why)
    assert "for each class" not in named
    assert any("for each class" in why for why in facts["left_whole"].values())


def test_a_layer_nobody_knows_cannot_stay(bench: Bench) -> None:
    with pytest.raises(InputError) as raised:
        bench.run(Prune(macs=0.5, ignore=("backbone",)))
    assert raised.value.code == "no-such-layer"


def test_pruned_again_it_is_still_told_from_the_whole_one(bench: Bench) -> None:
    first, _ = bench.run(Prune(macs=0.7, round_to=8))
    smaller = reopen(first.path).with_preprocessing(PREPROCESSING)
    second, facts = bench.run(Prune(macs=0.7, round_to=8), "second", model=smaller)
    assert second.variant == "pruned"
    opened = reopen(second.path)
    assert smaller.plan is not None and opened.plan is not None
    assert opened.parameters < smaller.parameters < bench.model.parameters
    assert facts["macs"]["after"] <= 0.7 * facts["macs"]["before"]
    for path, kept in opened.plan.kept.items():
        before = smaller.plan.kept.get(path)
        if before is not None and before.out is not None:
            assert set(kept.out or ()) <= set(before.out)
    whole, left = bench.model.module().state_dict(), opened.module().state_dict()
    path, kept = next((path, kept) for path, kept in opened.plan.kept.items() if kept.out and kept.into is None)
    assert torch.equal(left[f"{path}.weight"], whole[f"{path}.weight"][list(kept.out or ())])


def test_batch_norm_is_measured_again_on_real_images_alone(bench: Bench) -> None:
    with_images, facts = bench.run(Prune(macs=0.5, bn_images=16))
    assert facts["bn_images"] == 16
    without, facts = bench.run(Prune(macs=0.5, bn_images=16), "none", data=replace(bench.data, training=None))
    assert facts["bn_images"] == 0
    ours, theirs = (reopen(item.path).module().state_dict() for item in (with_images, without))
    differ = {key.rpartition(".")[2] for key, value in ours.items() if not torch.equal(value, theirs[key])}
    assert {"running_mean", "running_var"} <= differ <= {"running_mean", "running_var", "num_batches_tracked"}


def test_training_between_the_rounds_changes_the_weights(bench: Bench) -> None:
    stage = Prune(macs=0.5, round_to=8, iterations=2, finetune=FINETUNE)  # type: ignore[arg-type]
    artifact, facts = bench.run(stage)
    assert facts["macs"]["after"] <= 0.5 * facts["macs"]["before"]
    assert facts["bn_images"] == 0
    assert [event for event in bench.told if isinstance(event, Progress) and event.unit == "epoch"]
    plan = reopen(artifact.path).plan
    assert plan is not None
    path, kept = next((path, kept) for path, kept in plan.kept.items() if kept.out and kept.into is None)
    whole, left = bench.model.module().state_dict(), reopen(artifact.path).module().state_dict()
    assert not torch.equal(left[f"{path}.weight"], whole[f"{path}.weight"][list(kept.out or ())])
    again, _ = bench.run(stage, "again")
    assert again.sha256 == artifact.sha256


def test_taylor_ranks_on_training_images(bench: Bench) -> None:
    by_loss, facts = bench.run(Prune(macs=0.5, importance="taylor", importance_images=32, bn_images=0))
    assert facts["importance"] == "taylor"
    by_size, _ = bench.run(Prune(macs=0.5, bn_images=0), "l2")
    assert by_loss.sha256 != by_size.sha256
    for stage in (Prune(macs=0.5, importance="taylor"), Prune(macs=0.5, finetune=FINETUNE)):  # type: ignore[arg-type]
        with pytest.raises(InputError) as raised:
            bench.run(stage, "bare", data=replace(bench.data, training=None))
        assert raised.value.code == "no-training-images"


def test_reconstruction_needs_training_images_and_no_labels(bench: Bench) -> None:
    stage = Prune(macs=0.5, importance="reconstruction", importance_images=32, bn_images=0)
    training = bench.data.training
    assert training is not None
    unlabelled = replace(
        bench.data, training=ImageSet(training.paths, None, preprocessing=PREPROCESSING, root=bench.folder)
    )
    rebuilt, facts = bench.run(stage, data=unlabelled)
    assert facts["importance"] == "reconstruction"
    again, _ = bench.run(stage, "again")
    assert again.sha256 == rebuilt.sha256
    plan, weights = reopen(rebuilt.path).plan, reopen(rebuilt.path).module().state_dict()
    assert plan is not None
    narrower = [path for path, kept in plan.kept.items() if kept.into is not None and kept.out is None]
    whole = bench.model.module().state_dict()
    for path in narrower:
        sliced = whole[f"{path}.weight"][:, list(plan.kept[path].into or ())]
        assert not torch.equal(weights[f"{path}.weight"], sliced)
    assert narrower
    with pytest.raises(InputError) as raised:
        bench.run(stage, "bare", data=replace(bench.data, training=None))
    assert raised.value.code == "no-training-images"
    assert "labelled" not in raised.value.message


def test_a_size_in_bytes_is_a_target_as_well(bench: Bench) -> None:
    _, facts = bench.run(Prune(size="50%", bn_images=0))
    limit = facts["size"]["after"]
    _, facts = bench.run(Prune(size=f"{limit} B", bn_images=0), "bytes")
    assert facts["size"]["after"] <= limit
    assert facts["target"] == {"measure": "size", "limit": limit, "whole": facts["size"]["before"]}
