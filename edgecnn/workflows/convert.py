"""One step of the main path alone: export a checkpoint, or quantize it, without measuring or judging."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgecnn.config.recipe import Calibration, Recipe
from edgecnn.config.yaml_file import bad_option
from edgecnn.core.artifact import SUFFIXES, Artifact, Format, Kind
from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.events import Listener
from edgecnn.core.stage import Stage
from edgecnn.core.store import Store, cannot_write
from edgecnn.data.preprocessing import Source
from edgecnn.formats.cast_stage import Cast
from edgecnn.formats.export_stage import Export
from edgecnn.quantize.stage import Quantize
from edgecnn.report.model import Parity
from edgecnn.workflows.inputs import open_inputs
from edgecnn.workflows.optimize.assessment import answer, gather, lint, reference, verify
from edgecnn.workflows.optimize.execution import execute
from edgecnn.workflows.optimize.output import copy_into_place
from edgecnn.workflows.optimize.planning import HERE, RunContext, steps


@dataclass(frozen=True, slots=True)
class Made:
    """A file and what was checked of it. `images` says on which: evaluation, calibration or synthetic ones."""

    artifact: Artifact
    parity: Parity | None
    fusion: Mapping[str, Any] | None
    images: str

    def to_dict(self) -> dict[str, Any]:
        parity = asdict(self.parity) if self.parity else None
        return {
            **self.artifact.to_dict(),
            "path": str(self.artifact.path),
            "size_bytes": self.artifact.size_bytes,
            "parity": parity,
            "fusion": self.fusion,
            "images": self.images,
        }

    def page(self) -> str:
        """Plain lines for a person."""
        fusion = self.fusion or {}
        lines = [f"{self.artifact.path}  {self.artifact.kind}  {self.artifact.size_bytes / 1e6:.2f} MB"]
        if self.parity:
            sqnr = "exact" if self.parity.sqnr_db is None else f"{self.parity.sqnr_db:.1f} dB"
            lines.append(
                f"against PyTorch on {self.parity.images} {self.images} images: top-1 agreement "
                f"{self.parity.agreement:.1%}, SQNR {sqnr}, largest difference {self.parity.max_abs_diff:.3g}"
            )
        skipped = fusion.get("status") == "skipped"
        if self.artifact.precision == "int8" and not skipped:
            lines.append(f"{fusion.get('integer', 0)} layers in INT8, {fusion.get('floating', 0)} in float")
        if fusion.get("note"):
            lines.append(f"not linted: {fusion['note']}" if skipped else fusion["note"])
        return "\n".join([*lines, *(f"! {warning}" for warning in fusion.get("warnings", ()))])


def export(source: Source, format: Format, *, out: Path | None, precision: str, listener: Listener) -> Made:
    """Export a checkpoint. `out` None puts the file beside it. Raises InputError, MissingError or StepError."""
    stages: tuple[Stage, ...] = (Export(),)
    if precision == "fp16":
        if format == "tflite":
            raise InputError("no-half", "FP16 is for onnx and tensorrt", hint="choose --format tensorrt")
        stages += (Cast(formats=(format,)),)
    recipe = Recipe(name="export", stages=stages, calibration=Calibration(images=16))
    return _one(source, recipe, Kind(format, "fp16" if precision == "fp16" else "fp32"), out=out, listener=listener)


def quantize(
    source: Source, format: Format, *, out: Path | None, options: Mapping[str, Any], images: int, listener: Listener
) -> Made:
    """Export and quantize a checkpoint. `options` are those of the `quantize` stage."""
    try:
        stage = Quantize(**options)
    except ValidationError as error:
        raise bad_option(error, command="quantize") from error
    _refuse_without_effect(stage, format)
    recipe = Recipe(name="quantize", stages=(Export(), stage), calibration=Calibration(images=images))
    return _one(source, recipe, Kind(format, "int8"), out=out, listener=listener)


def _refuse_without_effect(stage: Quantize, format: Format) -> None:
    """A recipe serves several formats; here one was named, and an option that is for another is a mistake."""
    deployment = HERE.deployment(format)
    assert deployment is not None
    for name, why in stage.without_effect(deployment.family).items():
        flag = f"--{name.replace('_', '-')}"
        meant = next(item.format for item in HERE.deployments if name not in stage.without_effect(item.family))
        raise InputError(
            "option-without-effect",
            f"{flag} {getattr(stage, name)} does nothing for {format}",
            why=why,
            hint=f"leave out {flag}, or choose --format {meant}",
        )


def _one(source: Source, recipe: Recipe, wanted: Kind, *, out: Path | None, listener: Listener) -> Made:
    if out is not None and out.is_dir():
        raise cannot_write(out, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if out is not None and out.suffix != SUFFIXES[wanted.format]:
        raise InputError(
            "wrong-suffix",
            f"--out {out} does not end in {SUFFIXES[wanted.format]}",
            why="runtimes and `edgecnn benchmark` go by it",
            hint=f"--out {out}{SUFFIXES[wanted.format]}",
        )
    inputs = open_inputs(source, recipe, listener=listener)
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
        context = RunContext(
            inputs.model, inputs.data, HERE, Store(Path(folder)), listener, source.seed, task=inputs.task
        )
        todo = steps(recipe, wanted.format, context)
        missing = next((step.missing for step in todo if step.missing), None)
        if missing:
            raise MissingError(
                "missing-extra",
                f"{wanted.format} needs packages that are not installed",
                hint=install_hint(missing),
            )
        checkpoint = Artifact(source.checkpoint, "torch", "fp32", (), (), inputs.model.sha256)
        execution = execute(wanted.format, todo, source=checkpoint, context=context)
        for error in execution.failed.values():
            raise error
        assessment = gather([execution], context).get(wanted)
        if assessment is None:
            raise StepError("nothing-made", f"no {wanted} came of it", hint="--verbose shows the steps")
        evaluation = inputs.data.evaluation
        images = (evaluation or inputs.data.calibration).take(32)
        lint(assessment, context)
        answer(assessment, images, context, threads=1)
        verify(assessment, reference(assessment.model, images, context)[0], context.task)
        target = out or source.checkpoint.with_name(
            f"{source.checkpoint.stem}.{wanted.precision}{assessment.artifact.path.suffix}"
        )
        copy_into_place(assessment.artifact.path, target)
        fusion = asdict(assessment.fusion) if assessment.fusion else None
        kind = "synthetic" if source.data is None else "evaluation" if evaluation else "calibration"
        return Made(assessment.artifact.at(target), assessment.parity, fusion, kind)
