"""Latency of several candidates, interleaved: blocks in which each candidate has one fresh process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import Listener, Progress, timed
from edgecnn.core.temporary import temporary_folder
from edgecnn.core.third_party import LONGEST_NOTE, sanitize
from edgecnn.formats.registry import build_s
from edgecnn.measure.comparison import Ratio, compare
from edgecnn.measure.device import Device, ThisMachine
from edgecnn.measure.effort import Profile
from edgecnn.measure.process import Candidate, Process, process_of
from edgecnn.measure.summary import Latency, MeasuredDevice, summarise

__all__ = ["Candidate", "Latency", "Process", "Ratio", "compare", "measure", "orders", "summarise"]

STEP = "latency"
WARMER_C = 3.0
"""How much warmer than at the first process the board may be when another starts."""


def measure(
    candidates: Sequence[Candidate],
    *,
    profile: Profile,
    seed: int,
    listener: Listener,
    device: Device | None = None,
    on_failure: Callable[[Candidate, EdgecnnError], None] | None = None,
    expect: DeviceProfile | None = None,
) -> list[Latency]:
    """Measure all candidates in `profile.processes` blocks on `device`, this host unless given; results in the order of
    `candidates`.

    The readings of the sensors are held against `expect`, unless that is another machine's profile than the one it
    runs on. A candidate that fails raises its EdgecnnError; with `on_failure` that is called instead, the candidate is
    left out of the remaining blocks and of the results, and the others go on.
    """
    _check_names(candidates)
    device = device or ThisMachine()
    place = MeasuredDevice(device.name, expect if expect is not None and expect.local == device.local else None)
    bench = _Bench(profile, device, place)
    taken: dict[str, list[Process]] = {candidate.name: [] for candidate in candidates}
    failed: set[str] = set()
    blocks = enumerate(orders(len(candidates), profile.processes, seed=seed))
    turns = [(block, position, candidates[index]) for block, order in blocks for position, index in enumerate(order)]
    with timed(listener, STEP):
        for done, (block, position, candidate) in enumerate(turns):
            if candidate.name not in failed:
                try:
                    on_event = _relay(listener, done, len(turns), candidate)
                    taken[candidate.name].append(bench.process(candidate, (block, position), on_event))
                except EdgecnnError as error:
                    if on_failure is None:
                        raise
                    failed.add(candidate.name)
                    on_failure(candidate, error)
            listener(Progress(STEP, done + 1, len(turns), "processes", candidate.name))
    return [
        summarise(candidate, taken[candidate.name], profile=profile, seed=seed, place=place)
        for candidate in candidates
        if candidate.name not in failed
    ]


def orders(candidates: int, blocks: int, *, seed: int) -> Iterator[list[int]]:
    """The order of candidates in each block: random, and every second block turns the one before it round.

    So of any two candidates each is first as often as the other, and what the position does to a time cannot pass for a
    difference between them.
    """
    rng = np.random.default_rng(seed)
    order: list[int] = []
    for block in range(blocks):
        order = order[::-1] if block % 2 else rng.permutation(candidates).tolist()
        yield order


def _check_names(candidates: Sequence[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("duplicate-arm", f"measured twice under one name: {', '.join(twice)}", hint="name each once")


def _relay(listener: Listener, done: int, total: int, candidate: Candidate) -> Callable[[Mapping[str, Any]], None]:
    def on_event(event: Mapping[str, Any]) -> None:
        note = sanitize(event.get("name", event["event"]), LONGEST_NOTE)
        listener(Progress(STEP, done, total, "processes", f"{candidate.name}: {note}"))

    return on_event


@dataclass(slots=True)
class _Bench:
    """Runs one process at a time on a device, each from about the temperature that the first one started at."""

    profile: Profile
    device: Device
    place: MeasuredDevice
    cool_to_c: float | None = field(default=None, init=False)

    def process(
        self, candidate: Candidate, at: tuple[int, int], on_event: Callable[[Mapping[str, Any]], None]
    ) -> Process:
        with temporary_folder("latency") as folder:
            outputs = {"output": folder / "samples.npy"}
            if candidate.end_to_end:
                outputs["e2e_output"] = folder / "end_to_end.npy"
            result = self.device.run(
                self._job(candidate),
                files={"model": candidate.artifact.path},
                outputs=outputs,
                on_event=on_event,
                timeout_s=self.profile.timeout_s + build_s(candidate.backend),
            )
            process = process_of(result, outputs["output"], outputs.get("e2e_output"), place=at)
        if self.cool_to_c is None and self.profile.cool_s:
            celsius = process.telemetry.before.get("temperature_c")
            self.cool_to_c = None if celsius is None else celsius + WARMER_C
        return process

    def _job(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "verb": "latency",
            "backend": candidate.backend,
            "threads": candidate.threads,
            "options": dict(candidate.options),
            "batch": candidate.batch,
            "end_to_end": candidate.end_to_end,
            "cool_to_c": self.cool_to_c,
            "cool_max_s": self.profile.cool_s,
            "rails": _rails(self.place.expect),
            **self.profile.job_fields(),
        }


def _rails(expect: DeviceProfile | None) -> dict[str, Any]:
    """Which rails make up the board, as the probe reads it."""
    if expect is None:
        return {}
    rails: dict[str, Any] = {}
    if expect.rails is not None:
        rails.update(total=expect.rails.total, sum=list(expect.rails.sum))
    if expect.estimated_power is not None:
        rails["estimate"] = expect.estimated_power.model_dump()
    return rails
