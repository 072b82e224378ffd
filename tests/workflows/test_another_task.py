"""A task added from outside, by one entry point: evaluated, compressed, judged in its own terms, bundled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import brightness
import numpy as np
import plugin_packages
import pytest
import torch
from PIL import Image

from edgecnn.compress.distill.stage import Distill
from edgecnn.compress.fallbacks.calibrate import Calibrate
from edgecnn.compress.qat.stage import Qat
from edgecnn.config.recipe import Budget, Calibration, Recipe
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.core.events import ignore
from edgecnn.core.stage import Stage
from edgecnn.data.preprocessing import Source
from edgecnn.formats.export_stage import Export
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.report.evaluation.model import Evaluation
from edgecnn.report.model import Report
from edgecnn.workflows.arguments import budget_of
from edgecnn.workflows.audit import audit
from edgecnn.workflows.convert import export, quantize
from edgecnn.workflows.evaluate import evaluate
from edgecnn.workflows.inputs import open_inputs
from edgecnn.workflows.optimize.pipeline import run
from edgecnn.workflows.optimize.request import Request
from edgecnn.workflows.prune import prune
from edgecnn.workflows.single_stage import run as run_stages
from edgecnn.workflows.train.command import train

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)
FLAGS = {"resize": None, "crop": (brightness.SIDE, brightness.SIDE), "mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The task, installed as pip would."""
    with plugin_packages.installed(
        tmp_path / "site", "brightness", {"tasks": {"brightness": "brightness:TASK"}}, monkeypatch
    ):
        yield


@pytest.fixture
def source(tmp_path: Path) -> Source:
    checkpoint = tmp_path / "brightness.pth"
    torch.save(brightness.network().state_dict(), checkpoint)
    data = brightness.write_images(tmp_path / "images")
    return Source(checkpoint, "brightness:network", data, None, FLAGS, task="brightness")


def evaluated(source: Source, **more: Any) -> Evaluation:
    assert source.data is not None
    about = {"model": source.architecture, "task": source.task, **FLAGS, "resize": "none"}
    return evaluate(source.checkpoint, data=source.data, **about, **more)


def optimize(source: Source, out: Path, *, max_drop: float, ladder: tuple[Calibrate, ...] = ()) -> Report:
    recipe = Recipe(
        name="t", stages=(Export(), Quantize(observer="minmax")), ladder=ladder, calibration=Calibration(images=40)
    )
    request = Request(
        source=source, target=HOST, recipe=recipe, out=out, budget=Budget(max_drop=max_drop), profile="smoke"
    )
    return run(request, listener=ignore)


def test_a_network_is_evaluated_in_the_tasks_own_figures(source: Source, tmp_path: Path) -> None:
    for views in (None, "flip"):
        found = evaluated(source, tta=views, out=tmp_path / "evaluated")
        assert found.to_dict()["images"] == 80
        assert found.to_dict()["mean_absolute_error"] < 0.1
    assert {path.name for path in (tmp_path / "evaluated").iterdir()} == {"evaluation.md", "evaluation.json"}
    assert "mean absolute error" in (tmp_path / "evaluated" / "evaluation.md").read_text()


def test_optimize_judges_and_bundles_it(source: Source, tmp_path: Path) -> None:
    report = optimize(source, tmp_path / "out", max_drop=0.1)
    baseline, int8 = report.rows
    assert report.outcome == "PASS", report.outcome_why
    assert "of mean absolute error" in report.outcome_why and "grows by at most" in int8.outcome_why
    assert int8.accuracy is not None and int8.accuracy.images == 80
    assert baseline.accuracy is not None and baseline.accuracy.score is not None and int8.accuracy.score is not None
    assert int8.accuracy.metric == "mean absolute error" and baseline.accuracy.score < 0.1
    assert int8.accuracy.drop == pytest.approx(int8.accuracy.score - baseline.accuracy.score, abs=1e-6)
    assert int8.accuracy.top1 is None and int8.accuracy.correct is None
    assert baseline.parity is not None and baseline.parity.agreement == 1.0
    assert Report.load(tmp_path / "out").metric == brightness.TASK.metric
    assert source.data is not None
    for row in report.rows:
        found = evaluate(tmp_path / "out" / "artifacts" / row.file, data=source.data)  # the file says what it is for
        assert row.accuracy is not None
        assert found.to_dict()["mean_absolute_error"] == pytest.approx(row.accuracy.score, abs=1e-6)
    with pytest.raises(InputError, match="is for the task brightness"):
        audit(source.data, checkpoint=tmp_path / "out" / "artifacts" / baseline.file)
    image = tmp_path / "grey.png"
    Image.fromarray(np.full((brightness.SIDE, brightness.SIDE, 3), 128, np.uint8)).save(image)
    infer = tmp_path / "out" / "bundle" / "infer.py"
    done = subprocess.run(
        [sys.executable, str(infer), "--json", str(image)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"file": str(image), "brightness": pytest.approx(0.5, abs=0.2)}


def test_a_missed_budget_starts_the_search_in_the_tasks_terms(source: Source, tmp_path: Path) -> None:
    report = optimize(source, tmp_path / "out", max_drop=0.0, ladder=(Calibrate(),))
    (search,) = report.searches
    assert report.outcome in ("FAIL", "INCONCLUSIVE") and len(search.attempts) > 2
    assert search.searching + search.certifying == 80
    page = report.to_markdown()
    assert page.count("drop, levels") == 2 and "mean absolute error, levels" in page
    assert "mean absolute error may be worse by at most 0 levels" in page
    assert "top-1" not in page and "points" not in page


TRAINING: dict[str, Any] = {
    "arch": "brightness:network",
    "task": "brightness",
    "batch": 8,
    "learning_rate": 0.01,
    "workers": 0,
    **FLAGS,
    "resize": "none",
}


def test_a_network_is_trained_by_the_tasks_loss_and_kept_by_its_metric(source: Source, tmp_path: Path) -> None:
    assert source.data is not None
    run = train(source.data, epochs=3, out=tmp_path / "run", **TRAINING)
    assert run.history is not None and run.accuracy is None
    scores = [epoch.validation_score for epoch in run.history.epochs]
    assert run.score == min(score for score in scores if score is not None)
    assert all(epoch.validation_accuracy is epoch.train_accuracy is None for epoch in run.history.epochs)
    written = json.loads((tmp_path / "run" / "train.json").read_text())
    assert written["task"] == "brightness" and written["history"] == json.loads(json.dumps(run.history.to_dict()))
    assert "for brightness: mean absolute error" in run.page() and "levels on 80 validation images" in run.page()
    assert "--task brightness" in run.next_command
    assert "confusion.png" not in {path.name for path in (tmp_path / "run").iterdir()}
    found = evaluated(replace(source, checkpoint=tmp_path / "run" / "best.safetensors")).to_dict()
    assert found["mean_absolute_error"] == pytest.approx(run.score, abs=1e-6)
    assert train(source.data, epochs=3, out=tmp_path / "run", **TRAINING).cached


def test_folds_divide_labels_that_are_no_classes(source: Source, tmp_path: Path) -> None:
    assert source.data is not None
    run = train(source.data, epochs=1, folds=2, out=tmp_path / "folds", **TRAINING)
    assert [(fold.training_images, fold.validation_images) for fold in run.folds] == [(20, 20), (20, 20)]
    assert "mean absolute error" in run.page() and run.to_dict()["folds"][0]["accuracy"] is None
    with pytest.raises(InputError, match="41 folds need 41"):
        train(source.data, epochs=1, folds=41, out=tmp_path / "more", **TRAINING)


@pytest.mark.parametrize("changes", [{"augment.mixup": 0.2}, {"loss": "focal"}, {"sampling": "balanced"}])
def test_settings_about_classes_are_refused(source: Source, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert source.data is not None
    with pytest.raises(InputError, match=f"`{next(iter(changes))}` is about classes") as caught:
        train(source.data, set=changes, out=tmp_path / "run", **TRAINING)
    assert caught.value.code == "class-settings"


def test_a_task_without_training_is_refused(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brightness.Brightness, "training", "")
    assert source.data is not None
    with pytest.raises(InputError, match="cannot be trained here"):
        train(source.data, out=tmp_path / "run", **TRAINING)


@pytest.mark.parametrize("options", [{"finetune": 1}, {"importance": "taylor"}])
def test_it_is_pruned_with_its_own_loss(source: Source, tmp_path: Path, options: dict[str, Any]) -> None:
    about = {"model": source.architecture, "task": source.task, **FLAGS, "resize": "none"}
    pruned = prune(
        source.checkpoint, data=source.data, out=tmp_path / "p.safetensors", macs="60%", round_to=4, **options, **about
    )
    assert pruned.facts["macs"]["after"] < pruned.facts["macs"]["before"]


def test_single_steps_compare_in_its_terms(source: Source, tmp_path: Path) -> None:
    about = {"model": source.architecture, "task": source.task, **FLAGS, "resize": "none"}
    assert source.data is not None
    exported = export(source.checkpoint, data=source.data, out=tmp_path / "b.onnx", **about)
    assert "brightness agreement 100.0%" in exported.page()
    assert (
        "mean_absolute_error" in evaluate(exported.artifact.path, data=source.data).to_dict()
    )  # the file says its task
    quantized = quantize(source.checkpoint, data=source.data, out=tmp_path / "q.onnx", **about)
    assert quantized.artifact.precision == "int8" and "brightness agreement" in quantized.page()


@pytest.mark.parametrize("stage", [Distill(), Qat()])
def test_stages_that_compare_classes_are_refused(source: Source, tmp_path: Path, stage: Stage) -> None:
    with (
        pytest.raises(InputError) as caught,
        run_stages((Export(), stage), source, tmp_path / "out.onnx", listener=ignore),
    ):
        pass
    assert caught.value.code == "needs-classes" and stage.kind in caught.value.message


@pytest.mark.parametrize(
    ("max_drop", "code", "says"),
    [
        (None, "no-budget", "how much worse the mean absolute error may be"),
        ("5%", "bad-max-drop", "--max-drop 5%"),
        (-1, "bad-max-drop", "--max-drop -1"),
        ("nan", "bad-max-drop", "--max-drop nan"),
        (4, "bad-max-drop", "can lose less than 4 levels"),
    ],
)
def test_a_budget_that_is_none_of_its_unit_is_refused(max_drop: float | str | None, code: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        budget_of(Budget(), brightness.TASK.metric, max_drop=max_drop)
    assert caught.value.code == code


@pytest.mark.parametrize(("max_drop", "value"), [(2, 2.0), ("0.5 levels", 0.5), ("1.5", 1.5)])
def test_a_budget_is_in_its_unit(max_drop: float | str, value: float) -> None:
    budget = budget_of(Budget(), brightness.TASK.metric, max_drop=max_drop, max_size="4 MB")
    assert (budget.max_drop, budget.max_size) == (value, 4_000_000)


def test_images_without_a_split_are_divided_by_the_seed(source: Source) -> None:
    assert source.data is not None
    lines = source.data.read_text().splitlines()
    source.data.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    recipe = Recipe(name="t", stages=(Export(),), calibration=Calibration(images=40))
    seen = []
    for seed in (0, 1, 0):
        data = open_inputs(replace(source, seed=seed), recipe, listener=ignore).data
        assert data.evaluation is not None and (len(data.calibration), len(data.evaluation)) == (40, 60)
        assert data.facts["split"] == f"made here: 50% held out by seed {seed}"
        seen.append(set(data.evaluation.ids))
        assert not seen[-1] & set(data.calibration.ids)
    assert seen[0] == seen[2] != seen[1]


def test_labels_that_the_task_cannot_read_are_refused(source: Source, tmp_path: Path) -> None:
    table = source.data
    assert table is not None
    table.write_text(table.read_text().replace("0.png,", "0.png,bright", 1))
    with pytest.raises(InputError, match="no numbers"):
        evaluated(source)


def test_an_unknown_task_is_refused_with_the_nearest(source: Source) -> None:
    with pytest.raises(InputError) as caught:
        evaluated(replace(source, task="brightnes"))
    assert caught.value.code == "unknown-task" and "brightness" in caught.value.hint
