"""Texts of a layer profile: its title, the machine, and the figures of a layer in the profile's own unit."""

from __future__ import annotations

from edgecnn.core.units import NOTHING, count, latency, percent
from edgecnn.formats.cost import OperatorKind
from edgecnn.formats.registry import runs_on_gpu, runtime_title
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer

KINDS: tuple[OperatorKind, ...] = ("integer", "float", "conversion", "other")
PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8", "other": NOTHING}
SMALL_NS = 100_000
"""When the dearest layer is quicker than this, times are told in microseconds."""


def title(profile: LayerProfile) -> str:
    return f"{profile.model} on {profile.device}, layer by layer"


def where(profile: LayerProfile) -> str:
    """Runtime, machine, threads."""
    machine = profile.facts.get("board") or profile.facts.get("cpu") or profile.facts.get("machine") or "unknown"
    machine = f"{machine} (emulated)" if profile.emulated else machine
    threads = "" if runs_on_gpu(profile.backend) else f", {count(profile.threads, 'thread')}"
    return f"{runtime(profile)}{threads}; {machine}"


def runtime(profile: LayerProfile) -> str:
    """`ONNX Runtime 1.20.1`: the name people know, and the version."""
    name = runtime_title(profile.backend)
    version = profile.runtime.split(" ")[-1]
    return f"{name} {version}" if version != profile.backend else name


def unit(profile: LayerProfile) -> tuple[str, float]:
    """The unit of layer times and its nanoseconds: milliseconds, or microseconds for a small or a fast model."""
    dearest = max((layer.time_ns for layer in profile.layers), default=0.0)
    return ("µs", 1e3) if dearest < SMALL_NS else ("ms", 1e6)


def duration(ns: float | None, profile: LayerProfile) -> str:
    """A time in the profile's unit; what the clock cannot tell is less than its step. Nothing on an emulated board."""
    name, step = unit(profile)
    if ns is None or profile.emulated:
        return NOTHING
    if ns < profile.resolution_ns:
        return f"<{profile.resolution_ns / step:g}"
    return f"{ns / step:.3f}" if name == "ms" and ns / step < 10 else f"{ns / step:.1f}"


def share(part: float, profile: LayerProfile) -> str:
    """A share of the time, which an emulated board has none of."""
    return NOTHING if profile.emulated else percent(part, 1)


def ranked(profile: LayerProfile, number: int) -> str:
    """What the layers of `profile.top` are."""
    return f"the {count(number, 'layer')} that {'compute' if profile.emulated else 'cost'} most"


def millions(number: int | None) -> str:
    """Multiply-accumulates in millions."""
    if number is None:
        return NOTHING
    return "0" if not number else f"{number / 1e6:.2f}" if number < 1e7 else f"{number / 1e6:.1f}"


def type_of(layer: TimedLayer) -> str:
    """What a layer computes in; a conversion computes nothing."""
    return "convert" if layer.kind == "conversion" else PRECISIONS[layer.precision]


def rate(layer: TimedLayer) -> str:
    """10^9 operations per second."""
    return NOTHING if layer.gops is None else f"{layer.gops:.1f}"


def limit(layer: TimedLayer) -> str:
    """What limits a layer, and which share of the bound it reaches."""
    bound = layer.bound
    if bound is None:
        return NOTHING
    if bound.implausible:
        return "implausible"
    return f"{bound.limit}, cached" if bound.cached else f"{bound.limit} {bound.reached * 100:.0f} %"


def work(profile: LayerProfile) -> str:
    """What the model computes, how quickly, and against what could be."""
    if profile.macs is None:
        return "what the layers compute is not known"
    macs = profile.macs / 1e9
    counted = f"{macs:.2f} G" if macs >= 1 else f"{macs * 1e3:.1f} M"
    text = f"{counted} multiply-accumulates"
    if profile.emulated:
        return text
    if profile.whole.median_ns:
        text += f", {2 * profile.macs / profile.whole.median_ns:.1f} GOP/s"
    if profile.bound is not None and not profile.bound.implausible:
        least = latency(profile.bound.least_ns)
        text += f"; at best {least} by the roofline, {percent(profile.bound.reached, 1)} of that reached"
    return text


def kinds(profile: LayerProfile) -> list[tuple[OperatorKind, float, float, int]]:
    """(kind, ns, share, how many layers), what there is of it, dearest first."""
    rows = []
    for kind in KINDS:
        layers = profile.of_kind(kind)
        if layers:
            rows.append(
                (kind, sum(layer.time_ns for layer in layers), sum(layer.share for layer in layers), len(layers))
            )
    return sorted(rows, key=lambda row: -row[1])
