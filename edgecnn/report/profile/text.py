"""A layer profile for a terminal: where the time goes, and the layers that cost most."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgecnn.formats.cost import Kind
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.report import profile as words
from edgecnn.report.wording import NOTHING

STYLES: dict[Kind, str] = {"integer": "cyan", "float": "yellow", "conversion": "magenta", "other": "dim"}
BAR = 24


def render(profile: LayerProfile, *, top: int) -> RenderableType:
    """The whole of it as a rich renderable; `top` layers by name."""
    parts: list[RenderableType] = [Text(words.title(profile), "bold")]
    parts += [Text(line, "yellow") for line in words.warnings(profile)]
    parts += ["", _accounting(profile), "", _kinds(profile)]
    parts += ["", _layers(profile, top)]
    parts += [Padding(Text(line, "dim"), (0, 0, 0, 2)) for line in words.remarks(profile)]
    return Group(*parts, "", *(Text(line) for line in words.findings(profile)))


def _accounting(profile: LayerProfile) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for what, time, remark in words.accounting(profile):
        grid.add_row(Text(what), Text(time), Text(remark))
    outer = Table.grid(padding=(0, 2))
    outer.add_column(style="dim", no_wrap=True)
    outer.add_column(overflow="fold")
    outer.add_row("runtime", Text(words.where(profile)))
    outer.add_row("work", Text(words.work(profile)))
    return _stacked(outer, Text(""), grid)


def _stacked(*parts: RenderableType) -> Table:
    grid = Table.grid()
    for part in parts:
        grid.add_row(part)
    return grid


def _kinds(profile: LayerProfile) -> Table:
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "left", "left"):
        grid.add_column(justify=justify, no_wrap=True)
    name = words.unit(profile)[0]
    for kind, word, ns, share, layers in words.kinds(profile):
        bar = "" if profile.emulated else "█" * max(1, round(share * BAR))
        grid.add_row(
            Text(word),
            Text(f"{words.duration(ns, profile)} {name}"),
            Text(words.share(share, profile)),
            Text(bar.ljust(BAR), STYLES[kind]),
            Text(words.count(layers, "layer"), "dim"),
        )
    return grid


def _layers(profile: LayerProfile, top: int) -> Table:
    shown = profile.top(top)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("layer", overflow="fold", min_width=16)
    table.add_column("operator", overflow="fold")
    table.add_column("type", no_wrap=True)
    columns: Sequence[str] = (words.unit(profile)[0], "share", "MMAC", "GOP/s", "moved")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    if profile.peaks is not None:
        table.add_column("limit", no_wrap=True)
    for rank, layer in enumerate(shown, 1):
        limit = [_limit(layer)] if profile.peaks is not None else []
        table.add_row(
            Text(str(rank), "dim"),
            Text(words.short(layer.name)),
            Text(words.short(layer.op, 28)),
            Text(words.type_of(layer), STYLES[layer.kind]),
            Text(words.duration(layer.time_ns, profile)),
            Text(words.share(layer.share, profile)),
            Text(words.millions(layer.macs)),
            Text(NOTHING if profile.emulated else words.rate(layer)),
            Text(words.moved(layer)),
            *limit,
        )
    share = sum(layer.share for layer in shown)
    if len(shown) < len(profile.layers):
        rest = f"{len(profile.layers) - len(shown)} others: {words.share(1 - share, profile)}"
        table.caption, table.caption_justify, table.caption_style = rest, "left", "dim"
    return table


def _limit(layer: TimedLayer) -> Text:
    text = words.limit(layer)
    return Text(text, "red" if text == "implausible" else "")
