"""Request: what the user asked of `optimize`, validated before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.compress.prune.stage import Prune
from edgecnn.config.recipe import Budget, Recipe
from edgecnn.core.artifact import FormatName
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import InputError
from edgecnn.core.quantities import in_words
from edgecnn.core.stage import Stage
from edgecnn.core.store import require_folder
from edgecnn.data.preprocessing import Source
from edgecnn.workflows.inputs import Inputs, refuse_among_images


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for. `formats` None means those the target delivers; `on_device` to run the files on the
    target itself, which must be reachable then; `again` to replace the results of another network in `out`."""

    source: Source
    target: DeviceProfile
    recipe: Recipe
    out: Path
    budget: Budget
    profile: str
    threads: int = 1
    formats: tuple[FormatName, ...] | None = None
    remeasure: bool = False
    again: bool = False
    on_device: bool = False

    @property
    def wanted(self) -> tuple[FormatName, ...]:
        return self.formats or self.target.delivered

    @property
    def here(self) -> bool:
        """Whether what is measured is measured on the target itself."""
        return self.target.local or self.on_device


def validate(request: Request) -> None:
    """Raise InputError for what no inputs could make right."""
    for format in request.wanted:
        if request.target.deployment(format) is None:
            raise InputError(
                "wrong-format",
                f"{request.target.name} does not run {format}",
                hint="it runs: " + ", ".join(item.format for item in request.target.deployments),
            )
    require_folder(request.out)
    refuse_among_images(request.out, request.source.data)
    _validate_measurable(request)
    _validate_pruning(request)


def validate_inputs(request: Request, inputs: Inputs) -> None:
    """Raise InputError for what contradicts the network or the images."""
    _validate_training(request, inputs)
    _validate_size(request, inputs)


def _validate_measurable(request: Request) -> None:
    if request.budget.max_latency is None or request.here:
        return
    way = f"--device {request.target.name}" if request.target.connect else "edgecnn devices add NAME --ssh USER@HOST"
    raise InputError(
        "unmeasurable-budget",
        f"{request.budget.max_latency:g} ms on {request.target.name} cannot be promised from here",
        why="it is not this machine, and no board is asked",
        hint=f"measure on the board: {way}; or leave out --max-latency",
    )


def _validate_pruning(request: Request) -> None:
    """A pruning to more bytes or milliseconds than the budget allows asks for what is then refused.

    `prune` times and limits what comes before `quantize`: bytes as INT8, milliseconds in FP32. So a latency contradicts
    only where FP32 is shipped.
    """
    limits: list[tuple[str, str, str, float | None]] = [("size", "B", "--max-size", request.budget.max_size)]
    if not {"cast", "quantize"} & {stage.kind for stage in request.recipe.stages}:
        limits.append(("latency", "ms", "--max-latency", request.budget.max_latency))
    for stage in request.recipe.stages:
        for option, unit, flag, limit in limits if isinstance(stage, Prune) else ():
            amount = getattr(stage, option)
            if limit is not None and amount is not None and amount.unit == unit and amount.value > limit:
                pruned, allowed = in_words(amount.value, unit), in_words(limit, unit)
                raise InputError(
                    "budget-contradiction",
                    f"the recipe '{request.recipe.name}' prunes to {pruned}, and {flag} allows {allowed}",
                    hint=f"write `- prune: {{{option}: {allowed}}}` in the recipe, or allow more with {flag}",
                )


def _validate_training(request: Request, inputs: Inputs) -> None:
    """Some stages learn from images: better said before the first of them runs."""
    training = inputs.data.training
    bare = training is not None and training.labels is None

    def lacks(stage: Stage) -> bool:
        return stage.trains and (training is None or (bare and "labels" in stage.inputs()))

    needy = [stage.kind for stage in request.recipe.stages if lacks(stage)]
    if not needy:
        return
    rest = ", ".join(stage.kind for stage in request.recipe.stages if not lacks(stage))
    why = "the images in train/ have no labels" if bare else f"{request.source.data} has no train/ folder"
    raise InputError(
        "no-training-images",
        f"the recipe '{request.recipe.name}' trains ({', '.join(needy)}), and there are no images to train on",
        why="no --data was given" if request.source.data is None else why,
        hint=f"lay them out as DIR/train/CLASS/*.jpg; without them these stages remain: {rest} (--recipe int8)",
    )


def _validate_size(request: Request, inputs: Inputs) -> None:
    """A size that the weights alone exceed at the recipe's precision contradicts the recipe."""
    limit, kinds = request.budget.max_size, {stage.kind for stage in request.recipe.stages}
    if limit is None or not kinds <= {"export", "cast", "quantize", "qat"}:
        return
    width = 1 if "quantize" in kinds else 2 if "cast" in kinds else 4
    least = inputs.model.parameters * width
    if least <= limit:
        return
    raise InputError(
        "budget-contradiction",
        f"--max-size {in_words(limit, 'B')} cannot be met by the recipe '{request.recipe.name}'",
        why=f"{inputs.model.parameters:,} parameters in {8 * width} bits each are {in_words(least, 'B')}",
        hint="prune first (--recipe prune50-int8), take a smaller network (--recipe distill-small), or allow more",
    )
