"""What `edgecnn profile` found, in words: the same in every renderer."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.formats.cost import Kind
from edgecnn.formats.registry import RUNTIMES
from edgecnn.measure.layer_profile import NEGLIGIBLE_SHARE, LayerProfile, TimedLayer
from edgecnn.report.wording import NOTHING, size

KINDS: dict[Kind, str] = {
    "integer": "integer",
    "float": "float",
    "conversion": "conversion",
    "other": "other",
}
METHODS = {
    "onnxruntime-profiler": "ONNX Runtime's profiler",
    "litert-profiler": "LiteRT's profiler",
    "trtexec": "trtexec's layer profile",
}
PRECISIONS = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8", "other": NOTHING}
NAMED = 3
LARGE_OVERHEAD = 0.1
LARGE_SPREAD = 0.1
"""Between the quartiles of whole runs."""
SMALL_NS = 100_000
"""When the dearest layer is quicker than this, times are told in microseconds."""


FILES = ("profile.md", "profile.json", "profile.svg")
"""What a profile is written to."""


def title(profile: LayerProfile) -> str:
    return f"{profile.model} on {profile.device}, layer by layer"


def where(profile: LayerProfile) -> str:
    """Runtime, machine, threads."""
    machine = profile.facts.get("board") or profile.facts.get("cpu") or profile.facts.get("machine") or "unknown"
    machine = f"{machine} (emulated)" if profile.emulated else machine
    threads = "" if profile.backend == "tensorrt" else f", {count(profile.threads, 'thread')}"
    return f"{runtime(profile)}{threads}; {machine}"


def runtime(profile: LayerProfile) -> str:
    """`ONNX Runtime 1.20.1`: the name people know, and the version."""
    name = RUNTIMES.get(profile.backend, profile.backend)
    version = profile.runtime.split(" ")[-1]
    return f"{name} {version}" if version != profile.backend else name


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


def long_duration(ns: float) -> str:
    """A time of the whole model, with its unit."""
    value, name = (ns / 1e6, "ms") if ns >= 1e5 else (ns / 1e3, "µs")
    return f"{value:.0f} {name}" if value >= 100 else f"{value:#.3g} {name}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share * 100:.1f} %"


def share(part: float, profile: LayerProfile) -> str:
    """A share of the time, which an emulated board has none of."""
    return NOTHING if profile.emulated else percent(part)


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


def moved(layer: TimedLayer) -> str:
    return size(layer.nbytes)


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


def accounting(profile: LayerProfile) -> list[tuple[str, str, str]]:
    """(what, time, remark): the whole model, with the profiler, and its layers together."""
    if profile.emulated:
        return [("whole model", "emulated", "its times are none of the board's, so none are shown")]
    whole = profile.whole
    spread = f"{long_duration(whole.q1_ns)} to {long_duration(whole.q3_ns)} for the middle half of {whole.runs} runs"
    rows = [("whole model", long_duration(whole.median_ns), f"without the profiler; {spread}")]
    if profile.profiled is not None:
        remark = f"{(profile.overhead or 0) * 100:+.1f} %".replace("-", "−")
        rows.append(("with the profiler", long_duration(profile.profiled.median_ns), remark))
    against = "of the run with the profiler" if profile.profiled is not None else "of the whole model's time"
    remark = f"{percent(profile.accounted)} {against}; the rest is the runtime between them"
    if (profile.accounted or 0) > 1:
        remark = f"{percent(profile.accounted)} {against}: the profiler's own work is in them"
    rows.append(("its layers together", long_duration(profile.summed.median_ns), remark))
    return rows


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
        least = long_duration(profile.bound.least_ns)
        text += f"; at best {least} by the roofline, {percent(profile.bound.reached)} of that reached"
    return text


def kinds(profile: LayerProfile) -> list[tuple[Kind, str, float, float, int]]:
    """(kind, its word, ns, share, how many layers), what there is of it, dearest first."""
    rows = []
    for kind, word in KINDS.items():
        layers = profile.of_kind(kind)
        if layers:
            together = sum(layer.time_ns for layer in layers)
            rows.append((kind, word, together, sum(layer.share for layer in layers), len(layers)))
    return sorted(rows, key=lambda row: -row[2])


def named(layers: Sequence[TimedLayer], profile: LayerProfile) -> str:
    """The dearest of some layers by name, operator and share; the first of them on an emulated board."""
    dear = list(layers) if profile.emulated else sorted(layers, key=lambda layer: -layer.time_ns)
    shown = ", ".join(f"{short(layer.name)} ({_beside(layer, profile)})" for layer in dear[:NAMED])
    return shown + (f" and {len(dear) - NAMED} more" if len(dear) > NAMED else "")


def _beside(layer: TimedLayer, profile: LayerProfile) -> str:
    if profile.emulated:
        return layer.op
    return f"{'' if layer.name in layer.op else layer.op + ', '}{percent(layer.share)}"


def _together(layers: Sequence[TimedLayer], said: str, profile: LayerProfile) -> str:
    """`3 layers, 12.5 % of the time`."""
    return said if profile.emulated else f"{said}, {percent(sum(layer.share for layer in layers))} of the time"


def short(name: str, width: int = 48) -> str:
    """A name with its middle cut out where it is long: both its ends tell layers apart."""
    if len(name) <= width:
        return name
    kept = width - 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def findings(profile: LayerProfile) -> list[str]:
    """What follows, most useful first."""
    return [
        *_memory(profile),
        *_float(profile),
        *_conversions(profile),
    ]


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
    said = f"{count(len(layers), 'conversion')} of type or layout"
    if not profile.emulated and sum(layer.share for layer in layers) < NEGLIGIBLE_SHARE:
        return [f"{said}, next to nothing of the time"]
    return [f"{_together(layers, said, profile)}: {named(layers, profile)}"]


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
        least = long_duration(profile.bound.least_ns)
        lines.append(f"the whole model is quicker than {profile.device} can be at best, {least}: do not believe it")
    whole = profile.whole
    if whole.median_ns and not profile.emulated and (whole.q3_ns - whole.q1_ns) / whole.median_ns > LARGE_SPREAD:
        lines.append("whole runs differ much from each other: something else is running there")
    elif (profile.overhead or 0) > LARGE_OVERHEAD and not profile.emulated:
        lines.append(f"the profiler adds {percent(profile.overhead)}: small layers look longer than they are")
    unknown = [layer for layer in profile.layers if layer.macs is None and layer.share >= NEGLIGIBLE_SHARE]
    if unknown:
        lines.append(f"what these compute is not known: {named(unknown, profile)}")
    return lines


def remarks(profile: LayerProfile) -> list[str]:
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
