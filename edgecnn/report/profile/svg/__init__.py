"""A layer profile as one self-contained picture: bars, roofline, and the layers that cost most."""

from __future__ import annotations

from edgecnn.core.units import latency
from edgecnn.measure.layer_profile import LayerProfile
from edgecnn.report.profile import layer_text
from edgecnn.report.profile.svg import bars, ranking, roof
from edgecnn.report.profile.svg.drawing import element, rectangle, style, text, tip

WIDTH, MARGIN = 1120, 40
TOP_OF_BARS = 140
MOST_RANKED = 12


def render(profile: LayerProfile, *, top: int) -> str:
    """An SVG document; at most twelve layers are named. Every text in it is escaped."""
    shown = profile.top(min(top, MOST_RANKED))
    ranks = {layer.index: rank for rank, layer in enumerate(shown, 1)}
    wide = WIDTH - 2 * MARGIN
    below = TOP_OF_BARS + bars.HEIGHT + 82
    half = wide / 2 - 24
    height = int(below + max(roof.HEIGHT + 76, len(shown) * ranking.ROW + 24))
    parts = [
        tip(layer_text.title(profile)),
        element("style", style()),
        rectangle(0.0, 0.0, float(WIDTH), float(height), class_="page", rx=10),
        *_head(profile),
        _at(MARGIN, TOP_OF_BARS, bars.draw(profile, ranks, width=wide)),
        _at(MARGIN, below, roof.draw(profile, ranks, width=half)),
        _at(MARGIN + half + 48, below, ranking.draw(profile, shown, width=half)),
    ]
    about = {"viewBox": f"0 0 {WIDTH} {height}", "width": WIDTH, "height": height, "role": "img"}
    return element("svg", "\n".join(parts), xmlns="http://www.w3.org/2000/svg", **about) + "\n"


def _head(profile: LayerProfile) -> list[str]:
    time = "emulated" if profile.emulated else latency(profile.whole.median_ns)
    whole = f"{time}, {layer_text.work(profile)}"
    lines = [
        text(layer_text.title(profile), MARGIN, 44, style="title"),
        text(layer_text.where(profile), MARGIN, 66, style="dim"),
    ]
    lines.append(text(whole, MARGIN, 84, style="dim"))
    if profile.emulated:
        lines.append(
            text("EMULATED: times say nothing about the board", WIDTH - MARGIN, 44, style="head warn", anchor="end")
        )
    return lines


def _at(x: float, y: float, content: str) -> str:
    return element("g", content, transform=f"translate({x:g} {y:g})")
