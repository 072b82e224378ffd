"""Roofline: how quick a layer could be at best, from what it computes and moves and what a board can do.

A lower bound, for judging whether a time is plausible and what limits a layer. It predicts nothing: batch 1 stays far
below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgecnn.core.device import DeviceProfile, Hardware
from edgecnn.formats.cost import ComputePrecision, Cost
from edgecnn.formats.registry import runs_on_gpu

LARGEST_CACHE_BYTES = 32 << 20
"""No board has more. What fits into a cache may be moved faster than memory can; what does not, cannot."""
TENSOR_CORES_SINCE = 8.0
"""From this compute capability on FP32 may run on tensor cores as TF32, at half the rate of FP16."""

Limit = Literal["compute", "memory"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the part of a board that runs the model can do at most.

    `operations_per_s` by precision, for the threads used; `bytes_per_s` between it and memory, theoretical.
    """

    part: Literal["cpu", "gpu"]
    operations_per_s: Mapping[ComputePrecision, float]
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time for a layer, and what sets it. `reached` is the share of it: 1 is as quick as can be.

    `cached`: quicker than memory could bring the bytes, so they were in a cache. `implausible`: quicker than can be at
    all: a wrong unit, a skipped synchronisation, FP16 taken for FP32.
    """

    least_ns: float
    limit: Limit
    reached: float
    cached: bool
    implausible: bool


def peaks(profile: DeviceProfile, *, backend: str, threads: int, facts: Mapping[str, Any]) -> Peaks | None:
    """The peaks of what `backend` runs on; None where the profile has none, as that of this host.

    A bound must not be too high, so the higher clocks of a Super mode count unless the board says that it is in
    another one.
    """
    hardware = profile.hardware
    if hardware is None or facts.get("emulated"):
        return None
    fast = facts.get("power_mode") not in profile.power_modes or facts.get("power_mode") in profile.power_modes_super
    rates = _gpu(hardware, fast=fast) if runs_on_gpu(backend) else _cpu(hardware, threads, fast=fast)
    gbps = max(filter(None, (hardware.memory.gbps, hardware.memory.gbps_super if fast else None)), default=None)
    known = {precision: peak for precision, peak in rates.items() if peak}
    if not known and gbps is None:
        return None
    return Peaks("gpu" if runs_on_gpu(backend) else "cpu", known, gbps * 1e9 if gbps is not None else None)


def _cpu(hardware: Hardware, threads: int, *, fast: bool) -> dict[ComputePrecision, float]:
    cpu = hardware.cpu
    share = min(threads, cpu.cores) / cpu.cores
    if fast and cpu.max_mhz and cpu.max_mhz_super:
        share *= max(1.0, cpu.max_mhz_super / cpu.max_mhz)
    rates: dict[ComputePrecision, float | None] = {
        "fp32": cpu.fp32_gflops,
        "fp16": cpu.fp16_gflops,
        "int8": cpu.int8_gops,
    }
    return {precision: rate * 1e9 * share for precision, rate in rates.items() if rate is not None}


def _gpu(hardware: Hardware, *, fast: bool) -> dict[ComputePrecision, float]:
    gpu = hardware.gpu
    if gpu is None:
        return {}
    faster = gpu.super if fast else None
    rates: dict[ComputePrecision, float] = {}
    for precision, name in (("fp32", "fp32_tflops"), ("fp16", "fp16_tflops"), ("int8", "int8_tops")):
        values = [getattr(clocks, name) for clocks in (gpu, faster) if clocks is not None]
        best = max(filter(None, values), default=None)
        if best is not None:
            rates[precision] = best * 1e12  # type: ignore[index]
    if float(gpu.compute_capability) >= TENSOR_CORES_SINCE and "fp16" in rates:
        rates["fp32"] = max(rates.get("fp32", 0.0), rates["fp16"] / 2)
    return rates


def bound(
    cost: Cost, *, precision: ComputePrecision, time_ns: float, peaks: Peaks | None, resolution_ns: float = 0.0
) -> Bound | None:
    """The bound of one layer; None where the peaks or the cost are not known.

    A clock of `resolution_ns` gets the benefit of the doubt: a layer may have taken that much longer than it says.
    """
    if peaks is None or cost.operations is None or cost.nbytes is None:
        return None
    rate = peaks.operations_per_s.get(precision)
    computing = cost.operations / rate * 1e9 if rate else 0.0
    moving = cost.nbytes / peaks.bytes_per_s * 1e9 if peaks.bytes_per_s else 0.0
    if not (computing or moving):
        return None
    return bound_of(computing, moving, nbytes=cost.nbytes, time_ns=time_ns + resolution_ns)


def bound_of(computing_ns: float, moving_ns: float, *, nbytes: int, time_ns: float) -> Bound:
    """The bound of what computes and moves `nbytes` for at least these times, and took `time_ns`."""
    least = max(computing_ns, moving_ns)
    too_big = nbytes > LARGEST_CACHE_BYTES
    return Bound(
        least_ns=least,
        limit="compute" if computing_ns >= moving_ns else "memory",
        reached=least / time_ns if time_ns else float("inf"),
        cached=computing_ns <= time_ns < moving_ns and not too_big,
        implausible=time_ns < computing_ns or (time_ns < moving_ns and too_big),
    )
