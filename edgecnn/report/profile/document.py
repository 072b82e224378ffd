"""A layer profile as a document: where the time goes, what follows, the dearest layers, and every layer in order."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.core.units import NOTHING, count, latency, percent, size
from edgecnn.measure.layer_profile import LayerProfile, TimedLayer
from edgecnn.report import document as doc
from edgecnn.report import markdown
from edgecnn.report.profile import layer_text, svg
from edgecnn.report.profile.findings import findings, warnings

PICTURE = "profile.svg"
METHODS = {
    "onnxruntime-profiler": "ONNX Runtime's profiler",
    "litert-profiler": "LiteRT's profiler",
    "trtexec": "trtexec's layer profile",
}


def document(profile: LayerProfile, *, top: int = 10) -> doc.Document:
    """The whole profile; `top` layers by name."""
    dear = profile.top(top)
    accounting = doc.Table(doc.columns("", "time", "", left=(0, 2)), tuple(_accounting(profile)), plain=True)
    rest: tuple[str, ...] = ()
    if len(dear) < len(profile.layers):
        share = layer_text.share(1 - sum(layer.share for layer in dear), profile)
        rest = (f"{len(profile.layers) - len(dear)} others: {share}",)
    blocks: tuple[doc.Element | None, ...] = (
        *doc.warnings(warnings(profile)),
        doc.Pairs((("runtime", layer_text.where(profile)), ("work", layer_text.work(profile)))),
        doc.Picture(PICTURE, "Time of each layer, and the roofline", svg.render(profile, top=top)),
        doc.section("where the time goes", accounting, _kinds(profile), bare=True),
        doc.section("findings", doc.bullets(findings(profile)), last=True, bare=True),
        doc.section(
            layer_text.ranked(profile, len(dear)),
            _layers(profile, dear, notes=(*rest, *_remarks(profile)), is_ranked=True),
            bare=True,
        ),
        doc.section("every layer, in the order of execution", _layers(profile, profile.layers), full=True),
    )
    return doc.Document(layer_text.title(profile), doc.present(*blocks))


def to_markdown(profile: LayerProfile) -> str:
    """The whole of it as Markdown."""
    return markdown.render(document(profile))


def files(profile: LayerProfile) -> tuple[str, ...]:
    """The names of the files a profile is written to."""
    return ("profile.md", "profile.json", PICTURE)


def _accounting(profile: LayerProfile) -> list[tuple[str, str, str]]:
    """(what, time, remark): the whole model, with the profiler, and its layers together."""
    if profile.emulated:
        return [("whole model", "emulated", "its times are none of the board's, so none are shown")]
    whole = profile.whole
    spread = f"{latency(whole.q1_ns)} to {latency(whole.q3_ns)} for the middle half of {whole.runs} runs"
    rows = [("whole model", latency(whole.median_ns), f"without the profiler; {spread}")]
    if profile.profiled is not None:
        remark = f"{(profile.overhead or 0) * 100:+.1f} %".replace("-", "−")
        rows.append(("with the profiler", latency(profile.profiled.median_ns), remark))
    against = "of the run with the profiler" if profile.profiled is not None else "of the whole model's time"
    remark = f"{percent(profile.accounted, 1)} {against}; the rest is the runtime between them"
    if (profile.accounted or 0) > 1:
        remark = f"{percent(profile.accounted, 1)} {against}: the profiler's own work is in them"
    rows.append(("its layers together", latency(profile.summed.median_ns), remark))
    return rows


def _kinds(profile: LayerProfile) -> doc.BarChart:
    name = layer_text.unit(profile)[0]
    bars = (
        doc.Bar(
            kind,
            (
                f"{layer_text.duration(ns, profile)} {name}",
                layer_text.share(share, profile),
                count(layers, "layer"),
            ),
            None if profile.emulated else share,
            kind,
        )
        for kind, ns, share, layers in layer_text.kinds(profile)
    )
    return doc.BarChart(("kind", "time", "share", "layers"), tuple(bars))


def _layers(
    profile: LayerProfile, layers: Sequence[TimedLayer], *, notes: tuple[str, ...] = (), is_ranked: bool = False
) -> doc.Table:
    """A row for each layer; the number is its rank, as in the picture, or its place in the order of execution."""
    titles = (
        doc.Column("#", right=True),
        doc.Column("layer", width=48),
        doc.Column("operator", width=28),
        doc.Column("type"),
        doc.Column(layer_text.unit(profile)[0], right=True),
        doc.Column("quartiles", right=True, full=True),
        *(doc.Column(title, right=True) for title in ("share", "MMAC", "GOP/s", "moved")),
        doc.Column("output", full=True),
        *((doc.Column("limit"),) if profile.peaks is not None else ()),
    )
    rows = (_cells(profile, layer, number if is_ranked else layer.index + 1) for number, layer in enumerate(layers, 1))
    return doc.Table(titles, tuple(rows), notes=notes)


def _cells(profile: LayerProfile, layer: TimedLayer, number: int) -> tuple[doc.Cell | str, ...]:
    quartiles = NOTHING
    if layer.time_q1_ns is not None and layer.time_q3_ns is not None:
        low, high = (layer_text.duration(ns, profile) for ns in (layer.time_q1_ns, layer.time_q3_ns))
        quartiles = f"{low} … {high}"
    limit = layer_text.limit(layer)
    cells: tuple[doc.Cell | str, ...] = (
        doc.Cell(str(number), tone="dim"),
        doc.Cell(layer.name, code=True),
        doc.Cell(layer.op, code=True),
        doc.Cell(layer_text.type_of(layer), tone=layer.kind),
        layer_text.duration(layer.time_ns, profile),
        quartiles,
        layer_text.share(layer.share, profile),
        layer_text.millions(layer.macs),
        NOTHING if profile.emulated else layer_text.rate(layer),
        size(layer.nbytes),
        "x".join(map(str, layer.shape)) if layer.shape else NOTHING,
    )
    limited = (doc.Cell(limit, tone="bad" if limit == "implausible" else ""),)
    return cells + (limited if profile.peaks is not None else ())


def _remarks(profile: LayerProfile) -> list[str]:
    """How to read the table."""
    lines = [
        f"{METHODS.get(profile.method, profile.method)}; median of each layer over the runs. "
        "An operation is an addition or a multiplication: two for each multiply-accumulate"
    ]
    if profile.method == "trtexec":
        lines.append("the whole model is GPU time without copies to and from the GPU")
    if profile.resolution_ns >= 1e3 and not profile.emulated:
        lines.append(f"its clock has steps of {profile.resolution_ns / 1e3:g} µs")
    if profile.peaks is not None:
        lines.append(
            "limit: what bounds the layer by the roofline, and the share of that bound it reaches; "
            "cached: quicker than memory is, so its data was in a cache"
        )
    return lines
