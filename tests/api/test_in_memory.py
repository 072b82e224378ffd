"""`edgecnn.optimize` of a module and of tensors that are in memory."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from workbench import Workbench

import edgecnn
from edgecnn.core.events import Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import open_data
from edgecnn.data.tensors import open_tensors
from edgecnn.models import open_model

STATED = Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
Batches = list[tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def network(bench: Workbench) -> torch.nn.Module:
    return open_model(bench.checkpoint, architecture=bench.model).module()


@pytest.fixture(scope="module")
def batches(bench: Workbench) -> dict[str, Batches]:
    """The workbench's images, as a DataLoader would give them."""
    data = open_data(bench.data, num_classes=4, preprocessing=STATED)
    parts = {"train": data.training, "val": data.evaluation}
    found: dict[str, Batches] = {}
    for name, images in parts.items():
        assert images is not None and images.labels is not None
        labels, start, found[name] = torch.tensor(images.labels), 0, []
        for batch in images.batches(16):
            found[name].append((torch.from_numpy(batch), labels[start : start + len(batch)]))
            start += len(batch)
    return found


def test_a_module_and_tensors_are_judged_as_the_files_they_come_from(
    network: torch.nn.Module, batches: dict[str, Batches], bench: Workbench, source: dict[str, Any], here: Path
) -> None:
    before = copy.deepcopy(network).train()
    options: dict[str, Any] = {"format": "onnx", "profile": "smoke", "max_drop": "10%"}
    report = edgecnn.optimize(before, data=batches, mean=STATED.mean, std=STATED.std, out="run", **options)
    files = edgecnn.optimize(**source, data=bench.data, out="files", **options)
    assert before.training and all(parameter.requires_grad for parameter in before.parameters())
    for ours, theirs in zip(report.rows, files.rows, strict=True):
        assert ours.accuracy is not None and theirs.accuracy is not None
        assert (ours.name, ours.accuracy.images, ours.accuracy.top1) == (
            theirs.name,
            theirs.accuracy.images,
            theirs.accuracy.top1,
        )
    assert report.verdict == files.verdict
    assert report.data.form == "tensors" and report.data.images == {"training": 40, "calibration": 40, "evaluation": 60}
    assert (
        report.out == Path("run")
        and (report.out / "bundle").is_dir() == (files.out or Path()).joinpath("bundle").is_dir()
    )
    about = json.loads((here / "run" / "run.json").read_text())
    assert about["checkpoint"]["file"].endswith("Tiny.safetensors")
    again = edgecnn.optimize(before, data=batches, mean=STATED.mean, std=STATED.std, out="run", **options)
    assert all(stage.cached for stage in again.stages)


def test_one_iterable_is_divided_and_what_judges_never_calibrates(batches: dict[str, Batches]) -> None:
    options: dict[str, Any] = {"num_classes": 4, "stated": {}, "calibration_images": 1000, "seed": 0}
    data = open_tensors(batches["val"], **options)
    assert data.evaluation is not None
    assert not set(data.calibration.ids) & set(data.evaluation.ids)
    assert len(data.calibration) + len(data.evaluation) == 60
    assert set(data.evaluation.labels or ()) == {0, 1, 2, 3}
    assert open_tensors(batches["val"], **options).evaluation.digest == data.evaluation.digest  # type: ignore[union-attr]
    images, labels = batches["val"][0]
    singles = [(image.numpy(), int(label)) for image, label in zip(images, labels, strict=True)]
    assert open_tensors({"train": singles}, **options).calibration.labels is not None
    with pytest.raises(edgecnn.EdgecnnError, match="would calibrate and judge"):
        open_tensors({"train": batches["val"], "val": batches["val"]}, **options)


def test_tensors_come_out_as_they_went_in(batches: dict[str, Batches]) -> None:
    from edgecnn.probe.normalise import normalise

    for stated in ({}, {"mean": [0.5] * 3, "std": [0.25] * 3}):
        data = open_tensors({"train": batches["train"]}, num_classes=4, stated=stated, calibration_images=8, seed=0)
        images, given = data.calibration, data.calibration.preprocessing
        pixels, tensors = next(images.pixels(8)), next(images.batches(8))
        np.testing.assert_allclose(normalise(pixels, given.mean, given.std), tensors, atol=1e-5)


IMAGE = torch.zeros(3, 32, 32)


def once() -> Iterator[Any]:
    yield IMAGE, 0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (once(), "read once only"),
        ([(IMAGE, 4)], "from 0 to 3"),
        ([(IMAGE, 0.5)], "labels of type float"),
        ([(IMAGE, 0), (torch.zeros(3, 16, 16), 1)], "not all of one shape"),
        ([(IMAGE / 0, 0)], "NaN or infinity"),
        ([IMAGE], "there are no labels"),
        ([(torch.zeros(32, 32), 0)], "images of shape [32, 32]"),
        ({"training": [(IMAGE, 0)]}, "not train and val"),
        ([], "there are none"),
    ],
)
def test_what_cannot_be_read_is_refused(data: Any, says: str, network: torch.nn.Module, here: Path) -> None:
    with pytest.raises(edgecnn.EdgecnnError) as refused:
        edgecnn.optimize(network, data=data, out="run")
    assert refused.value.code == "bad-tensors" and says in refused.value.why
    assert not (here / "run").exists()


def test_nobody_said_how_tensors_were_normalised(
    network: torch.nn.Module, batches: dict[str, Batches], here: Path
) -> None:
    told: list[Any] = []
    report = edgecnn.optimize(
        network, data=batches, out="run", format="onnx", profile="smoke", max_drop=0.1, listener=told.append
    )
    assert any(isinstance(event, Warned) and "give mean and std" in event.message for event in told)
    assert all(row.accuracy is not None and row.accuracy.images == 60 for row in report.rows)


def test_a_module_and_tensors_are_evaluated_as_the_files_they_come_from(
    network: torch.nn.Module, batches: dict[str, Batches], bench: Workbench, source: dict[str, Any], here: Path
) -> None:
    files = edgecnn.evaluate(
        bench.checkpoint, data=bench.data, **{k: v for k, v in source.items() if k != "checkpoint"}
    )
    about: dict[str, Any] = {"mean": STATED.mean, "std": STATED.std}
    for data in (batches, batches["val"]):
        found = edgecnn.evaluate(network, data=data, **about)
        assert found.classification is not None and files.classification is not None
        assert found.classification.top1 == files.classification.top1
        assert found.to_dict()["images"] == 60 and found.data["form"] == "tensors"
    flipped = edgecnn.evaluate(network, data=batches, tta="flip", out="evaluated", **about)
    assert flipped.views == 2 and (here / "evaluated" / "evaluation.md").is_file()
    exported = edgecnn.export(**source, data=bench.data, out="tiny.onnx")
    again = edgecnn.evaluate(exported.artifact.path, data=batches, **about)
    assert again.classification is not None and again.classification.top1 == files.classification.top1
    with pytest.raises(edgecnn.EdgecnnError, match="five crops need") as refused:
        edgecnn.evaluate(network, data=batches, tta="five-crop", **about)
    assert refused.value.code == "nothing-to-crop"


@pytest.mark.parametrize(
    ("data", "says"),
    [([IMAGE], "needs labels"), ({"train": [(IMAGE, 0)]}, "no part val"), ([(IMAGE, 9)], "from 0 to 3")],
)
def test_tensors_that_cannot_judge_are_refused(data: Any, says: str, network: torch.nn.Module) -> None:
    with pytest.raises(edgecnn.EdgecnnError) as refused:
        edgecnn.evaluate(network, data=data)
    assert refused.value.code == "bad-tensors" and says in refused.value.why
