"""Assessment of each artifact: fusion, answers, parity, speed; all of it cached in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn import __version__
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.device import Deployment
from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.core.events import Finished, Started, Warned, scoped
from edgecnn.core.stage import Images, Model
from edgecnn.core.store import Work, digest_of
from edgecnn.core.temporary import temporary_folder
from edgecnn.formats.fusion import FloatLayer, Fusion
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.formats.registry import backend_here, format_of_family, runtime_packages
from edgecnn.measure.effort import Profile
from edgecnn.measure.latency import Candidate, Latency, compare, measure
from edgecnn.measure.reasons import BY_LOAD
from edgecnn.predict.runtime import run_file
from edgecnn.report.model import Parity, Speed
from edgecnn.tasks.task import Answers
from edgecnn.workflows.optimize.execution import Execution, translated
from edgecnn.workflows.optimize.planning import RunContext, versions

OUTPUTS = "logits.npy"
RANKED_ON = 64
"""Calibration images on which each layer alone is quantized, to find those that lose most."""


@dataclass(slots=True)
class Assessment:
    """What is known of one artifact; None where nothing is, `error` when a step failed on it.

    `answers` are to the images that had no part in choosing the artifact.
    """

    artifact: Artifact
    deployment: Deployment
    runs_on: str
    model: Model
    fusion: Fusion | None = None
    answers: Answers | None = None
    parity: Parity | None = None
    speed: Speed | None = None
    error: EdgecnnError | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.artifact.kind)

    @property
    def is_stand_in(self) -> bool:
        return self.runs_on != self.deployment.backend


def gather(executions: Sequence[Execution], context: RunContext) -> dict[Kind, Assessment]:
    """One assessment per artifact, in the order made, with nothing known yet. On a board each file runs in its own
    runtime."""
    assessments = {}
    for execution in executions:
        deployment = context.target.deployment(execution.format)
        assert deployment is not None
        runs_on = backend_here(deployment.backend) if context.connection.local else deployment.backend
        for kind, artifact in execution.artifacts.items():
            error = context.connection.missing.get(runs_on)
            assessments[kind] = Assessment(artifact, deployment, runs_on, execution.models[kind], error=error)
    return assessments


def _cached(
    context: RunContext, step: str, key: str, compute: Callable[[Path], dict[str, Any]], *, label: str
) -> tuple[Work, dict[str, Any]]:
    """A finished step of the store, computed now if it is not there, and a record of it."""
    began = time.monotonic()

    def announced(folder: Path) -> dict[str, Any]:
        context.listener(Started(label))
        with translated(label):
            return compute(folder)

    done, cached = context.store.cached(step, key, announced)
    seconds = time.monotonic() - began
    context.listener(Finished(label, seconds, cached))
    return done, {"stage": label, "key": key, "seconds": round(seconds, 3), "cached": cached}


def cached_outputs(
    context: RunContext, step: str, key: str, compute: Callable[[], np.ndarray], *, label: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Outputs of a network from the store, computed now if they are not there, and a record of the step."""

    def save(folder: Path) -> dict[str, Any]:
        np.save(folder / OUTPUTS, compute(), allow_pickle=False)
        return {}

    done, record = _cached(context, step, key, save, label=label)
    return np.load(done.folder / OUTPUTS, allow_pickle=False), record


def key_of(tools: tuple[str, ...], *parts: Any) -> str:
    """The digest of what decides a finding: its inputs, this package, and the tools that make it."""
    return digest_of([__version__, versions(tools), parts])


def lint(assessment: Assessment, context: RunContext) -> None:
    """Load the file in its runtime and count what stayed in float. Raises StepError when the runtime refuses it.

    A lint that could not be done is not stored: the next run tries again.
    """
    artifact = assessment.artifact
    family = assessment.deployment.family
    format = format_of_family(family)
    linters = (*runtime_packages(), "numpy", *(package.distribution for package in format.packages))
    key = key_of(linters, family, artifact.sha256, artifact.precision)

    done, record = _cached(
        context,
        "lint",
        key,
        lambda _: {"fusion": asdict(plugins.resolve(format.lint)(artifact))},
        label=f"lint {assessment.name}",
    )
    raw = done.facts["fusion"]
    if raw["status"] == "skipped":
        context.store.forget("lint", key)
    layers = tuple(FloatLayer(**layer) for layer in raw["float_layers"])
    assessment.fusion = Fusion(**{**raw, "warnings": tuple(raw["warnings"]), "float_layers": layers})
    assessment.records.append(record)
    if assessment.fusion.status == "refused":
        raise StepError(
            "refused-by-runtime",
            f"{assessment.deployment.backend} refuses {assessment.name}",
            why=assessment.fusion.note,
            hint="the file is not delivered: report it with the network, if that can be shared",
        )


def answer(assessment: Assessment, images: Images, context: RunContext, *, threads: int) -> None:
    """What the file answers to all images, in the runtime that will run it or its stand-in, where it will run if that
    can be reached."""
    artifact, connection = assessment.artifact, context.connection
    runs_on = assessment.runs_on
    where = () if connection.local else connection.answers_as(runs_on)  # this host's runtimes are in the key
    key = key_of(
        (*runtime_packages(), "numpy", "pillow"), artifact.sha256, artifact.format, images.digest, runs_on, *where
    )

    def compute() -> np.ndarray:
        outputs = run_file(
            artifact,
            images,
            backend=runs_on,
            threads=threads,
            listener=scoped(context.listener, f"judge {assessment.name}"),
            device=connection.device,
            preprocessing=context.data.preprocessing,
        )
        context.task.validate(outputs, width=context.model.num_classes, runtime=connection.device.name)
        return outputs

    outputs, record = cached_outputs(context, "answer", key, compute, label=f"judge {assessment.name}")
    assessment.answers = Answers(outputs, images)
    assessment.records.append(record)


def rank(model: Model, format: FormatName, context: RunContext) -> list[str]:
    """The layers of a torch network, those first that lose most when they alone are INT8."""
    deployment, label = context.target.deployment(format), f"rank layers {format}"
    family = deployment.family if deployment else ""
    key = key_of(
        ("torch", *Quantize().tools_for(format)), model.sha256, context.data.calibration.digest, family, RANKED_ON
    )

    def errors(_: Path) -> dict[str, Any]:
        from edgecnn.compress.sensitivity import rank_layers

        with temporary_folder("layers") as folder:
            place = Path(folder)
            stage_context = context.stage_context(place, place, model=model, format=format, name=label)
            return {"errors": list(rank_layers(stage_context, count=RANKED_ON).items())}

    done, _ = _cached(context, "sensitivity", key, errors, label=label)
    return [layer for layer, _ in done.facts["errors"]]


def time_all(
    assessments: Mapping[Kind, Assessment], context: RunContext, *, profile: Profile, threads: int, again: bool
) -> Path | None:
    """Measure every file whose own runtime is on the device, interleaved; the folder that holds the raw samples.

    A file in a stand-in is not timed: the figure would say nothing about its runtime.
    """
    timed = {
        assessment.name: assessment
        for assessment in assessments.values()
        if assessment.error is None and not assessment.is_stand_in
    }
    if not timed:
        return None
    candidates = [
        Candidate(name, assessment.artifact, assessment.runs_on, threads) for name, assessment in timed.items()
    ]
    key = key_of(
        (*runtime_packages(), "numpy"),
        [
            (
                candidate.name,
                candidate.artifact.sha256,
                candidate.backend,
                context.connection.runtimes.get(candidate.backend),
            )
            for candidate in candidates
        ],
        profile.name,
        threads,
        context.seed,
        context.connection.machine,
    )
    before = context.store.find("measure", key)
    if again or (before is not None and before.facts["failed"]):
        context.store.forget("measure", key)

    def take(folder: Path) -> dict[str, Any]:
        failed: list[str] = []

        def on_failure(candidate: Candidate, error: EdgecnnError) -> None:
            failed.append(candidate.name)
            context.listener(Warned(error.code, f"{candidate.name} was not measured: {error.message}", error.why))

        listener = scoped(context.listener, f"measure {profile.name}")
        taken = measure(
            candidates,
            profile=profile,
            seed=context.seed,
            listener=listener,
            device=context.connection.device,
            on_failure=on_failure,
            expect=context.target,
        )
        (folder / "samples.json").write_text(json.dumps([latency.to_dict() for latency in taken]))
        return {"speeds": {name: asdict(speed) for name, speed in speeds(taken, timed).items()}, "failed": failed}

    done, record = _cached(context, "measure", key, take, label=f"measure {profile.name}")
    raw = done.facts["speeds"]
    for name, assessment in timed.items():
        if name in raw:
            assessment.speed = Speed(**{**raw[name], "reasons": tuple(raw[name]["reasons"])})
            assessment.records.append(record)
    return done.folder


def speeds(taken: Sequence[Latency], timed: Mapping[str, Assessment]) -> dict[str, Speed]:
    """Each latency in report units, beside FP32 in the same runtime."""
    by_name = {latency.name: latency for latency in taken}
    by_file = {}
    for name, latency in by_name.items():
        baseline = by_name.get(f"{timed[name].artifact.format} fp32")
        ratio = compare(latency, baseline) if baseline is not None and baseline is not latency else None
        by_file[name] = Speed(
            median_ms=latency.times.median_ns / 1e6,
            median_low_ms=latency.times.median_low_ns / 1e6,
            median_high_ms=latency.times.median_high_ns / 1e6,
            interval=latency.times.interval,
            p90_ms=latency.times.p90_ns / 1e6,
            p90_bound_ms=None if latency.times.p90_bound_ns is None else latency.times.p90_bound_ns / 1e6,
            load_ms=latency.times.load_ns / 1e6,
            first_ms=latency.times.first_ns / 1e6,
            peak_rss_bytes=latency.memory.peak_rss_bytes,
            threads=latency.threads,
            processes=len(latency.processes),
            samples=latency.samples,
            speedup=ratio.speedup if ratio else None,
            speedup_low=ratio.low if ratio else None,
            speedup_high=ratio.high if ratio else None,
            speedup_interval=ratio.interval if ratio else "",
            conclusion=ratio.conclusion if ratio else "",
            reasons=tuple(str(reason) for reason in latency.reasons),
            grade=latency.grade,
            emulated=latency.emulated,
            energy_mj=latency.energy.energy_mj,
            power_source=latency.energy.power_source,
            disturbed=any(reason.code in BY_LOAD for reason in latency.reasons),
        )
    return by_file
