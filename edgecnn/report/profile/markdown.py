"""A layer profile as Markdown: the summary, the dearest layers, and every layer in the order of execution."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.report import profile as words
from edgecnn.report.wording import NOTHING

PICTURE = "profile.svg"
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~#!&$])")


def render(profile: LayerProfile, *, top: int = 10) -> str:
    """A document that shows the picture beside it."""
    dear = profile.top(top)
    parts = [
        f"# {escape(words.title(profile))}",
        f"{escape(words.where(profile))}. {escape(_sentence(words.work(profile)))}",
        *(f"> **{escape(line)}**" for line in words.warnings(profile)),
        f"![Time of each layer, and the roofline]({PICTURE})",
        "## Where the time goes",
        table(("", "time", ""), words.accounting(profile), right={1}),
        table(
            ("kind", words.unit(profile)[0], "share", "layers"),
            (
                (word, words.duration(ns, profile), words.share(share, profile), str(layers))
                for _kind, word, ns, share, layers in words.kinds(profile)
            ),
            right={1, 2, 3},
        ),
        "\n".join(f"- {escape(line)}" for line in words.findings(profile)),
        "## " + words.ranked(profile, len(dear)).capitalize(),
        _layers(profile, dear),
        "\n".join(f"- {escape(line)}" for line in words.remarks(profile)),
        "## Every layer, in the order of execution",
        _layers(profile, profile.layers),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _layers(profile: LayerProfile, layers: Sequence[TimedLayer]) -> str:
    titles = ["#", "layer", "operator", "type", words.unit(profile)[0], "quartiles", "share", "MMAC", "GOP/s", "moved"]
    titles += ["output"] + (["limit"] if profile.peaks is not None else [])
    return table(titles, (_cells(profile, layer) for layer in layers), right={0, 4, 5, 6, 7, 8, 9})


def _cells(profile: LayerProfile, layer: TimedLayer) -> list[str]:
    quartiles = NOTHING
    if layer.time_q1_ns is not None and layer.time_q3_ns is not None:
        quartiles = f"{words.duration(layer.time_q1_ns, profile)} … {words.duration(layer.time_q3_ns, profile)}"
    cells = [
        str(layer.index + 1),
        _code(words.short(layer.name, 96)),
        _code(layer.op),
        words.type_of(layer),
        words.duration(layer.time_ns, profile),
        quartiles,
        words.share(layer.share, profile),
        words.millions(layer.macs),
        NOTHING if profile.emulated else words.rate(layer),
        words.moved(layer),
        "x".join(map(str, layer.shape)) if layer.shape else NOTHING,
    ]
    return cells + ([words.limit(layer)] if profile.peaks is not None else [])


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, right: set[int]) -> str:
    """A Markdown table; columns in `right` are aligned there."""
    lines = [
        "| " + " | ".join(titles) + " |",
        "|" + "|".join(" --: " if place in right else " :-- " for place in range(len(titles))) + "|",
    ]
    lines += ["| " + " | ".join(cell if cell.startswith("`") else escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _code(name: str) -> str:
    """A name as it is written, in one cell."""
    return "`" + name.replace("`", "'").replace("|", "\\|") + "`" if name else ""


def escape(text: str) -> str:
    """Text that means itself in Markdown: names of layers come from files and boards."""
    return _MARKUP.sub(r"\\\1", text.replace("\n", " "))
