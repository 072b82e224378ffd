"""What is known of each artifact: what its runtime made of it, what it answers, how fast. Each finding is stored
and found again."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn import __version__
from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, Format, Kind
from edgecnn.core.device import Deployment
from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.core.events import Finished, Started, Tell, Warned, under
from edgecnn.core.stage import Images, Model
from edgecnn.core.store import Store, Work, digest_of
from edgecnn.formats.fusion import FloatLayer, Fusion
from edgecnn.measure.effort import Profile
from edgecnn.measure.latency import Arm, Latency, compare, measure
from edgecnn.predict.runtime import logits
from edgecnn.quantize.stage import Quantize
from edgecnn.report.model import Parity, Speed
from edgecnn.workflows.optimize.execution import Lane, translated
from edgecnn.workflows.optimize.planning import Surroundings, versions

VERIFIED = 128
"""Images on which every artifact is compared with PyTorch, logit by logit."""
STAND_INS = {"tensorrt": "onnxruntime"}
"""Backends that this host cannot run, and what computes the same graph as written in their place."""
RANKED_ON = 64
"""Calibration images on which each layer alone is quantized, to find those that lose most."""
RUNTIMES = ("onnxruntime", "ai-edge-litert", "numpy")
LINTERS = (*RUNTIMES, "tensorrt-rtx-cu13-bindings", "onnxruntime-ep-nv-tensorrt-rtx-cu13")


@dataclass(slots=True)
class Evidence:
    """Findings on one artifact; None where there is none, `error` when a step failed on it.

    `answers` are to the evaluation images at `positions`, None for all: the others chose the artifact.
    """

    artifact: Artifact
    deployment: Deployment
    runs_on: str
    model: Model
    fusion: Fusion | None = None
    answers: np.ndarray | None = None
    parity: Parity | None = None
    speed: Speed | None = None
    error: EdgecnnError | None = None
    positions: list[int] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.artifact.kind)

    @property
    def is_stand_in(self) -> bool:
        return self.runs_on != self.deployment.backend


def gather(lanes: Sequence[Lane], around: Surroundings) -> dict[Kind, Evidence]:
    """One Evidence per artifact, in the order made, with nothing found yet. On a board each file runs in its own
    runtime."""
    stand_ins = STAND_INS if around.site.local else {}
    found = {}
    for lane in lanes:
        deployment = around.target.deployment(lane.format)
        assert deployment is not None
        runs_on = stand_ins.get(deployment.backend, deployment.backend)
        for kind, artifact in lane.artifacts.items():
            error = around.site.missing.get(runs_on)
            found[kind] = Evidence(artifact, deployment, runs_on, lane.models[kind], error=error)
    return found


def remembered(
    store: Store, step: str, key: str, *, make: Callable[[Work], None], tell: Tell, label: str
) -> tuple[Work, dict[str, Any]]:
    """A finished step, made now if it is not there, and a record of it."""
    began = time.monotonic()
    found = store.find(step, key)
    cached = found is not None
    if found is None:
        tell(Started(label))
        with translated(label), store.work(step, key) as work:
            make(work)
        found = store.find(step, key)
    if found is None:
        raise StepError("lost-result", f"{label} left no result in {store.root}", hint="run the command again")
    seconds = time.monotonic() - began
    tell(Finished(label, seconds, cached))
    return found, {"stage": label, "key": key, "seconds": round(seconds, 3), "cached": cached}


def _key(tools: tuple[str, ...], *parts: Any) -> str:
    """The digest of what decides a finding: its inputs, this package, and the tools that make it."""
    return digest_of([__version__, versions(tools), parts])


def lint(evidence: Evidence, around: Surroundings) -> None:
    """Load the file in its runtime and count what stayed in float. Raises StepError when the runtime refuses it.

    A lint that could not be done is not stored: the next run tries again.
    """
    artifact = evidence.artifact
    family = evidence.deployment.family
    key = _key(LINTERS, family, artifact.sha256, artifact.precision)

    def make(work: Work) -> None:
        work.facts["fusion"] = asdict(plugins.load("lints", family)(artifact))

    done, record = remembered(around.store, "lint", key, make=make, tell=around.tell, label=f"lint {evidence.name}")
    raw = done.facts["fusion"]
    if raw["status"] == "skipped":
        around.store.forget("lint", key)
    layers = tuple(FloatLayer(**layer) for layer in raw["float_layers"])
    evidence.fusion = Fusion(**{**raw, "warnings": tuple(raw["warnings"]), "float_layers": layers})
    evidence.records.append(record)
    if evidence.fusion.status == "refused":
        raise StepError(
            "refused-by-runtime",
            f"{evidence.deployment.backend} refuses {evidence.name}",
            why=evidence.fusion.note,
            hint="the file is not delivered: report it with the network, if that can be shared",
        )


def answer(evidence: Evidence, images: Images, around: Surroundings, *, threads: int) -> None:
    """Logits of the file for all images, in the runtime that will run it or its stand-in, where it will run if that
    can be reached."""
    artifact = evidence.artifact
    runs_on = evidence.runs_on
    where = () if around.site.local else around.site.answers_as(runs_on)  # this host's runtimes are in RUNTIMES
    key = _key((*RUNTIMES, "pillow"), artifact.sha256, artifact.format, images.digest, runs_on, *where)

    def make(work: Work) -> None:
        found = logits(
            artifact,
            images,
            backend=evidence.runs_on,
            threads=threads,
            tell=under(f"judge {evidence.name}", around.tell),
            device=around.site.device,
            preprocessing=around.data.preprocessing,
        )
        if found.shape[1:] != (around.model.num_classes,):
            raise StepError(
                "bad-answer",
                f"{around.site.device.name} answered with {found.shape[1]} numbers an image, not one for each of "
                f"{around.model.num_classes} classes",
                hint="run it again; if it happens twice, look at the board",
            )
        np.save(work.folder / "logits.npy", found, allow_pickle=False)

    done, record = remembered(around.store, "answer", key, make=make, tell=around.tell, label=f"judge {evidence.name}")
    evidence.answers = np.load(done.folder / "logits.npy", allow_pickle=False)
    evidence.records.append(record)


def reference(model: Model, images: Images, around: Surroundings) -> tuple[np.ndarray, dict[str, Any]]:
    """Logits of a torch network on the first `VERIFIED` images, and a record of the step."""
    from edgecnn.predict.parity import torch_logits

    first = images.take(VERIFIED)
    key = _key(("torch", "torchvision", "timm", "pillow"), model.sha256, first.digest)

    def make(work: Work) -> None:
        found = torch_logits(model, first, tell=under("verify PyTorch", around.tell))
        np.save(work.folder / "logits.npy", found, allow_pickle=False)

    done, record = remembered(around.store, "reference", key, make=make, tell=around.tell, label="verify PyTorch")
    return np.load(done.folder / "logits.npy", allow_pickle=False), record


def verify(evidence: Evidence, expected: np.ndarray) -> None:
    """Compare the file's first answers with PyTorch's."""
    from edgecnn.predict.parity import parity

    if evidence.answers is not None and len(evidence.answers):
        evidence.parity = Parity(**parity(expected, evidence.answers[: len(expected)]))  # type: ignore[arg-type]


def rank(model: Model, format: Format, around: Surroundings) -> list[str]:
    """The layers of a torch network, those first that lose most when they alone are INT8."""
    deployment, label = around.target.deployment(format), f"rank layers {format}"
    family = deployment.family if deployment else ""
    key = _key(("torch", *Quantize.tools), model.sha256, around.data.calibration.digest, family, RANKED_ON)

    def make(work: Work) -> None:
        from edgecnn.compress.sensitivity import rank_layers

        with tempfile.TemporaryDirectory(prefix="edgecnn-layers-") as folder:
            place = Path(folder)
            context = around.context(place, place, model=model, format=format, name=label)
            work.facts["errors"] = list(rank_layers(context, count=RANKED_ON).items())

    done, _ = remembered(around.store, "sensitivity", key, make=make, tell=around.tell, label=label)
    return [layer for layer, _ in done.facts["errors"]]


def time_all(
    found: Mapping[Kind, Evidence], around: Surroundings, *, profile: Profile, threads: int, again: bool
) -> Path | None:
    """Measure every file whose own runtime is on the device, interleaved; the folder that holds the raw samples.

    A file in a stand-in is not timed: the figure would say nothing about its runtime.
    """
    timed = {
        evidence.name: evidence for evidence in found.values() if evidence.error is None and not evidence.is_stand_in
    }
    if not timed:
        return None
    arms = [Arm(name, evidence.artifact, evidence.runs_on, threads) for name, evidence in timed.items()]
    key = _key(
        RUNTIMES,
        [(arm.name, arm.artifact.sha256, arm.backend, around.site.runtimes.get(arm.backend)) for arm in arms],
        profile.name,
        threads,
        around.seed,
        around.site.machine,
    )
    before = around.store.find("measure", key)
    if again or (before is not None and before.facts["failed"]):
        around.store.forget("measure", key)

    def make(work: Work) -> None:
        failed: list[str] = []

        def on_failure(arm: Arm, error: EdgecnnError) -> None:
            failed.append(arm.name)
            around.tell(Warned(error.code, f"{arm.name} was not measured: {error.message}", error.why))

        tell = under(f"measure {profile.name}", around.tell)
        taken = measure(
            arms,
            profile=profile,
            seed=around.seed,
            tell=tell,
            device=around.site.device,
            on_failure=on_failure,
            expect=around.target,
        )
        (work.folder / "samples.json").write_text(json.dumps([latency.to_dict() for latency in taken]))
        work.facts["speeds"] = {name: asdict(speed) for name, speed in speeds(taken, timed).items()}
        work.facts["failed"] = failed

    done, record = remembered(
        around.store, "measure", key, make=make, tell=around.tell, label=f"measure {profile.name}"
    )
    raw = done.facts["speeds"]
    for name, evidence in timed.items():
        if name in raw:
            evidence.speed = Speed(**{**raw[name], "reasons": tuple(raw[name]["reasons"])})
            evidence.records.append(record)
    return done.folder


def speeds(taken: Sequence[Latency], timed: Mapping[str, Evidence]) -> dict[str, Speed]:
    """Each latency in report units, beside FP32 in the same runtime."""
    by_name = {latency.name: latency for latency in taken}
    found = {}
    for name, latency in by_name.items():
        baseline = by_name.get(f"{timed[name].artifact.format} fp32")
        ratio = compare(latency, baseline) if baseline is not None and baseline is not latency else None
        found[name] = Speed(
            median_ms=latency.median_ns / 1e6,
            median_low_ms=latency.median_low_ns / 1e6,
            median_high_ms=latency.median_high_ns / 1e6,
            interval=latency.interval,
            p90_ms=latency.p90_ns / 1e6,
            p90_bound_ms=None if latency.p90_bound_ns is None else latency.p90_bound_ns / 1e6,
            load_ms=latency.load_ns / 1e6,
            first_ms=latency.first_ns / 1e6,
            peak_rss_bytes=latency.peak_rss_bytes,
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
            energy_mj=latency.energy_mj,
            power_source=latency.power_source,
        )
    return found
