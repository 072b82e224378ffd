"""Search on a real network: it starts when it must, chooses on some images and certifies on others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from edgecnn.compress.fallbacks import Attempt, Fallback, Known, Stages
from edgecnn.compress.fallbacks.calibrate import Calibrate
from edgecnn.config.recipe import Budget, Calibration, Recipe
from edgecnn.core.artifact import Artifact, Kind, sha256_of
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Warned, ignore
from edgecnn.core.stage import Context, Stage
from edgecnn.core.store import Store
from edgecnn.data.preprocessing import Source
from edgecnn.formats.export_stage import Export
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.report.model import Report
from edgecnn.report.search import NOTHING_SMALLER
from edgecnn.workflows.inputs import open_inputs
from edgecnn.workflows.optimize import search
from edgecnn.workflows.optimize.assessment import gather
from edgecnn.workflows.optimize.ladder import SearchHistory, trials_of
from edgecnn.workflows.optimize.pipeline import build, run
from edgecnn.workflows.optimize.planning import RunContext
from edgecnn.workflows.optimize.request import Request
from edgecnn.workflows.optimize.search import run_strategy
from edgecnn.workflows.optimize.trial import Evaluator
from edgecnn.workflows.optimize.verification import checkpoint_answers

if TYPE_CHECKING:
    from workbench import Workbench

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)


class Spoil(Stage):
    """Write the FP32 file as INT8, with its answers for a share of the images turned wrong by the last layer's bias."""

    kind: ClassVar[str] = "spoil"
    shift: float = 0.0

    def produces(self, source: Kind, wanted: str) -> Kind | None:  # type: ignore[override]
        return source._replace(precision="int8") if source[:2] == (wanted, "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        import onnx

        model = onnx.load(source.path)
        for tensor in model.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.shape == (4,):
                shifted = (array + np.array([self.shift, 0, 0, 0])).astype(array.dtype)
                tensor.CopyFrom(onnx.numpy_helper.from_array(shifted, tensor.name))
        out = context.workdir / "model.int8.onnx"
        onnx.save(model, out)
        return Artifact(out, "onnx", "int8", source.inputs, source.outputs, sha256_of(out), (*source.history, "spoil"))


class Mend(Fallback):
    """Spoil less, step by step."""

    kind: ClassVar[str] = "mend"
    shifts: tuple[float, ...] = (0.0,)

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        for shift in self.shifts:
            yield Attempt(f"mend {shift:g}", (*stages[:-1], Spoil(shift=shift)))


class Slow(Mend):
    kind: ClassVar[str] = "slow"
    costs_latency: ClassVar[bool] = True

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        yield Attempt("slow and right", (*stages[:-1], Spoil()))


class Hopeless(Fallback):
    kind: ClassVar[str] = "hopeless"

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        raise AssertionError("a hopeless fallback is not tried")

    def skip_reason(self, known: Known) -> str:
        return f"agreement {known.agreement:.2f}"


class Broken(Fallback):
    kind: ClassVar[str] = "broken"

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        yield Attempt("broken layer", (Export(), Quantize(keep_float=("no such layer",))))
        raise StepError("no-idea", "nothing more comes to mind")


class Crashing(Fallback):
    kind: ClassVar[str] = "crashing"

    def attempts(self, stages: Stages, known: Known) -> Iterator[Attempt]:
        raise ZeroDivisionError("a plug-in's own")
        yield Attempt("never", stages)


class Learn(Mend):
    kind: ClassVar[str] = "learn"
    trains: ClassVar[bool] = True


WRECK = 40.0
"""What turns every answer wrong; a fifth of it more than half of them."""


def recipe(*fallbacks: Fallback, shift: float = WRECK) -> Recipe:
    return Recipe(name="t", stages=(Export(), Spoil(shift=shift)), ladder=fallbacks, calibration=Calibration(images=16))


def request_of(
    bench: Workbench, folder: Path, wanted: Recipe, *, data: Path | None = None, max_drop: float = 0.15, **more: object
) -> Request:
    fields = {"resize": None, "crop": (32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    source = Source(bench.checkpoint, bench.model, data or bench.data, None, fields)
    budget = Budget(max_drop=max_drop, **more)
    return Request(source=source, target=HOST, recipe=wanted, out=folder / "out", budget=budget, profile="smoke")


@pytest.fixture(scope="module")
def exported(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The FP32 file that every recipe here begins with, as a store keeps it."""
    folder = tmp_path_factory.mktemp("exported")
    run(request_of(bench, folder, recipe(shift=0.0)), listener=ignore)
    return list((folder / "out" / ".store").glob("export-*"))


@pytest.fixture
def optimized(bench: Workbench, exported: list[Path], tmp_path: Path) -> Iterator[object]:
    """`optimized(recipe)`: the main job on the sixty evaluation images, in this process."""
    for step in exported:
        shutil.copytree(step, tmp_path / "out" / ".store" / step.name)

    def go(wanted: Recipe, *, events: list[Event] | None = None, **more: object) -> Report:
        request = request_of(bench, tmp_path, wanted, **more)
        return run(request, listener=(events if events is not None else []).append)

    yield go


def test_what_passes_is_not_searched(optimized) -> None:
    report = optimized(recipe(Hopeless(), shift=0.0))
    (told,) = report.searches
    assert (report.outcome, told.chosen, told.outcome, report.confidence) == ("PASS", search.AS_WRITTEN, None, 0.975)
    assert [tried.state for tried in told.attempts] == ["within"]
    (row,) = [row for row in report.rows if row.precision == "int8"]
    assert row.accuracy.images == 60  # nothing was chosen, so all images judge


def test_the_first_rung_that_would_be_certified_is_taken_and_certified_on_other_images(optimized, tmp_path) -> None:
    report = optimized(recipe(Mend(shifts=(WRECK / 2, 0.0)), Slow()))
    (told,) = report.searches
    assert [(tried.label, tried.state) for tried in told.attempts] == [
        (search.AS_WRITTEN, "over"),
        (search.ON_SEARCH_IMAGES, "over"),
        (f"mend {WRECK / 2:g}", "over"),
        ("mend 0", "within"),
    ]
    assert (told.searching, told.certifying, told.chosen, told.outcome) == (30, 30, "mend 0", "PASS")
    (row,) = [row for row in report.rows if row.precision == "int8"]
    assert (report.outcome, row.outcome, row.accuracy.images) == ("PASS", "PASS", 30)
    delivered = tmp_path / "out" / "artifacts" / "model.int8.onnx"
    assert sha256_of(delivered) == row.sha256  # what is delivered is what was certified
    archived = json.loads((tmp_path / "out" / "report.json").read_text())["climbs"]
    assert archived[0]["chosen"] == "mend 0"
    assert "mend 0 (delivered)" in (tmp_path / "out" / "report.md").read_text()


def test_nothing_passes_and_the_closest_is_said(optimized) -> None:
    report = optimized(recipe(Mend(shifts=(WRECK / 5, WRECK / 2)), Learn(shifts=(WRECK / 1.02,))))
    (told,) = report.searches
    assert report.outcome == "FAIL"
    assert told.outcome == "FAIL"
    assert "no attempt is within the budget" in told.why
    assert "points over it" in told.why
    assert told.chosen == min((tried for tried in told.attempts[1:] if tried.drop), key=lambda tried: tried.drop).label


def test_the_recipe_as_written_is_delivered_where_every_fallback_is_worse(optimized) -> None:
    report = optimized(recipe(Mend(shifts=(WRECK, WRECK * 2)), shift=WRECK / 5))
    (told,) = report.searches
    assert (told.chosen, told.outcome) == (search.AS_WRITTEN, report.outcome)
    assert "as written came closest" in told.why
    (row,) = [row for row in report.rows if row.precision == "int8"]
    assert row.accuracy.images == 60


def test_a_rung_that_changes_nothing_is_not_judged_twice(optimized) -> None:
    report = optimized(recipe(Mend(shifts=(WRECK, 0.0)), Calibrate()))
    states = {tried.label: (tried.state, tried.why) for tried in report.searches[0].attempts}
    assert states[f"mend {WRECK:g}"] == ("no better", "it makes the same file as: as written")
    assert report.searches[0].chosen == "mend 0"


def test_a_rung_that_has_nothing_to_change_says_so(optimized) -> None:
    report = optimized(recipe(Calibrate(), Mend(shifts=())))
    attempts = report.searches[0].attempts[2:]
    assert [(tried.label, tried.state, tried.why) for tried in attempts] == [
        ("calibrate", "not possible", "no `quantize` on the way to onnx"),
        ("mend", "not possible", "there is nothing left that it could change"),
    ]
    assert report.searches[0].why == "no fallback could be tried"


def test_an_attempt_over_the_size_is_not_within_the_budget(optimized) -> None:
    report = optimized(recipe(Mend()), max_size="4 kB")
    told = report.searches[0]
    assert [tried.state for tried in told.attempts] == ["over", "over", "over"]
    assert all("the budget is 4 kB" in tried.why for tried in told.attempts)
    assert told.why.startswith("no attempt is within the budget; mend 0 came closest")
    assert report.outcome == "FAIL"


@pytest.mark.parametrize(
    ("prune", "budget", "said"),
    [
        ({"size": "2 MB"}, {"max_size": "1 MB"}, "prunes to 2 MB, and --max-size allows 1 MB"),
        ({"latency": "8 ms"}, {"max_latency": "5 ms"}, "prunes to 8 ms, and --max-latency allows 5 ms"),
    ],
)
def test_a_pruning_that_contradicts_the_budget(optimized, prune: dict, budget: dict, said: str) -> None:
    from edgecnn.compress.prune.stage import Prune

    with pytest.raises(InputError) as refused:
        optimized(Recipe(name="t", stages=(Prune.model_validate(prune), Export())), **budget)
    assert refused.value.code == "budget-contradiction"
    assert said in refused.value.message


def test_rungs_that_cannot_or_need_not_be_tried(optimized) -> None:
    events: list[Event] = []
    report = optimized(recipe(Hopeless(), Crashing(), Broken(), Mend()), events=events)
    states = {tried.label: (tried.state, tried.why) for tried in report.searches[0].attempts}
    assert states["hopeless"][0] == "hopeless"
    assert states["hopeless"][1].startswith("agreement 0.")
    assert states["broken layer"] == ("failed", "keep_float names no layer: no such layer")
    assert states["crashing"] == ("failed", "the fallback crashing failed")
    assert states["broken"] == ("failed", "nothing more comes to mind")
    assert states["mend 0"][0] == "within"
    assert report.outcome == "PASS"
    assert any(isinstance(event, Warned) and event.code == "unknown-layer" for event in events)


def test_a_rung_that_wins_back_nothing_is_left(optimized) -> None:
    report = optimized(recipe(Mend(shifts=(WRECK, WRECK + 1, WRECK + 2, 0.0)), Slow()))
    labels = [(tried.label, tried.state) for tried in report.searches[0].attempts]
    assert (f"mend {WRECK + 2:g}", "no better") in labels
    assert ("mend 0", "within") not in labels  # the fallback was left before
    assert report.searches[0].attempts[-1].fallback == "slow"
    assert report.outcome == "PASS"


def test_too_few_images_to_certify_on_are_said_before_anything_is_tried(optimized) -> None:
    report = optimized(recipe(Mend()), max_drop=0.02)
    (told,) = report.searches
    assert len(told.attempts) == 1
    assert report.confidence == 0.95
    assert told.why.startswith("not searched: 30 images to certify on prove no drop of at most 2.00 %: about 366 ")
    assert report.outcome == "FAIL"


def test_a_second_search_finds_every_attempt(optimized) -> None:
    wanted = recipe(Mend(shifts=(WRECK / 2, 0.0)))
    first = optimized(wanted)
    events: list[Event] = []
    second = optimized(wanted, events=events)
    assert second.searches[0].chosen == first.searches[0].chosen
    assert [tried.drop for tried in second.searches[0].attempts] == [tried.drop for tried in first.searches[0].attempts]
    assert all(record.cached for record in second.stages)


def test_no_training_images_make_a_fallback_that_trains_impossible(optimized, bench, tmp_path) -> None:
    judging = tmp_path / "only"
    judging.mkdir()
    (judging / "val").symlink_to(bench.data / "val")
    report = optimized(recipe(Learn(), Mend()), data=judging, max_drop=0.3)
    states = {tried.label: tried.state for tried in report.searches[0].attempts}
    assert states["learn"] == "not possible"


def test_a_size_budget_judges_what_is_shipped(optimized) -> None:
    report = optimized(recipe(shift=0.0), max_size="0.1 MB")
    (row,) = [row for row in report.rows if row.precision == "int8"]
    assert row.size_bytes < 100_000
    assert row.outcome == "PASS"
    with pytest.raises(InputError) as refused:
        optimized(Recipe(name="t", stages=(Export(), Quantize())), max_size="1 kB")
    assert refused.value.code == "budget-contradiction"
    assert refused.value.why == "2,884 parameters in 8 bits each are 2.884 kB"


def test_a_file_that_is_only_too_large_is_not_searched_for(optimized) -> None:
    """No fallback makes a file smaller. What is bundled is the smallest that kept its accuracy."""
    report = optimized(recipe(Mend(), shift=0.0), max_size="4 kB")
    (told,) = report.searches
    assert [(tried.label, tried.state) for tried in told.attempts] == [(search.AS_WRITTEN, "over")]
    assert told.why == NOTHING_SMALLER
    assert report.outcome == "FAIL"
    assert report.conclusions[-1].endswith("(over the budget, as is everything that kept its accuracy)")


def test_a_latency_budget_is_held_against_the_measured_median(optimized) -> None:
    report = optimized(recipe(shift=0.0), max_latency="1 us")
    (row,) = [row for row in report.rows if row.precision == "int8"]
    assert row.outcome in ("FAIL", "INCONCLUSIVE")
    assert "the budget is 0.001 ms" in row.outcome_why


def test_an_evaluator_needs_no_ladder_and_changes_nothing(bench: Workbench, tmp_path: Path) -> None:
    """Any strategy may call it: the same stages give the same trial, and the baseline stays as it was."""
    request = request_of(bench, tmp_path, recipe(shift=0.0), max_drop=0.3)
    inputs = open_inputs(request.source, request.recipe, listener=ignore)
    context = RunContext(inputs.model, inputs.data, HOST, Store(tmp_path / "store"), ignore, seed=0, task=inputs.task)
    (execution,) = build(request, context)
    baseline = gather([execution], context)[Kind("onnx", "fp32")]
    before = replace(baseline, records=list(baseline.records))
    checkpoint, _ = checkpoint_answers(context)
    assert checkpoint is not None
    evaluate = Evaluator.create(request, context, "onnx", checkpoint, baseline)
    first, again = (evaluate((Export(), Spoil(shift=WRECK)), label="spoilt") for _ in range(2))
    assert not first.passes
    assert (first.sha256, first.judgement, first.row().drop) == (again.sha256, again.judgement, again.row().drop)
    assert baseline == before

    def strategy(history: SearchHistory) -> tuple[Fallback, Attempt] | None:
        return None if len(history) > 1 else (Mend(), Attempt("mended", (Export(), Spoil())))

    history = run_strategy(strategy, evaluate, first)
    assert [(trial.label, trial.passes) for trial in trials_of(history)] == [("spoilt", False), ("mended", True)]
