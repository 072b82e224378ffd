"""The verb `latency`: load, first inference, warm-up, samples, with the board's sensors read around and beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import arrays, backends, facts, loop, system
from .errors import ProbeError
from .events import Events
from .job import Job
from .specs import InputSpec, arrange, check_batch, random_feeds
from .telemetry import Recorder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

BUFFERS = 8
"""Distinct inputs that take turns: one constant buffer flatters the caches."""
WARMING = [InputSpec("", (1,), "float32", None)]
"""Drawn once before memory is read, for numpy loads its generators on first use and that is not the model's."""
COOL_S = 60.0
END_TO_END = loop.Measurement(20, 0.0, 0.0)
"""The least of an end-to-end series, which is otherwise a fifth of the other: enough for a median."""
SHARE = 0.2


class LatencyPlan(NamedTuple):
    """What to measure. A backend with a clock of its own measures inside `watched()`, which reads the sensors."""

    warmup: loop.Warmup
    measure: loop.Measurement
    batch: int
    seed: int
    end_to_end: bool
    watched: Callable[[], AbstractContextManager[None]]


class LatencySamples(NamedTuple):
    """`window_s`: when the clock ran, on the system's monotonic clock. `about`: what else goes into the result."""

    samples: loop.Samples
    load_ns: int
    first_ns: int
    window_s: tuple[float, float]
    about: dict[str, Any]
    end_to_end: loop.Samples | None = None


def latency(job: Job, events: Events) -> dict[str, Any]:
    """Times in ns, memory in bytes. Samples go to the file `output` (int64), those from pixels to an answer to
    `e2e_output`: empty when the model does not take one image. There is a result when all of it was measured."""
    backend = backends.find(job.get("backend", str))
    plan = _plan(job)
    path, output, whole = job.get("model", str), job.get("output", str), job.get_or("e2e_output", None, str)
    options = dict(job.get_or("options", {}, dict), threads=job.get_or("threads", 1, int), batch=plan.batch)
    options["cache"] = job.get_or("cache", "", str)
    runtime, import_ns = loop.timed(partial(backends.version, backend, options))
    about = dict(facts.describe(), runtime=runtime)
    if hasattr(backend, "prepare"):
        events.send("phase", name="preparing")
        backend.prepare(path, options)
    with _recorder(job, plan) as recorder:
        watch = _Watch(recorder, options["threads"])
        plan = plan._replace(watched=watch.watched)
        cooled_s = _cool_down(job, recorder, events)
        loadavg, before = facts.load()["loadavg"], _snapshot(recorder, output)
        if hasattr(backend, "measure"):
            taken = _own_clock(backend.measure(path, options, plan))
        else:
            taken = _our_clock(backend, path, options, plan=plan, events=events)
        telemetry = recorder.report(before, _snapshot(recorder, output), taken.window_s)
    _save(taken, output, whole)
    return {
        "samples": len(taken.samples.total_ns),
        "runs_per_sample": taken.samples.runs_per_sample,
        "e2e_runs_per_sample": 1 if taken.end_to_end is None else taken.end_to_end.runs_per_sample,
        "batch": plan.batch,
        "import_ns": import_ns,
        "load_ns": taken.load_ns,
        "first_ns": taken.first_ns,
        "cooled_s": cooled_s,
        "loadavg": [loadavg, facts.load()["loadavg"]],
        "other_load": watch.other_load,
        "own_load": watch.own_load,
        "telemetry": telemetry,
        **taken.about,
        "facts": dict(about, **taken.about.get("facts", {})),
    }


class _Watch:
    """What goes on beside the clock: the sensors, the CPU time that others take, in [0, 1], and our own, in cores."""

    def __init__(self, recorder: Recorder, threads: int) -> None:
        self._recorder = recorder
        self._threads = threads
        self.other_load: float | None = None
        self.own_load: float | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._recorder.start(self._threads)
        self._recorder.wait()
        before = facts.load()
        try:
            yield
        finally:
            after = facts.load()
            self.other_load, self.own_load = facts.other_load(before, after), facts.own_load(before, after)
            self._recorder.stop()


def _our_clock(
    backend: Any, path: str, options: dict[str, Any], *, plan: LatencyPlan, events: Events
) -> LatencySamples:
    random_feeds(WARMING, 1, plan.seed)
    facts.reset_peak_rss()
    baseline_rss = facts.peak_rss_bytes()
    session, load_ns = loop.timed(lambda: backend.load(path, options))
    with session:
        if not options.get("shapes"):  # those say all sizes, the batch too
            check_batch(session.inputs, plan.batch)
        cold = random_feeds(session.inputs, 1, plan.seed, batch=plan.batch)
        _outputs, first_ns = loop.timed(lambda: session.infer(cold[0]))
        first_rss = facts.peak_rss_bytes()
        ring = cold + random_feeds(session.inputs, BUFFERS - 1, plan.seed + 1, batch=plan.batch)
        events.send("phase", name="warm-up")
        warm = loop.warm_up(session.infer, ring, plan.warmup)
        with plan.watched():
            events.send("phase", name="measuring", runs=warm.runs)
            begin_s = time.monotonic()
            samples = loop.measure(session.infer, ring, plan.measure, loop.runs_per_sample(warm.median_ns))
            end_s = time.monotonic()
        ring_bytes = sum(array.nbytes for feeds in ring[1:] for array in feeds.values())
        about = {
            "warmup_runs": warm.runs,
            "steady": warm.steady,
            "inputs": [spec._asdict() for spec in session.inputs],
            "facts": getattr(session, "about", {}),
            **_memory(baseline_rss, first_rss, facts.peak_rss_bytes(), ring_bytes),
        }
        whole = _from_pixels(session, plan) if plan.end_to_end else None
    return LatencySamples(samples, load_ns, first_ns, (begin_s, end_s), about, whole)


def _own_clock(found: dict[str, Any]) -> LatencySamples:
    """What a backend's own clock said: `samples` (ns per run, in order), `load_ns`, `first_ns`, and whatever of
    `end_s`, `runs_per_sample`, `warmup_runs`, `steady`, `inputs`, peak memory, `facts` and `findings` it knows.

    The clock is taken to have run up to `end_s` of the monotonic clock, for as long as the samples last. `findings`
    are sentences by code: `cpu-fallback`, `engine-mismatch`, `model-mismatch` and `output-mismatch` make the times
    invalid, any other is a note.
    """
    samples = np.asarray(found.pop("samples"), np.float64).round().astype(np.int64)
    end_s, runs = float(found.pop("end_s", time.monotonic())), int(found.pop("runs_per_sample", 1))
    load_ns, first_ns = int(found.pop("load_ns")), int(found.pop("first_ns"))
    about: dict[str, Any] = {"warmup_runs": 0, "steady": True, "inputs": []}
    about.update(peak_rss_bytes=None, peak_rss_delta_bytes=None)
    window_s = (end_s - float(samples.sum()) / 1e9, end_s)
    return LatencySamples(loop.Samples(samples, runs), load_ns, first_ns, window_s, dict(about, **found))


def _from_pixels(session: Any, plan: LatencyPlan) -> loop.Samples | None:
    """From 8-bit pixels in memory to the best class: normalise, arrange, infer, argmax. None where the model does not
    take one image."""
    from .normalise import normalise

    if len(session.inputs) != 1 or session.inputs[0].layout is None:
        return None
    spec = session.inputs[0]
    shape = spec.sized(plan.batch)
    count, channels, height, width = shape if spec.layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    rng = np.random.default_rng(plan.seed)
    mean, std = [0.45] * channels, [0.225] * channels
    ring = [{"": rng.integers(0, 256, (count, height, width, channels), np.uint8)} for _ in range(BUFFERS)]

    def answer(pixels: dict[str, np.ndarray]) -> list[np.ndarray]:
        feed = arrange(normalise(pixels[""], mean, std), spec)
        logits = session.infer({spec.name: feed})[0]
        return [logits.reshape(count, -1).argmax(axis=1)]

    try:
        answer(ring[0])
    except (ProbeError, ValueError):  # it wants integers that no scale explains, or gives no row per image
        return None
    typical = float(np.median([loop.timed(partial(answer, pixels))[1] for pixels in ring]))
    least = plan.measure
    fewer = loop.Measurement(
        max(END_TO_END.min_iterations, int(SHARE * least.min_iterations)), SHARE * least.min_s, SHARE * least.max_s
    )
    return loop.measure(answer, ring, fewer, loop.runs_per_sample(typical))


def _plan(job: Job) -> LatencyPlan:
    warmup, measure = _tuple(loop.Warmup, job.get("warmup", dict)), _tuple(loop.Measurement, job.get("measure", dict))
    batch = job.get_or("batch", 1, int)
    if batch < 1:
        raise ProbeError("bad-job", f"a batch of {batch} images cannot be measured")
    return LatencyPlan(
        warmup, measure, batch, job.get_or("seed", 0, int), job.get_or("end_to_end", False, bool), nullcontext
    )


def _recorder(job: Job, plan: LatencyPlan) -> Recorder:
    longest_s = plan.warmup.limit_s + plan.measure.max_s
    rails, on = job.get_or("rails", {}, dict), job.get_or("sensors", True, bool)
    return Recorder(job.get("output", str), rails=rails, longest_s=longest_s, on=on)


def _save(taken: LatencySamples, output: str, whole: str | None) -> None:
    arrays.save(output, taken.samples.total_ns)
    if whole is not None:
        arrays.save(whole, np.zeros(0, np.int64) if taken.end_to_end is None else taken.end_to_end.total_ns)


def _cool_down(job: Job, recorder: Recorder, events: Events) -> float:
    limit_c = job.get_or("cool_to_c", None, int, float)
    if limit_c is None:
        return 0.0
    events.send("phase", name="cooling")
    return recorder.cool_down(float(limit_c), float(job.get_or("cool_max_s", COOL_S, int, float)))


def _snapshot(recorder: Recorder, output: str) -> dict[str, Any]:
    reading = recorder.snapshot()
    try:
        return dict(reading, disk_free_bytes=system.free_bytes(os.path.dirname(output) or "."))
    except (OSError, AttributeError):
        return reading


def _memory(baseline: int | None, first: int | None, last: int | None, ring_bytes: int) -> dict[str, int | None]:
    """Peak of the process, and what the model added to the imported runtime; the harness's own inputs are not the
    model's."""
    if baseline is None or first is None or last is None:
        return {"peak_rss_bytes": None, "peak_rss_delta_bytes": None}
    peak = max(first, last - ring_bytes)
    return {"peak_rss_bytes": peak, "peak_rss_delta_bytes": max(0, peak - baseline)}


def _tuple(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise ProbeError("bad-job", "the job does not describe a " + kind.__name__, str(error)) from error
