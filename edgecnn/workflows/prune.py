"""Pruning alone: fewer channels, written as a checkpoint that opens like any other. Nothing is judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.compress.prune.stage import Prune
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, scoped
from edgecnn.core.events import ignore as unheard
from edgecnn.core.result import Result
from edgecnn.data.preprocessing import Source
from edgecnn.workflows.arguments import PathLike, path_or_none, source_of, stated, usage_error
from edgecnn.workflows.single_stage import checkpoint_out, file_facts, file_line, run, stage_from
from edgecnn.workflows.train.request import settings_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments

FLAGS = (
    " by one of macs, parameters, size, latency, such as `macs: 50%`",
    ", by one of --macs, --parameters, --size or --latency, such as --macs 50%",
)
"""How the stage asks for a target, and how the command does."""
COSTS = {"macs": "MACs", "parameters": "parameters", "size": "bytes as INT8"}
CALIBRATION_LIMIT = 100_000
"""A recipe calibrates on at most so many images."""


@dataclass(frozen=True, slots=True)
class PruneResult(Result):
    """A pruned network's file. `facts` are those of the stage: costs and layers before and after, layers left unpruned
    (path to reason)."""

    artifact: Artifact
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {**file_facts(self.artifact), **self.facts}

    def page(self) -> str:
        """Plain lines for a person: the layers, the costs, what was not pruned and why."""
        facts = self.facts
        lines = [file_line(self.artifact), ""]
        rows = [("layer", "before", "after")]
        rows += [(item["name"], str(item["before"]), str(item["after"])) for item in facts["layers"]]
        lines += [*_aligned(rows), ""]
        rows = [(name, _count(facts[key]["before"]), _count(facts[key]["after"])) for key, name in COSTS.items()]
        kept = [f"{facts[key]['after'] / max(facts[key]['before'], 1):.1%}" for key in COSTS]
        lines += [f"{line}  {share}" for line, share in zip(_aligned(rows), kept, strict=True)]
        if latency := facts.get("latency"):
            before, after, asked = (latency[name] / 1e6 for name in ("before_ns", "after_ns", "budget_ns"))
            said = f"layers together on this machine: {before:.3f} ms before, {after:.3f} ms after"
            lines += ["", f"{said} ({latency['speedup']:.2f}x); asked for: {asked:.3f} ms"]
        if facts["importance"] == "reconstruction":
            said = "layers that read fewer channels got weights that make up for it"
            lines += ["", f"{said}, from {facts['importance_images']} training images"]
        by_reason: dict[str, list[str]] = {}
        for path, why in facts["left_whole"].items():
            by_reason.setdefault(why, []).append(path)
        if by_reason:
            lines += ["", "left whole:", *(f"  {', '.join(paths)}: {why}" for why, paths in by_reason.items())]
        return "\n".join(lines)


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]


def _count(count: int) -> str:
    return f"{count / 1e6:,.2f} million" if count >= 1e5 else f"{count:,}"


def prune(
    checkpoint: PathLike,
    *,
    out: PathLike | None = None,
    macs: str | None = None,
    parameters: str | None = None,
    size: str | None = None,
    latency: str | None = None,
    importance: str | None = None,
    round_to: int | None = None,
    max_layer: str | None = None,
    ignore: Sequence[str] | None = None,
    isomorphic: bool = False,
    iterations: int | None = None,
    finetune: int | None = None,
    config: PathLike | None = None,
    data: PathLike | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    seed: int = 0,
    listener: Listener = unheard,
    **preprocessing: Unpack[PreprocessingArguments],
) -> PruneResult:
    """Take the least important channels away until the network costs what one of `macs`, `parameters`, `size` and
    `latency` says, such as "50%", and write `out`, a .safetensors file (None: beside the checkpoint).
    Judges nothing.

    `finetune` are epochs of training after each of the `iterations`, with the settings in the file `config`. A killed
    run that trains goes on where it was. Raises InputError, MissingError or StepError.
    """
    if config is not None and finetune is None:
        raise usage_error("--config says how to train: give --finetune EPOCHS", "prune")
    source = source_of(
        checkpoint,
        model=model,
        weights=weights,
        data=data,
        class_map=class_map,
        task=task,
        seed=seed,
        preprocessing=preprocessing,
    )
    training = None if finetune is None else settings_of(path_or_none(config), {"epochs": finetune})
    options = stated(
        macs=macs,
        parameters=parameters,
        size=size,
        latency=latency,
        importance=importance,
        round_to=round_to,
        max_layer=max_layer,
        ignore=ignore or None,
        isomorphic=isomorphic or None,
        iterations=iterations,
        finetune=training,
    )
    return _prune(source, options, out=path_or_none(out), listener=listener)


def _prune(source: Source, options: Mapping[str, Any], *, out: Path | None, listener: Listener) -> PruneResult:
    """Prune the checkpoint of `source` as the stage `prune` with these options does, and write `out`.

    A killed run continues when it is called again. Raises InputError, MissingError or StepError.
    """
    stage = _stage(options)
    out = checkpoint_out(out, source, "pruned")
    images = min(max(1, stage.bn_images if source.data is not None else 1), CALIBRATION_LIMIT)
    listener = scoped(listener, drop=("no-data",))  # without images nothing is calibrated or judged here
    with run((stage,), source, out, listener=listener, calibration_images=images) as pruned:
        facts = json.loads((pruned.artifact.path.parent / "facts.json").read_text())
    return PruneResult(pruned.artifact.at(out), facts)


def _stage(options: Mapping[str, Any]) -> Prune:
    try:
        stage: Prune = stage_from(Prune, options)
    except InputError as error:
        error.message = error.message.replace(*FLAGS)
        raise
    return stage
