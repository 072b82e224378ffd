"""The layers that cost most, with a bar for the share of each."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.core.units import percent, short
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.report.profile import layer_text
from edgecnn.report.profile.svg.drawing import clean, element, rectangle, text

ROW = 27.0


def draw(profile: LayerProfile, shown: Sequence[TimedLayer], *, width: float) -> str:
    """The panel from (0, 0), a row of `ROW` for each layer."""
    name, _step = layer_text.unit(profile)
    share = sum(layer.share for layer in shown)
    head = layer_text.ranked(profile, len(shown)) + ("" if profile.emulated else f": {percent(share, 1)} of the time")
    parts = [text(head, 0, -16, style="head")]
    largest = max((layer.share for layer in shown), default=1.0) or 1.0
    for rank, layer in enumerate(shown, 1):
        y = (rank - 1) * ROW
        parts += [
            rectangle(22.0, y - 2, width - 22, ROW - 5, rx=3, class_="soft"),
            rectangle(
                22.0,
                y - 2,
                1.5 if profile.emulated else max(1.5, (width - 22) * layer.share / largest),
                ROW - 5,
                rx=3,
                class_=layer.kind,
                fill_opacity=0.32,
            ),
            text(str(rank), 14, y + 13, style="figure strong", anchor="end"),
            element(
                "text",
                f"{element('tspan', clean(short(layer.name, 32)), class_='strong')}"
                f"{element('tspan', clean('  ' + short(layer.op, 24)), class_='dim small')}",
                x=30,
                y=y + 13,
            ),
            text(
                f"{layer_text.duration(layer.time_ns, profile)} {name}",
                width - 58,
                y + 13,
                style="figure",
                anchor="end",
            ),
            text(layer_text.share(layer.share, profile), width - 8, y + 13, style="figure dim", anchor="end"),
        ]
    return element("g", "".join(parts))
