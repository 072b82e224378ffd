"""A small SVG writer: elements with escaped text, axes, colours that follow the reader's light or dark."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "dim": "#59636e",
    "rule": "#d8dee4",
    "soft": "#f3f5f7",
    "integer": "#0b8a86",
    "float": "#d9781e",
    "conversion": "#8250df",
    "other": "#8c959f",
}
DARK = {
    "page": "#0d1117",
    "ink": "#e6edf3",
    "dim": "#9198a1",
    "rule": "#2b323b",
    "soft": "#171c23",
    "integer": "#39c5bb",
    "float": "#f0a04b",
    "conversion": "#b794f6",
    "other": "#768390",
}


def style() -> str:
    """Rules for a light page, and for a dark one where the reader asks for it: no variables, old viewers have none."""
    font = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif"
    shapes = (
        f"text{{font-family:{font};font-size:12px}}.small{{font-size:10.5px}}.title{{font-size:19px;font-weight:650}}"
        ".head{font-size:13px;font-weight:600}.figure{font-variant-numeric:tabular-nums}.strong{font-weight:600}"
        ".rule,.axis{stroke-width:1}.roof{stroke-width:1.6;fill:none}.slope{stroke-dasharray:5 3}.dot{fill-opacity:.72}"
        ".halo{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}"
    )
    return f"{shapes}{_colours(LIGHT)}@media(prefers-color-scheme:dark){{{_colours(DARK)}}}"


def _colours(theme: Mapping[str, str]) -> str:
    fills = "".join(
        f".{name}{{fill:{theme[name]}}}" for name in ("page", "soft", "integer", "float", "conversion", "other")
    )
    return (
        f"text{{fill:{theme['ink']}}}text.dim,tspan.dim{{fill:{theme['dim']}}}{fills}"
        f"text.warn{{fill:{theme['float']}}}.rule{{stroke:{theme['rule']}}}.axis{{stroke:{theme['dim']}}}.roof{{stroke:{theme['ink']}}}"
        f".dot,.halo{{stroke:{theme['page']}}}"
    )


def element(name: str, content: str = "", **attributes: object) -> str:
    """An element around content that is SVG already. `class_` is `class`; other underscores are hyphens."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_value(value))}" for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(content: str, x: float, y: float, *, style: str = "", anchor: str = "start") -> str:
    """A line of text from anywhere: escaped here."""
    more = {"text_anchor": anchor} if anchor != "start" else {}
    return element("text", clean(content), x=x, y=y, **({"class_": style} if style else {}), **more)


def rectangle(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    content = str(attributes.pop("content", ""))
    return element("rect", content, x=x, y=y, width=width, height=height, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, style: str = "rule") -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=style)


def tip(content: str) -> str:
    """What a browser shows when the pointer rests on an element."""
    return element("title", clean(content))


def clean(content: str) -> str:
    """Text that XML can hold, escaped."""
    return escape(_NOT_XML.sub("", content))


def ticks(largest: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to at least `largest`, some `count` steps of them."""
    if not largest > 0:
        return [0.0, 1.0]
    rough = largest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [place * step for place in range(math.ceil(largest / step * 0.999) + 1)]


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Powers of ten below and above all values; at least one decade."""
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
