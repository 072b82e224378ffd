"""`edgecnn plan`: what `optimize` would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgecnn.cli import options
from edgecnn.cli.command import command

if TYPE_CHECKING:
    from edgecnn.workflows.optimize.command import Plan


def page(plan: Plan, options: Mapping[str, Any]) -> Any:
    """The inputs in lines, the steps in a table."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from edgecnn.core.errors import install_hint
    from edgecnn.data.preprocessing import in_words

    request, inputs = plan.request, plan.inputs
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("format", "step", "options", "state"):
        table.add_column(title, overflow="fold")
    for step in plan.steps:
        state = f"missing: {install_hint(step.missing)}" if step.missing else "done" if step.cached else "to do"
        table.add_row(step.format, step.name, ", ".join(_settings(step.options)), state)
    evaluation = len(inputs.data.evaluation) if inputs.data.evaluation is not None else 0
    ladder = ", ".join(fallback.kind for fallback in request.recipe.ladder)
    threads = f"{request.threads} thread{'s' if request.threads > 1 else ''}"
    drop, metric = request.budget.max_drop, inputs.task.metric
    largest = f"{drop:.2%}" if metric.share else f"{drop:g} {metric.unit}".rstrip()
    lines = [
        f"model   {inputs.model.name}, {inputs.model.num_classes} classes",
        f"target  {request.target.title}",
        f"images  {len(inputs.data.calibration)} to calibrate, {evaluation} to judge",
        f"input   {in_words(inputs.data.preprocessing)} ({inputs.preprocessing_source})",
        f"then    lint, verify, measure ({request.profile}, {threads}), judge (at most {largest} drop), report",
        *([f"ladder  where that misses the budget: {ladder}"] if ladder else []),
        f"out     {request.out}",
    ]
    return Group(*(Text(line) for line in lines), table)


def _settings(options: Mapping[str, Any]) -> Iterator[str]:
    """Options as `name=value`; of settings that hold others, how long, and those that differ from the usual."""
    from edgecnn.train.settings import Augment, TrainSettings

    usual = {**TrainSettings().model_dump(mode="json"), "augment": None, **Augment().model_dump(mode="json")}
    del usual["epochs"]
    for name, value in options.items():
        if isinstance(value, dict):
            inner = {key: item for key, item in value.items() if key not in usual or item != usual[key]}
            yield from _settings(inner)
        elif value not in ((), [], None):
            yield f"{name}={value}"


@command("edgecnn.workflows.optimize.command:plan", printer=page, preprocessing_before="seed")
def plan(
    checkpoint: options.Checkpoint,
    target: options.Target = None,
    device: options.OnDevice = None,
    data: options.DataDir = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    task: options.TaskName = "classification",
    recipe: options.RecipeName = "int8",
    max_drop: options.MaxDrop = None,
    max_latency: options.MaxLatency = None,
    max_size: options.MaxSize = None,
    out: options.Out = None,
    format: options.Formats = None,
    profile: options.ProfileName = None,
    threads: options.Threads = 1,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Show what `optimize` would do: stages, formats, what is cached, what is missing. Runs nothing."""
