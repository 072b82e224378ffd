"""Conversion alone: export a checkpoint, or quantize it, without measuring or judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.core.artifact import DEFAULT_FORMAT, Artifact, FormatName, Kind
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, ignore
from edgecnn.core.result import Result
from edgecnn.core.stage import Stage
from edgecnn.data.preprocessing import Source
from edgecnn.formats.cast_stage import Cast
from edgecnn.formats.export_stage import Export
from edgecnn.formats.quantize_stage import Quantize, meant_for
from edgecnn.formats.registry import format_named, formats
from edgecnn.report.model import Parity
from edgecnn.tasks.task import TOP_1
from edgecnn.workflows.arguments import PathLike, format_of, path_or_none, source_of, stated
from edgecnn.workflows.optimize.assessment import answer, gather, lint
from edgecnn.workflows.optimize.planning import HERE
from edgecnn.workflows.optimize.verification import verify
from edgecnn.workflows.single_stage import file_facts, file_line, run, stage_from, validate_out

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments

COMPARED_IMAGES = 32
"""Images on which the file is compared with PyTorch."""


@dataclass(frozen=True, slots=True)
class ConvertResult(Result):
    """A file and what was checked of it. `images` says on which: evaluation, calibration or synthetic ones; `agreeing`
    what agrees where two answers do."""

    artifact: Artifact
    parity: Parity | None
    fusion: Mapping[str, Any] | None
    images: str
    agreeing: str = "top-1"

    def to_dict(self) -> dict[str, Any]:
        parity = asdict(self.parity) if self.parity else None
        return {**file_facts(self.artifact), "parity": parity, "fusion": self.fusion, "images": self.images}

    def page(self) -> str:
        """Plain lines for a person."""
        fusion = self.fusion or {}
        lines = [file_line(self.artifact)]
        if self.parity:
            sqnr = "exact" if self.parity.sqnr_db is None else f"{self.parity.sqnr_db:.1f} dB"
            lines.append(
                f"against PyTorch on {self.parity.images} {self.images} images: {self.agreeing} agreement "
                f"{self.parity.agreement:.1%}, SQNR {sqnr}, largest difference {self.parity.max_abs_diff:.3g}"
            )
        skipped = fusion.get("status") == "skipped"
        if self.artifact.precision == "int8" and not skipped:
            lines.append(f"{fusion.get('integer', 0)} layers in INT8, {fusion.get('floating', 0)} in float")
        if fusion.get("note"):
            lines.append(f"not linted: {fusion['note']}" if skipped else fusion["note"])
        return "\n".join([*lines, *(f"! {warning}" for warning in fusion.get("warnings", ()))])


def export(
    checkpoint: PathLike,
    *,
    format: str = DEFAULT_FORMAT,
    out: PathLike | None = None,
    data: PathLike | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    precision: str = "fp32",
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> ConvertResult:
    """Export a checkpoint, checked against PyTorch. `out` None puts the file beside it. Raises InputError, MissingError
    or StepError."""
    written = format_of(format)
    if precision not in ("fp32", "fp16"):
        raise InputError(
            "unknown-precision", f"export writes fp32 or fp16, not '{precision}'", hint="INT8: edgecnn quantize"
        )
    source = source_of(
        checkpoint, model=model, weights=weights, data=data, class_map=class_map, task=task, preprocessing=preprocessing
    )
    stages: tuple[Stage, ...] = (Export(),)
    if precision == "fp16":
        if not format_named(written).cast:
            able = [item.name for item in formats() if item.cast]
            raise InputError("no-half", f"FP16 is for {' and '.join(able)}", hint=f"choose --format {able[-1]}")
        stages += (Cast(formats=(written,)),)
    made = Kind(written, "fp16" if precision == "fp16" else "fp32")
    return _convert(stages, source, made, out=path_or_none(out), images=16, listener=listener)


def quantize(
    checkpoint: PathLike,
    *,
    data: PathLike | None = None,
    format: str = DEFAULT_FORMAT,
    out: PathLike | None = None,
    model: str | None = None,
    weights: str | None = None,
    class_map: PathLike | None = None,
    task: str = "classification",
    observer: str | None = None,
    percentile: float | None = None,
    io: str | None = None,
    weight_bits: int | None = None,
    keep_float: Sequence[str] | None = None,
    images: int = 200,
    seed: int = 0,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> ConvertResult:
    """Export and quantize a checkpoint, calibrated on so many `images`; judges nothing. Raises InputError, MissingError
    or StepError."""
    written = format_of(format)
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
    options = stated(
        observer=observer, percentile=percentile, io=io, weight_bits=weight_bits, keep_float=keep_float or None
    )
    stage: Quantize = stage_from(Quantize, options)
    _validate_effect(stage, written)
    made = Kind(written, "int8")
    return _convert((Export(), stage), source, made, out=path_or_none(out), images=images, listener=listener)


def _validate_effect(stage: Quantize, format: FormatName) -> None:
    """A recipe serves several formats; here one was named, and an option that is for another is a mistake."""
    deployment = HERE.deployment(format)
    assert deployment is not None
    for name, why in stage.without_effect(deployment.family).items():
        flag = f"--{name.replace('_', '-')}"
        raise InputError(
            "option-without-effect",
            f"{flag} {getattr(stage, name)} does nothing for {format}",
            why=why,
            hint=f"leave out {flag}, or choose --format {meant_for(name)}",
        )


def _convert(
    stages: tuple[Stage, ...], source: Source, made: Kind, *, out: Path | None, images: int, listener: Listener
) -> ConvertResult:
    """Run `stages`, load the file in its runtime, and compare it with PyTorch."""
    suffix = format_named(made.format).suffix
    out = out or source.checkpoint.with_name(f"{source.checkpoint.stem}.{made.precision}{suffix}")
    validate_out(out, suffix)
    with run(
        stages, source, out, listener=listener, format=made.format, calibration_images=images, reads_labels=False
    ) as converted:
        context, data = converted.context, converted.inputs.data
        compared = (data.evaluation or data.calibration).take(COMPARED_IMAGES)
        for assessment in gather([converted.execution], context).values():  # FP32 first: the others are made from it
            if assessment.artifact.kind == made:
                lint(assessment, context)
            answer(assessment, compared, context, threads=1)
            verify(assessment, compared, context)
    fusion = asdict(assessment.fusion) if assessment.fusion else None
    kind = "synthetic" if source.data is None else "evaluation" if data.evaluation else "calibration"
    agreeing = "top-1" if context.task.metric == TOP_1 else context.task.name
    return ConvertResult(assessment.artifact.at(out), assessment.parity, fusion, kind, agreeing)
