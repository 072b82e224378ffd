"""A bar for each layer in the order of execution."""

from __future__ import annotations

from collections.abc import Mapping

from edgecnn.core.units import percent
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.report.profile import layer_text
from edgecnn.report.profile.svg.drawing import element, line, rectangle, text, ticks, tip

LEFT, HEIGHT = 44.0, 210.0
LABEL = 13.0
"""Width of a rank above a bar."""


def draw(profile: LayerProfile, ranks: Mapping[int, int], *, width: float) -> str:
    """The panel from (0, 0); its plot is `HEIGHT` high. `ranks` by a layer's index."""
    if profile.emulated:
        return text("emulated: times would say nothing about the board", 0, HEIGHT / 2, style="dim")
    name, step = layer_text.unit(profile)
    scale = ticks(max(layer.time_ns for layer in profile.layers) / step, 5)
    wide, high = (width - LEFT) / len(profile.layers), HEIGHT / scale[-1]
    parts = [
        text(f"time of each layer, in the order of execution ({name})", 0, -16, style="head"),
        _legend(profile, width),
    ]
    for tick in scale:
        y = HEIGHT - tick * high
        parts += [line(LEFT, y, width, y), text(f"{tick:g}", LEFT - 8, y + 4, style="dim figure small", anchor="end")]
    gap = min(2.0, wide * 0.18)
    for layer in profile.layers:
        x, tall = LEFT + layer.index * wide, layer.time_ns / step * high
        parts.append(
            rectangle(
                *(x + gap / 2, HEIGHT - tall, max(wide - gap, 0.4), tall),
                rx=min(1.5, wide / 5),
                class_=layer.kind,
                content=tip(about(profile, layer)),
            )
        )
    parts += [
        line(LEFT, HEIGHT, width, HEIGHT, "axis"),
        *_numbers(profile, wide),
        *_ranks(profile, ranks, wide, high / step),
    ]
    return element("g", "".join(parts))


def about(profile: LayerProfile, layer: TimedLayer) -> str:
    """A layer in one line."""
    name, _step = layer_text.unit(profile)
    facts = [f"{layer_text.duration(layer.time_ns, profile)} {name}", percent(layer.share, 1)]
    if layer.macs:
        facts.append(f"{layer_text.millions(layer.macs)} MMAC")
    if layer.bound is not None:
        facts.append(layer_text.limit(layer))
    return f"{layer.index + 1}. {layer.name}, {layer.op}: {', '.join(facts)}"


def _legend(profile: LayerProfile, width: float) -> str:
    parts, x = [], width
    for kind, _ns, share, _layers in reversed(layer_text.kinds(profile)):
        label = f"{kind} {percent(share, 1)}"
        x -= 6.4 * len(label)
        parts.append(text(label, x, -16, style="dim"))
        parts.append(rectangle(x - 16, -25.5, 10.0, 10.0, rx=2, class_=kind))
        x -= 34
    return "".join(parts)


def _numbers(profile: LayerProfile, wide: float) -> list[str]:
    """Every tenth layer's number, or every hundredth of a deep net."""
    count = len(profile.layers)
    every = 5 if count <= 40 else 10 if count <= 150 else 50
    shown = [1, *range(every, count + 1, every)]
    return [
        text(str(number), LEFT + (number - 0.5) * wide, HEIGHT + 16, style="dim figure small", anchor="middle")
        for number in shown
    ]


def _ranks(profile: LayerProfile, ranks: Mapping[int, int], wide: float, high: float) -> list[str]:
    """The rank over each of the dearest layers; one that would cover its neighbour's stands higher."""
    parts: list[str] = []
    last = (-1e9, 0.0)
    for layer in profile.layers:
        if layer.index not in ranks:
            continue
        x, y = LEFT + (layer.index + 0.5) * wide, HEIGHT - layer.time_ns * high - 5
        if x - last[0] < LABEL and abs(y - last[1]) < 11:
            y = min(y, last[1] - 11)
        parts.append(text(str(ranks[layer.index]), x, y, style="figure small strong halo", anchor="middle"))
        last = (x, y)
    return parts
