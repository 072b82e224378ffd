"""Figures and facts of a report as words, the same in every text renderer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgecnn.report.model import Report, Row
from edgecnn.report.search import Search, TrialRow

NOTHING = "–"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def percent(share: float | None, digits: int = 2) -> str:
    """A share of one as a percentage without its sign: 0.7525 is `75.25`."""
    return NOTHING if share is None else f"{share * 100:.{digits}f}"


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with a true minus sign."""
    if share is None:
        return NOTHING
    text = f"{share * 100:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def milliseconds(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return NOTHING
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def size(size_bytes: float | None) -> str:
    """Bytes in powers of ten, as file managers and data sheets count them."""
    if size_bytes is None:
        return NOTHING
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def between(low: str, high: str) -> str:
    """An interval, short enough for a table; nothing where there is none."""
    return "" if NOTHING in (low, high) or low == high else f"{low} … {high}"


def drop(row: Row) -> tuple[str, str]:
    """Loss of top-1 accuracy in points, and its interval."""
    found = row.accuracy
    if found is None or found.drop is None:
        return NOTHING, ""
    return points(found.drop), between(points(found.drop_low), points(found.drop_high))


def median(row: Row) -> tuple[str, str]:
    """Median latency in milliseconds, and its interval."""
    if row.speed is None or row.speed.emulated:
        return _untimed(row), ""
    low, high = milliseconds(row.speed.median_low_ms), milliseconds(row.speed.median_high_ms)
    return milliseconds(row.speed.median_ms), between(low, high)


def p90(row: Row) -> str:
    """90th percentile of the latency in milliseconds."""
    if row.speed is None or row.speed.emulated:
        return _untimed(row)
    return milliseconds(row.speed.p90_ms)


def _untimed(row: Row) -> str:
    """In place of a time: an emulated board's says nothing about the board."""
    return "emulated" if row.speed is not None else NOTHING


def speedup(row: Row) -> tuple[str, str]:
    """How many times faster than FP32 in the same runtime, and its interval."""
    speed = row.speed
    if speed is None or speed.emulated or speed.speedup is None:
        return NOTHING, ""
    low = NOTHING if speed.speedup_low is None else f"{speed.speedup_low:.2f}"
    high = NOTHING if speed.speedup_high is None else f"{speed.speedup_high:.2f}"
    return f"{speed.speedup:.2f}x", between(low, high)


def verdict(row: Row) -> str:
    """PASS, FAIL, INCONCLUSIVE; `baseline` for what the others are compared with; `failed` or `skipped`."""
    if row.status != "ok":
        return row.status
    return row.outcome or ("baseline" if row.is_baseline else NOTHING)


def model(report: Report) -> str:
    facts = report.model
    parts = [facts.name]
    if facts.parameters:
        parts.append(f"{facts.parameters / 1e6:.2f} M parameters")
    if facts.input_shape:
        parts.append("input " + "x".join(str(side) for side in facts.input_shape))
    if facts.num_classes:
        parts.append(f"{facts.num_classes} classes")
    return ", ".join(parts)


def target(report: Report) -> str:
    return str(report.target.get("title") or report.target.get("name") or "unknown")


def data(report: Report) -> str:
    calibration, evaluation = report.data.count("calibration"), report.data.count("evaluation")
    if report.data.form == "synthetic":
        return f"none given: calibrated on {calibration} images made from batch-norm statistics, none to judge on"
    if not calibration and not evaluation:
        return "none"
    parts = [f"calibrated on {calibration} images"] if calibration else []
    judged = f"judged on {evaluation} {'others' if calibration else 'images'}" if evaluation else "none to judge on"
    return ", ".join([*parts, judged])


def recipe(report: Report) -> str:
    stages = " → ".join(str(next(iter(stage), "")) for stage in report.recipe.stages)
    return f"{report.recipe.name}: {stages}" if stages else report.recipe.name


def allowed(report: Report) -> str:
    drop = f"{report.max_drop * 100:g}"
    said = f"at most {drop} point{'' if drop == '1' else 's'} of top-1 accuracy may be lost"
    latency, largest = report.budget.max_latency, report.budget.max_size
    said += f", at most {latency:g} ms for one image" if latency is not None else ""
    return said + (f", at most {size(largest)}" if largest is not None else "")


def climb_title(climb: Search) -> str:
    """`onnx: searched on 1,000 images, certified on 1,000 others`."""
    if len(climb.attempts) < 2:
        return climb.format
    return f"{climb.format}: searched on {climb.searching:,} images, certified on {climb.certifying:,} others"


def climb_cells(tried: TrialRow, climb: Search) -> tuple[str, str, str, str, str]:
    """Attempt, drop with its bounds, agreement, size and what became of it."""
    chosen = " (delivered)" if tried.label == climb.chosen and len(climb.attempts) > 1 else ""
    drop = NOTHING
    if tried.drop is not None and tried.drop_low is not None and tried.drop_high is not None:
        drop = f"{100 * tried.drop:.2f} [{100 * tried.drop_low:.2f}, {100 * tried.drop_high:.2f}]"
    state = f"{tried.state}: {tried.why}" if tried.why else tried.state
    return tried.label + chosen, drop, percent(tried.agreement), size(tried.size_bytes), state


def worth_showing(climb: Search) -> bool:
    """Whether there was a climb, or a reason why there was none."""
    return len(climb.attempts) > 1 or bool(climb.why)


def fusion(row: Row) -> str:
    """What the runtime made of the file, in one line; empty where nobody looked."""
    found = row.fusion
    if found is None:
        return ""
    if found.status == "skipped":
        return f"not checked in {found.runtime}: {found.note or 'no reason given'}"
    if row.precision != "int8":
        return ""
    integer, floating = found.integer, found.floating
    if found.runtime == "tensorrt":
        share = "all" if not floating else f"{integer} of"
        return f"{share} {integer + floating} layers with weights have Q/DQ on input and weight; {found.note}"
    if not floating:
        return f"all {integer} layers run in INT8 in {found.runtime}" if integer else f"{found.runtime} accepts it"
    layers = "layer stays" if floating == 1 else "layers stay"
    return f"{floating} of {integer + floating} {layers} float in {found.runtime}"


def float_layers(row: Row) -> list[str]:
    """The layers an INT8 file still computes in float, and why."""
    layers = row.fusion.float_layers if row.fusion else ()
    return [f"{layer.name} ({layer.op}): {layer.why}" for layer in layers]


def notes(row: Row) -> list[str]:
    """What a reader must know before trusting a row's figures."""
    said: list[str] = []
    if row.status != "ok":
        said.append(f"{row.status}: {row.reason or 'no reason given'}")
    if row.outcome in ("FAIL", "INCONCLUSIVE") and row.outcome_why:
        said.append(row.outcome_why)
    if row.accuracy is not None and row.accuracy.stand_in:
        said.append(f"accuracy taken in {row.accuracy.runtime}: {row.accuracy.stand_in}")
    if row.speed is not None:
        said.extend(row.speed.reasons)
    return list(dict.fromkeys(said))


def legend(report: Report) -> str:
    """What the intervals of the table are; only those that are there."""
    said = []
    if any(row.accuracy and row.accuracy.drop_low is not None for row in report.rows):
        said.append("drop: against FP32 in the same runtime, each bound at 95 %")
    speeds = [row.speed for row in report.rows if row.speed is not None and not row.speed.emulated]
    if any(speed.interval == "ci95" for speed in speeds):
        said.append("median: 95 % interval over processes")
    elif speeds and max(speed.processes for speed in speeds) > 1:
        said.append("median: smallest and largest of the processes")
    if any(speed.speedup_interval == "ci95" for speed in speeds):
        said.append("speedup: FP32 / this, 95 % interval over blocks")
    elif any(speed.speedup is not None for speed in speeds):
        said.append("speedup: FP32 / this, too few blocks for an interval")
    return "; ".join(said)


def grouped_notes(report: Report) -> list[tuple[str, str]]:
    """(artifacts, note) for the whole report: notes that differ in their numbers only are said once, in the words of
    the artifact with the largest."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for row in report.rows:
        for text in (*notes(row), *_judged_on(row, report)):
            groups.setdefault(_NUMBER.sub("#", text), []).append((row.name, text))
    said = []
    for group in groups.values():
        names = list(dict.fromkeys(name for name, _ in group))
        text = max((text for _, text in group), key=lambda words: [float(found) for found in _NUMBER.findall(words)])
        said.append((names[0] if len(names) == 1 else f"{len(names)} artifacts", text))
    return said


def _judged_on(row: Row, report: Report) -> list[str]:
    """Where the other images had a part in choosing the file: on how many it is judged, and what FP32 has there."""
    images = max((other.accuracy.images for other in report.rows if other.accuracy), default=0)
    if row.accuracy is None or row.accuracy.images == images:
        return []
    said = f"judged on the {row.accuracy.images:,} of {images:,} images that had no part in choosing it"
    if row.accuracy.top1 is None or row.accuracy.drop is None:
        return [said]
    return [f"{said}, where FP32 has {row.accuracy.top1 + row.accuracy.drop:.2%}"]


def warnings(report: Report) -> list[str]:
    """Every warning once: those of the run, then those of each row with its name."""
    of_rows = (f"{row.name}: {text}" for row in report.rows for text in row.warnings if text not in report.warnings)
    return list(dict.fromkeys([*report.warnings, *of_rows]))


def seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f} s"


def joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)
