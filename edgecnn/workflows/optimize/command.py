"""`optimize` and `plan` as they are called: arguments in the words of the command line, a report or a plan back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.config.devices import load_device
from edgecnn.config.recipe import load_recipe
from edgecnn.core.events import Listener, ignore
from edgecnn.report.model import Report
from edgecnn.tasks import task as tasks
from edgecnn.workflows.arguments import PathLike, budget_of, formats_of, source_of, usage_error
from edgecnn.workflows.inputs import Inputs
from edgecnn.workflows.optimize import pipeline
from edgecnn.workflows.optimize.earlier_run import run_name
from edgecnn.workflows.optimize.request import Request

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments


def optimize(
    checkpoint: PathLike | nn.Module,
    *,
    target: str | None = None,
    device: str | None = None,
    data: PathLike | Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    recipe: str = "int8",
    max_drop: float | str | None = None,
    max_latency: float | str | None = None,
    max_size: float | str | None = None,
    out: PathLike | None = None,
    format: str | Sequence[str] | None = None,
    profile: str | None = None,
    threads: int = 1,
    seed: int = 0,
    remeasure: bool = False,
    again: bool = False,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> Report:
    """Take a checkpoint to verified INT8 files for a board: export, quantize, verify, measure, judge, report.

    `target` is a kind of board, `device` one of yours, on which files are then run. `max_drop` is the largest loss of
    top-1 that passes (0.01 or "1%"), or of another task's metric in its own unit; `max_latency` the longest median of
    one image in ms, `max_size` the largest file in bytes. Results lie in `out`, runs/CKPT-TARGET unless given (for a
    training's best.safetensors, CKPT is its run's name); those of another network are replaced `again` only. A killed
    run goes on where it stopped.

    `checkpoint` may be an nn.Module, which is copied and left as it is; its weights are then written to `out`. `data`
    may be an iterable of (images, labels), such as a DataLoader: tensors as the network takes them, float
    (N, C, H, W), and output indices. Half of each class then calibrates and half judges, unless it is a mapping
    `{"train": ..., "val": ...}`; `mean` and `std` say how the tensors were normalised, for the bundle's sake.

    Raises EdgecnnError when the inputs are wrong or no file could be made at all; a file that fails alone is a row of
    the report.
    """
    request = request_of(
        source_of(
            checkpoint,
            model=model,
            weights=weights,
            data=data,
            class_map=class_map,
            task=task,
            seed=seed,
            preprocessing=preprocessing,
        ),
        target=target,
        device=device,
        recipe=recipe,
        budget={"max_drop": max_drop, "max_latency": max_latency, "max_size": max_size},
        out=out,
        format=format,
        profile=profile,
        threads=threads,
        remeasure=remeasure,
        again=again,
    )
    return replace(pipeline.run(request, listener=listener), out=request.out)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `optimize` would do: the request, the inputs as they were read, and the steps."""

    request: Request
    inputs: Inputs
    steps: tuple[pipeline.PlanEntry, ...]

    def to_dict(self) -> dict[str, Any]:
        request, inputs = self.request, self.inputs
        return {
            "target": request.target.name,
            "recipe": request.recipe.name,
            "out": str(request.out),
            "model": inputs.model.name,
            "data": dict(inputs.data.facts),
            "preprocessing": inputs.data.preprocessing.to_dict(),
            "preprocessing_source": inputs.preprocessing_source,
            "budget": request.budget,
            "profile": request.profile,
            "threads": request.threads,
            "steps": self.steps,
        }


def plan(
    checkpoint: PathLike,
    *,
    target: str | None = None,
    device: str | None = None,
    data: PathLike | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    recipe: str = "int8",
    max_drop: float | str | None = None,
    max_latency: float | str | None = None,
    max_size: float | str | None = None,
    out: PathLike | None = None,
    format: str | Sequence[str] | None = None,
    profile: str | None = None,
    threads: int = 1,
    seed: int = 0,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> Plan:
    """What `optimize` would do with the same arguments. It reads the checkpoint and the images, and runs nothing."""
    request = request_of(
        source_of(
            checkpoint,
            model=model,
            weights=weights,
            data=data,
            class_map=class_map,
            task=task,
            seed=seed,
            preprocessing=preprocessing,
        ),
        target=target,
        device=device,
        recipe=recipe,
        budget={"max_drop": max_drop, "max_latency": max_latency, "max_size": max_size},
        out=out,
        format=format,
        profile=profile,
        threads=threads,
    )
    inputs, steps = pipeline.plan(request, listener=listener)
    return Plan(request, inputs, tuple(steps))


def request_of(
    source: Any,
    *,
    target: str | None,
    device: str | None = None,
    recipe: str,
    budget: dict[str, float | str | None] | None = None,
    out: PathLike | None,
    format: str | Sequence[str] | None = None,
    profile: str | None = None,
    threads: int = 1,
    remeasure: bool = False,
    again: bool = False,
) -> Request:
    """The request that the arguments come to. Raises InputError for names that mean nothing."""
    if target is not None and device is not None:
        raise usage_error("--target builds for a kind of board, --device for a board of yours: give one", "optimize")
    board, chosen = load_device(device or target or "host"), load_recipe(recipe)
    return Request(
        source=source,
        target=board,
        recipe=chosen,
        out=Path(out) if out is not None else Path("runs") / f"{run_name(source.checkpoint)}-{board.name}",
        budget=budget_of(chosen.budget, tasks.find(source.task).metric, **(budget or {})),
        profile=profile or chosen.measure.profile,
        threads=threads,
        formats=formats_of(format),
        remeasure=remeasure,
        again=again,
        on_device=device is not None,
    )
