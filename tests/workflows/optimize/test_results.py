"""What follows from the rows: the overall outcome, what is bundled, what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecnn.config.recipe import Budget
from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.measure.effort import profile_named
from edgecnn.measure.latency import Candidate, Process, summarise
from edgecnn.report.facts import NO_BUDGET, BudgetFacts
from edgecnn.report.model import Accuracy, Row, Speed
from edgecnn.tasks.classification.task import TASK
from edgecnn.tasks.task import Answers
from edgecnn.workflows.optimize.assessment import Assessment, speeds
from edgecnn.workflows.optimize.execution import Execution
from edgecnn.workflows.optimize.file_names import network_files
from edgecnn.workflows.optimize.recommendation import conclusions, deciding, overall, recommended
from edgecnn.workflows.optimize.results import limited, rows

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)


def speed(median_ms: float, conclusion: str = "") -> Speed:
    ratio: dict[str, Any] = {"speedup": 1.0, "speedup_low": 0.9, "speedup_high": 1.1} if conclusion else {}
    figures = {"median_low_ms": median_ms, "median_high_ms": median_ms, "p90_ms": median_ms, "p90_bound_ms": None}
    return Speed(
        median_ms=median_ms,
        interval="range",
        load_ms=1.0,
        first_ms=1.0,
        peak_rss_bytes=1,
        threads=1,
        processes=3,
        samples=300,
        conclusion=conclusion,
        **figures,
        **ratio,
    )


def row(precision: str, outcome: Any = None, *, format: str = "onnx", status: str = "ok", **more: Any) -> Row:
    accuracy = None
    if outcome is not None:
        accuracy = Accuracy("onnxruntime", 400, 350, 0.875, drop=0.0, drop_low=-0.004, drop_high=0.004)
    return Row(format, precision, "onnxruntime", status, outcome=outcome, accuracy=accuracy, size_bytes=10, **more)


def test_pass_needs_every_file_to_have_been_made() -> None:
    made = [row("fp32"), row("int8", "PASS"), row("int8", format="tflite", status="failed")]
    outcome, why = overall(made, TASK)
    assert outcome == "INCONCLUSIVE"
    assert "tflite int8" in why


def test_a_skipped_file_is_named_beside_the_pass() -> None:
    outcome, why = overall([row("fp32"), row("int8", "PASS"), row("fp32", format="tflite", status="skipped")], TASK)
    assert outcome == "PASS"
    assert "not made: tflite fp32" in why


@pytest.mark.parametrize("other", ["PASS", "INCONCLUSIVE"])
def test_one_failed_judgement_is_enough(other: str) -> None:
    assert overall([row("fp32"), row("int8", other), row("int8", "FAIL", format="tflite")], TASK)[0] == "FAIL"


def test_a_proven_file_is_bundled_unless_it_is_proven_slower() -> None:
    even = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=speed(3.01, "no measurable difference"))]
    slower = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=speed(4.0, "slower"))]
    assert recommended(even) is even[1]
    assert recommended(slower) is slower[0]


def test_a_file_on_the_way_that_is_over_the_budget_is_not_bundled() -> None:
    pruned = row("fp32", "PASS", variant="pruned", speed=speed(1.0))
    made = [row("fp32", speed=speed(3.0)), replace(pruned, size_bytes=40), row("int8", "PASS", speed=speed(2.0))]
    assert recommended(made) is made[1]
    assert recommended(made, BudgetFacts(max_size=20)) is made[2]
    assert recommended(made, BudgetFacts(max_latency=0.5)) is made[1], "nothing fits: the fastest"
    assert recommended(made, BudgetFacts(max_size=5)) is made[2], "nothing fits: the smallest that passed, not FP32"
    assert "over the budget" in conclusions(made, here=True, budget=BudgetFacts(max_latency=0.5))[-1]


def test_of_files_that_no_interval_tells_apart_the_smallest_is_bundled() -> None:
    quick, alike = replace(speed(1.0), median_high_ms=1.2), replace(speed(1.1), median_low_ms=0.9)
    made = [row("fp32", speed=speed(3.0)), row("fp16", "PASS", speed=quick), row("int8", "PASS", speed=alike)]
    made[2] = replace(made[2], size_bytes=5)
    assert recommended(made) is made[2]
    assert recommended([*made[:2], replace(made[2], speed=speed(1.3))]) is made[1]


@pytest.mark.parametrize("other", ["FAIL", "INCONCLUSIVE"])
def test_the_outcome_is_that_of_what_is_bundled(other: str) -> None:
    made = [row("fp32"), row("int8", "PASS"), row("int8", other, format="tflite")]
    bundled = deciding(made, NO_BUDGET)
    assert bundled is made[1]
    outcome, why = overall(made, TASK, bundled=bundled)
    assert outcome == "PASS"
    assert why == (
        f"onnx int8 is bundled: it loses at most 0.40 points, with 95 % confidence; not bundled: tflite int8 {other}"
    )
    assert overall(made, TASK)[0] == other, "where formats were named each has to pass"


def test_nothing_but_fp32_to_bundle_leaves_the_worst_outcome() -> None:
    slow = replace(speed(4.0, "slower"), speedup=0.7)
    made = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=slow), row("int8", "FAIL", format="tflite")]
    assert recommended(made) is made[0] and deciding(made, NO_BUDGET) is None
    over = [row("fp32"), replace(row("fp32", "PASS", variant="pruned"), size_bytes=8), row("int8", "FAIL")]
    assert recommended(over, BudgetFacts(max_size=5)) is over[1]
    assert deciding(over, BudgetFacts(max_size=5)) is None, "what is over the budget passes nothing"


def test_what_other_programs_disturbed_is_shown_and_decides_nothing() -> None:
    noisy = replace(speed(0.3, "too few processes to tell"), disturbed=True, grade="degraded", speedup=10.2)
    made = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=noisy)]
    made += [replace(row("int8", "PASS", format="tflite", speed=speed(2.0)), size_bytes=5)]
    assert recommended(made) is made[2], "the smallest, though it looks slower"
    said = conclusions(made, here=True)
    assert any("disturbed by other programs: too few processes to tell: 10.20x" in line for line in said)
    assert said[-1].endswith("(the smallest that passed: other programs disturbed the latencies, which decide nothing)")
    slow = [made[0], replace(made[1], speed=replace(noisy, speedup=0.2, conclusion="slower"))]
    assert recommended(slow) is slow[1], "nor does it look slow"
    quiet = replace(made[1], speed=replace(noisy, disturbed=False))
    assert recommended([made[0], quiet, made[2]]) is quiet


@pytest.mark.parametrize(("disturbed", "outcome"), [(False, "FAIL"), (True, "INCONCLUSIVE")])
def test_a_disturbed_latency_over_the_budget_is_not_a_fail(disturbed: bool, outcome: str) -> None:
    made = [row("fp32"), row("int8", "PASS", speed=replace(speed(3.0), disturbed=disturbed))]
    (judged,) = limited(made[1:], [Kind("onnx", "int8")], budget=Budget(max_latency=2.0), here=True)
    assert judged.outcome == outcome
    (judged,) = limited(made[1:], [Kind("onnx", "int8")], budget=Budget(max_latency=4.0), here=True)
    assert judged.outcome == "PASS", "noise makes it no faster"


def test_files_that_all_gain_are_not_said_to_lose() -> None:
    better = row("int8", "PASS")
    assert better.accuracy is not None
    gained = replace(better, accuracy=replace(better.accuracy, drop=-0.004, drop_low=-0.006, drop_high=-0.002))
    assert overall([row("fp32"), gained], TASK)[1].startswith("all gain 0.20 points of top-1 or more")
    assert "nothing but FP32" in overall([row("fp32")], TASK)[1]


def test_changed_checkpoints_that_differ_between_formats_are_both_delivered() -> None:
    kind = Kind("torch", "fp32", "pruned")

    def execution(format: Any, sha256: str) -> Execution:
        made = Artifact(Path("model.safetensors"), "torch", "fp32", (), (), sha256, variant="pruned")
        return Execution(format, networks={kind: made})

    assert list(network_files([execution("onnx", "1"), execution("tflite", "1")])) == ["model.pruned.safetensors"]
    apart = network_files([execution("onnx", "1"), execution("tflite", "2")])
    assert list(apart) == ["model.onnx.pruned.safetensors", "model.tflite.pruned.safetensors"]


@pytest.mark.parametrize("outcome", ["FAIL", "INCONCLUSIVE"])
def test_what_is_not_proven_is_not_bundled(outcome: str) -> None:
    made = [row("fp32", speed=speed(3.0)), row("int8", outcome, speed=speed(1.0, "faster"))]
    assert recommended(made) is made[0]
    assert any(f"bundled: onnx fp32 (onnx int8 {outcome}" in line for line in conclusions(made, here=True))


def test_int8_that_is_not_faster_is_said_to_be_so() -> None:
    made = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=speed(4.0, "slower"))]
    assert any("INT8 is not faster here" in line for line in conclusions(made, here=True))


def test_slower_as_far_as_one_process_can_tell_is_not_bundled() -> None:
    slow = speed(4.0, "too few processes to tell")
    made = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=replace(slow, speedup=0.75))]
    assert recommended(made) is made[0]


def test_an_invalid_measurement_chooses_nothing_and_is_not_quoted() -> None:
    quick = replace(speed(1.0, "invalid: no claim"), grade="invalid", speedup=3.0)
    made = [row("fp32", speed=speed(3.0)), row("int8", "PASS", speed=quick)]
    assert recommended(made) is made[1], "it passed, and nothing says that it is slower"
    said = conclusions(made, here=True)
    assert any("latency not claimed: the measurement is invalid" in line for line in said)
    assert any("the smallest that passed" in line for line in said)
    assert not any("3.00x" in line or "fastest" in line for line in said)
    slow = [made[0], replace(made[1], speed=replace(quick, speedup=0.5))]
    assert recommended(slow) is slow[0]


def test_memory_that_nobody_could_read_is_not_nought(tmp_path: Path) -> None:
    """trtexec tells none."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    artifact = Artifact(path, "onnx", "fp32", (), (), "0")
    process = Process(
        0, 0, (1e6,) * 100, 1, 5, 7, None, None, True, 0.0, {"usable_cores": 1, "governor": "performance"}
    )
    taken = summarise(
        Candidate("onnx fp32", artifact, "tensorrt", 1), [process], profile=profile_named("quick"), seed=0
    )
    assessment = Assessment(artifact, HOST.deployments[0], "onnxruntime", SimpleNamespace())
    assert speeds([taken], {"onnx fp32": assessment})["onnx fp32"].peak_rss_bytes is None


@pytest.mark.parametrize("useless", ["chance", "collapsed"])
def test_agreeing_with_a_useless_baseline_proves_nothing(tmp_path: Path, useless: str) -> None:
    labels = [index % 10 for index in range(100)]
    wrong = [(label + 3) % 10 for label in labels] if useless == "chance" else [7] * 100
    images = SimpleNamespace(labels=labels, ids=tuple(map(str, range(100))))
    answers = Answers(np.eye(10, dtype=np.float32)[wrong], images)  # type: ignore[arg-type]
    execution, found = Execution("onnx"), {}
    for precision in ("fp32", "int8"):
        path = tmp_path / f"{precision}.onnx"
        path.write_bytes(b"model")
        artifact = Artifact(path, "onnx", precision, (), (), precision)
        execution.artifacts[artifact.kind] = artifact
        found[artifact.kind] = Assessment(
            artifact, HOST.deployments[0], "onnxruntime", SimpleNamespace(), answers=answers
        )
    made = rows([execution], found, answers, task=TASK, max_drop=0.01)
    assert overall(made, TASK)[0] == "INCONCLUSIVE"
    assert "the baseline" in made[1].outcome_why
