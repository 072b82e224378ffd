"""The roofline: operations per second over operations per byte, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgecnn.core.units import count
from edgecnn.formats.cost import ComputePrecision
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.measure.roofline import Peaks
from edgecnn.report.profile import layer_text
from edgecnn.report.profile.svg.bars import about
from edgecnn.report.profile.svg.drawing import decades, element, line, text, tip

LEFT, HEIGHT = 44.0, 270.0
SMALLEST, LARGEST = 2.5, 15.0
NUMBER = 11.0
"""Size of a rank."""


class _Plane(NamedTuple):
    """From intensity and 10^9 operations per second to places."""

    width: float
    x: tuple[int, int]
    y: tuple[int, int]

    def at(self, intensity: float, gops: float) -> tuple[float, float]:
        across = (math.log10(intensity) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(gops) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (self.width - LEFT), HEIGHT * (1 - up)


def draw(profile: LayerProfile, ranks: Mapping[int, int], *, width: float) -> str:
    """The panel from (0, 0); its plot is `HEIGHT` high."""
    head = text("what each layer reaches, GOP/s", 0, -16, style="head")
    shown = [layer for layer in profile.layers if layer.gops and layer.intensity]
    if profile.emulated or not shown:
        why = (
            "emulated: speeds would say nothing about the board"
            if profile.emulated
            else "what the layers cost is not known"
        )
        return element("g", head + text(why, LEFT, HEIGHT / 2, style="dim"))
    rates = _rates(profile.peaks, shown)
    plane = _plane(shown, rates, width)
    parts = [head, *_grid(plane), *_roofs(plane, profile.peaks, rates)]
    for layer in sorted(shown, key=lambda layer: -layer.share):
        parts.append(_dot(plane, profile, layer))
    named = sorted((layer for layer in shown if layer.index in ranks), key=lambda layer: ranks[layer.index])
    parts += _numbers(plane, [(ranks[layer.index], layer) for layer in named])
    parts += _caption(profile, shown, width)
    return element("g", "".join(parts))


def _rates(peaks: Peaks | None, shown: Sequence[TimedLayer]) -> dict[ComputePrecision, float]:
    """Peaks in 10^9 operations per second, of the types that a layer computes in."""
    used = {layer.precision for layer in shown}
    operations_per_s = peaks.operations_per_s if peaks is not None else {}
    return {precision: rate / 1e9 for precision, rate in operations_per_s.items() if precision in used}


def _plane(shown: Sequence[TimedLayer], rates: Mapping[ComputePrecision, float], width: float) -> _Plane:
    intensities = [layer.intensity or 1.0 for layer in shown]
    speeds = [layer.gops or 1.0 for layer in shown]
    return _Plane(width, decades(intensities), decades([*speeds, *rates.values()]))


def _grid(plane: _Plane) -> list[str]:
    parts = []
    for power in range(plane.x[0], plane.x[1] + 1):
        x, _y = plane.at(10.0**power, 10.0 ** plane.y[0])
        parts += [
            line(x, 0, x, HEIGHT),
            text(f"{10.0**power:g}", x, HEIGHT + 16, style="dim figure small", anchor="middle"),
        ]
    for power in range(plane.y[0], plane.y[1] + 1):
        _x, y = plane.at(10.0 ** plane.x[0], 10.0**power)
        parts += [
            line(LEFT, y, plane.width, y),
            text(f"{10.0**power:g}", LEFT - 8, y + 4, style="dim figure small", anchor="end"),
        ]
    return parts


def _roofs(plane: _Plane, peaks: Peaks | None, rates: Mapping[ComputePrecision, float]) -> list[str]:
    """For each type that a layer computes in: the slope of memory up to the flat of computing."""
    if peaks is None:
        return []
    parts = []
    gbps = peaks.bytes_per_s / 1e9 if peaks.bytes_per_s else None
    left, right = 10.0 ** plane.x[0], 10.0 ** plane.x[1]
    for name, gops in rates.items():
        start = max(left, gops / gbps) if gbps else left
        if start < right:
            parts.append(_path([plane.at(start, gops), plane.at(right, gops)], "roof"))
        x, y = plane.at(right, gops)
        label = f"{layer_text.PRECISIONS[name]} {gops:.4g} GOP/s"
        parts.append(text(label, x - 4, y - 6, style="small halo", anchor="end"))
    if gbps:
        highest = max(rates.values(), default=10.0 ** plane.y[1])
        low, high = max(left, 10.0 ** plane.y[0] / gbps), min(right, highest / gbps)
        if low < high:
            parts.append(_path([plane.at(low, low * gbps), plane.at(high, high * gbps)], "roof slope"))
            x, y = plane.at(math.sqrt(low * high), math.sqrt(low * high) * gbps)
            parts.append(text(f"memory {gbps:.4g} GB/s", x - 8, y - 6, style="small halo", anchor="end"))
    return parts


def _path(points: Sequence[tuple[float, float]], style: str) -> str:
    return element("path", d="M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=style)


def _radius(layer: TimedLayer) -> float:
    """An area in proportion to the time, within reason."""
    return min(LARGEST, max(SMALLEST, 44 * math.sqrt(layer.share)))


def _dot(plane: _Plane, profile: LayerProfile, layer: TimedLayer) -> str:
    x, y = plane.at(layer.intensity or 1.0, layer.gops or 1.0)
    content = tip(about(profile, layer))
    return element("circle", content, cx=x, cy=y, r=_radius(layer), class_=f"dot {layer.kind}")


def _numbers(plane: _Plane, named: Sequence[tuple[int, TimedLayer]]) -> list[str]:
    """The rank in each dear layer's dot; one that would cover a dearer layer's is left out."""
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for rank, layer in named:
        x, y = plane.at(layer.intensity or 1.0, layer.gops or 1.0)
        if all(math.dist((x, y), other) > NUMBER for other in taken):
            parts.append(text(str(rank), x, y + 4, style="figure small strong halo", anchor="middle"))
            taken.append((x, y))
    return parts


def _caption(profile: LayerProfile, shown: Sequence[TimedLayer], width: float) -> list[str]:
    parts = [text("operations per byte moved", width, HEIGHT + 34, style="dim small", anchor="end")]
    left_out = len(profile.layers) - len(shown)
    notes = ["area: share of the time"]
    if left_out:
        notes.append(f"{count(left_out, 'layer')} without arithmetic or too quick for the clock left out")
    if profile.peaks is None:
        notes.append("no roof: this device's peaks are not known")
    parts += [text(note, LEFT, HEIGHT + 34 + 15 * place, style="dim small") for place, note in enumerate(notes)]
    return parts
