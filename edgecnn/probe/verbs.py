"""Verbs of the probe that measure: latency, accuracy, facts, layers; `check` and the agent have theirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import arrays, backends, facts
from .errors import ProbeError
from .events import Events
from .job import Job
from .latency import latency
from .layers import layers
from .specs import InputSpec, arrange


def report_facts(job: Job, events: Events) -> dict[str, Any]:
    """This machine, and the version of the backend's runtime when the job names one."""
    name = job.get_or("backend", None, str)
    machine = facts.describe()
    return {"facts": machine if name is None else dict(machine, runtime=backends.find(name).version())}


def accuracy(job: Job, events: Events) -> dict[str, Any]:
    """Logits of all images in
    `pixels` (.npy, NHWC: uint8, or float32 on its scale): float32 (N, classes) in the file `output`."""
    from .normalise import normalise

    backend = backends.find(job.get("backend", str))
    pixels = arrays.read(job.get("pixels", str))
    mean, std = job.get("mean", list), job.get("std", list)
    if (
        pixels.ndim != 4
        or pixels.dtype not in (np.uint8, np.float32)
        or pixels.shape[3] != len(mean)
        or len(mean) != len(std)
    ):
        raise ProbeError(
            "bad-job",
            "pixels must be uint8 or float32 NHWC with a mean and std per channel",
            f"they are {pixels.shape}",
        )
    rows: list[np.ndarray] = []
    runtime = backends.version(backend, _options(job))
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
    own = {"threads": job.get_or("threads", 1, int), "cache": job.get_or("cache", "", str)}
    return dict(job.get_or("options", {}, dict), **own)


VERBS = {"facts": report_facts, "latency": latency, "accuracy": accuracy, "layers": layers}
