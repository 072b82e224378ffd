"""What the probe can be asked: latency, accuracy, facts."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import arrays, backends, facts, loop
from .errors import ProbeError
from .events import Events
from .job import Job
from .specs import InputSpec, arrange, random_feeds

BUFFERS = 8
"""Distinct inputs that take turns: one constant buffer flatters the caches."""
WARMING = [InputSpec("", (1,), "float32", None)]
"""Drawn once before memory is read, for numpy loads its generators on first use and that is not the model's."""


def report_facts(job: Job, events: Events) -> dict[str, Any]:
    """This machine, and the version of the backend's runtime when the job names one."""
    name = job.get_or("backend", None, str)
    found = facts.describe()
    return {"facts": found if name is None else dict(found, runtime=backends.find(name).version())}


def latency(job: Job, events: Events) -> dict[str, Any]:
    """Load, first inference, warm-up, samples. Times in ns, memory in bytes; samples go to the file `output`."""
    backend = backends.find(job.get("backend", str))
    warmup = _tuple(loop.Warmup, job.get("warmup", dict))
    measurement = _tuple(loop.Measurement, job.get("measure", dict))
    path, output = job.get("model", str), job.get("output", str)
    options, seed = _options(job), job.get_or("seed", 0, int)
    runtime, import_ns = loop.timed(backend.version)
    about = dict(facts.describe(), runtime=runtime)
    before = facts.load()
    random_feeds(WARMING, 1, seed)
    facts.reset_peak_rss()
    baseline_rss = facts.peak_rss_bytes()
    session, load_ns = loop.timed(lambda: backend.load(path, options))
    with session:
        cold = random_feeds(session.inputs, 1, seed)
        _outputs, first_ns = loop.timed(lambda: session.infer(cold[0]))
        first_rss = facts.peak_rss_bytes()
        ring = cold + random_feeds(session.inputs, BUFFERS - 1, seed + 1)
        events.send("phase", name="warm-up")
        warm = loop.warm_up(session.infer, ring, warmup)
        events.send("phase", name="measuring", runs=warm.runs)
        start = facts.load()
        samples = loop.measure(session.infer, ring, measurement, loop.runs_per_sample(warm.median_ns))
        after = facts.load()
        inputs = [spec._asdict() for spec in session.inputs]
    arrays.save(output, samples.total_ns)
    return {
        "samples": len(samples.total_ns),
        "runs_per_sample": samples.runs_per_sample,
        "import_ns": import_ns,
        "load_ns": load_ns,
        "first_ns": first_ns,
        "warmup_runs": warm.runs,
        "steady": warm.steady,
        "inputs": inputs,
        "facts": about,
        "loadavg": [before["loadavg"], after["loadavg"]],
        "other_load": facts.other_load(start, after),
        **_memory(
            baseline_rss, first_rss, facts.peak_rss_bytes(), sum(a.nbytes for feeds in ring[1:] for a in feeds.values())
        ),
    }


def _memory(baseline: int | None, first: int | None, last: int | None, ring_bytes: int) -> dict[str, int | None]:
    """Peak of the process, and what the model added to the imported runtime; the harness's own inputs are not the
    model's."""
    if baseline is None or first is None or last is None:
        return {"peak_rss_bytes": None, "peak_rss_delta_bytes": None}
    peak = max(first, last - ring_bytes)
    return {"peak_rss_bytes": peak, "peak_rss_delta_bytes": max(0, peak - baseline)}


def accuracy(job: Job, events: Events) -> dict[str, Any]:
    """Logits of all images in `pixels` (.npy, uint8 NHWC): float32 (N, classes) in the file `output`."""
    from .normalise import normalise

    backend = backends.find(job.get("backend", str))
    pixels = arrays.read(job.get("pixels", str))
    mean, std = job.get("mean", list), job.get("std", list)
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[3] != len(mean) or len(mean) != len(std):
        raise ProbeError(
            "bad-job", "pixels must be uint8 NHWC with a mean and std per channel", f"they are {pixels.shape}"
        )
    rows: list[np.ndarray] = []
    runtime = backend.version()
    with backend.load(job.get("model", str), _options(job)) as session:
        spec = _only_input(session.inputs)
        step = max(1, job.get_or("batch", 1, int)) if not isinstance(spec.shape[0], int) else int(spec.shape[0])
        if len(pixels) % step and isinstance(spec.shape[0], int):
            raise ProbeError("bad-job", f"{len(pixels)} images do not fill batches of {step}")
        for start in range(0, len(pixels), step):
            feed = arrange(normalise(np.asarray(pixels[start : start + step]), mean, std), spec)
            logits = np.asarray(session.infer({spec.name: feed})[0], np.float32)
            rows.append(logits.reshape(len(feed), -1))
            if (start // step) % 32 == 0:
                events.send("progress", done=start + len(feed), total=len(pixels))
    arrays.save(job.get("output", str), np.concatenate(rows) if rows else np.zeros((0, 0), np.float32))
    return {"images": len(pixels), "facts": dict(facts.describe(), runtime=runtime)}


def _only_input(inputs: list[InputSpec]) -> InputSpec:
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ProbeError(
            "not-a-classifier",
            "the model does not take one image tensor",
            "its inputs are " + ", ".join(f"{spec.name} {list(spec.shape)}" for spec in inputs),
        )
    return inputs[0]


def _options(job: Job) -> dict[str, Any]:
    return dict(job.get_or("options", {}, dict), threads=job.get_or("threads", 1, int))


def _tuple(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise ProbeError("bad-job", "the job does not describe a " + kind.__name__, str(error)) from error


VERBS = {"facts": report_facts, "latency": latency, "accuracy": accuracy}
