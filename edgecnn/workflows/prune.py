"""Pruning alone: fewer channels, written as a checkpoint that opens like any other; judges nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgecnn.compress.prune.stage import Prune
from edgecnn.config.recipe import Calibration, Recipe
from edgecnn.config.yaml_file import bad_option
from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Listener, Warned
from edgecnn.core.store import Store, cannot_write
from edgecnn.data.preprocessing import Source
from edgecnn.measure.connection import this_host
from edgecnn.measure.layer_times import layer_times_on
from edgecnn.workflows.inputs import open_inputs
from edgecnn.workflows.optimize.execution import execute
from edgecnn.workflows.optimize.output import copy_into_place
from edgecnn.workflows.optimize.planning import HERE, RunContext, steps

SUFFIX = ".safetensors"
FLAGS = (
    " by one of macs, parameters, size, latency, such as `macs: 50%`",
    ", by one of --macs, --parameters, --size or --latency, such as --macs 50%",
)
"""How the stage asks for a target, and how the command does."""
SHOWN = {"macs": "MACs", "parameters": "parameters", "size": "bytes as INT8"}


@dataclass(frozen=True, slots=True)
class Smaller:
    """A pruned network's file. `facts` are those of the stage: costs and layers before and after, what was left whole
    (path to reason)."""

    artifact: Artifact
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        file = {"path": str(self.artifact.path), "size_bytes": self.artifact.size_bytes}
        return {**self.artifact.to_dict(), **file, **self.facts}

    def page(self) -> str:
        """Plain lines for a person: the costs, the layers, what was left whole and why."""
        facts = self.facts
        lines = [f"{self.artifact.path}  {self.artifact.kind}  {self.artifact.size_bytes / 1e6:.2f} MB", ""]
        rows = [("layer", "before", "after")]
        rows += [(item["name"], str(item["before"]), str(item["after"])) for item in facts["layers"]]
        lines += [*_aligned(rows), ""]
        rows = [(name, _short(facts[key]["before"]), _short(facts[key]["after"])) for key, name in SHOWN.items()]
        kept = [f"{facts[key]['after'] / max(facts[key]['before'], 1):.1%}" for key in SHOWN]
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


def _short(count: int) -> str:
    return f"{count / 1e6:,.2f} million" if count >= 1e5 else f"{count:,}"


def prune(source: Source, options: Mapping[str, Any], *, out: Path, listener: Listener) -> Smaller:
    """Prune the checkpoint of `source` as the stage `prune` with these options does, and write `out`.

    A killed run whose stage trains goes on where it was. Raises InputError, MissingError or StepError.
    """
    stage = _stage(options)
    if out.suffix != SUFFIX:
        raise InputError(
            "wrong-suffix", f"--out {out} does not end in {SUFFIX}", hint=f"--out {out.with_suffix(SUFFIX)}"
        )
    if out.is_dir():
        raise cannot_write(out, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    listener = _without_data(listener)
    images = max(1, stage.bn_images) if source.data is not None else 1
    recipe = Recipe(name="prune", stages=(stage,), calibration=Calibration(images=min(images, 100_000)))
    inputs = open_inputs(source, recipe, listener=listener, judges=False)
    store = Store(out.parent / f".{out.stem}.prune")
    store.prepare()
    connection = this_host()
    times = layer_times_on(connection, HERE, threads=1, listener=listener) if "layer times" in stage.inputs() else None
    context = RunContext(inputs.model, inputs.data, HERE, store, listener, source.seed, connection, times)
    checkpoint = Artifact(source.checkpoint, "torch", "fp32", (), (), inputs.model.sha256)
    try:
        execution = execute("onnx", steps(recipe, "onnx", context), source=checkpoint, context=context)
    except InputError:
        shutil.rmtree(store.root, ignore_errors=True)
        raise
    for error in execution.failed.values():
        raise error
    if not execution.networks:
        raise StepError("nothing-made", "no pruned network came of it", hint="--verbose shows the steps")
    artifact = next(iter(execution.networks.values()))
    facts = json.loads((artifact.path.parent / "facts.json").read_text())
    copy_into_place(artifact.path, out)
    shutil.rmtree(store.root, ignore_errors=True)
    return Smaller(artifact.at(out), facts)


def _without_data(listener: Listener) -> Listener:
    """That nothing can be calibrated or judged without images is no news here."""
    return lambda event: None if isinstance(event, Warned) and event.code == "no-data" else listener(event)


def _stage(options: Mapping[str, Any]) -> Prune:
    try:
        return Prune(**options)
    except ValidationError as error:
        refused = bad_option(error, command="prune")
        refused.message = refused.message.replace(*FLAGS)
        raise refused from error
