"""Findings of a layer profile: what memory limits, what stayed in float, and what makes the times doubtful."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.core.units import count, first_few, latency, percent, short
from edgecnn.measure.layer_profile import NEGLIGIBLE_SHARE, LayerProfile, TimedLayer

NAMED = 3
LARGE_OVERHEAD = 0.1
LARGE_SPREAD = 0.1
"""Between the quartiles of whole runs."""


def findings(profile: LayerProfile) -> list[str]:
    """What follows, most useful first."""
    return [*_memory(profile), *_float(profile), *_conversions(profile)]


def _memory(profile: LayerProfile) -> list[str]:
    if profile.emulated:
        return []
    if profile.peaks is None:
        return [f"no roofline: the peaks of {profile.device} are not known"]
    layers = profile.limited_by_memory()
    if not layers:
        return ["no layer is limited by memory"]
    return [f"{_together(layers, count(len(layers), 'layer'), profile)}, limited by memory: {named(layers, profile)}"]


def _float(profile: LayerProfile) -> list[str]:
    if not profile.is_integer:
        return []
    layers = profile.of_kind("float")
    if not layers:
        return ["every layer that computes does so in INT8"]
    return [f"{_together(layers, count(len(layers), 'layer'), profile)}, stayed in float: {named(layers, profile)}"]


def _conversions(profile: LayerProfile) -> list[str]:
    layers = profile.of_kind("conversion")
    if not layers:
        return ["no conversions of type or layout"]
    counted = f"{count(len(layers), 'conversion')} of type or layout"
    if not profile.emulated and sum(layer.share for layer in layers) < NEGLIGIBLE_SHARE:
        return [f"{counted}, next to nothing of the time"]
    return [f"{_together(layers, counted, profile)}: {named(layers, profile)}"]


def warnings(profile: LayerProfile) -> list[str]:
    """What keeps the numbers from being what they seem."""
    lines = []
    if profile.emulated:
        lines.append("emulated: times say nothing about the board")
    wrong = profile.implausible()
    if wrong:
        lines.append(
            f"quicker than {profile.device} can be: {named(wrong, profile)}; a wrong profile, clock or precision"
        )
    if profile.bound is not None and profile.bound.implausible:
        least = latency(profile.bound.least_ns)
        lines.append(f"the whole model is quicker than {profile.device} can be at best, {least}: do not believe it")
    whole = profile.whole
    if whole.median_ns and not profile.emulated and (whole.q3_ns - whole.q1_ns) / whole.median_ns > LARGE_SPREAD:
        lines.append("whole runs differ much from each other: something else is running there")
    elif (profile.overhead or 0) > LARGE_OVERHEAD and not profile.emulated:
        lines.append(f"the profiler adds {percent(profile.overhead, 1)}: small layers look longer than they are")
    unknown = [layer for layer in profile.layers if layer.macs is None and layer.share >= NEGLIGIBLE_SHARE]
    if unknown:
        lines.append(f"what these compute is not known: {named(unknown, profile)}")
    return lines


def named(layers: Sequence[TimedLayer], profile: LayerProfile) -> str:
    """The dearest of some layers by name, operator and share; the first of them on an emulated board."""
    dear = list(layers) if profile.emulated else sorted(layers, key=lambda layer: -layer.time_ns)
    return first_few((f"{short(layer.name)} ({_beside(layer, profile)})" for layer in dear), NAMED)


def _beside(layer: TimedLayer, profile: LayerProfile) -> str:
    if profile.emulated:
        return layer.op
    return f"{'' if layer.name in layer.op else layer.op + ', '}{percent(layer.share, 1)}"


def _together(layers: Sequence[TimedLayer], said: str, profile: LayerProfile) -> str:
    """`3 layers, 12.5 % of the time`."""
    return said if profile.emulated else f"{said}, {percent(sum(layer.share for layer in layers), 1)} of the time"
