"""A layer profile as text, Markdown, JSON and a picture: what is said, and that nothing in a name can break it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from edgecnn.core.units import latency
from edgecnn.formats.cost import ComputePrecision, Cost, OperatorKind
from edgecnn.measure.layer_profile import LayerProfile, Spread, TimedLayer
from edgecnn.measure.roofline import Bound, Peaks, bound
from edgecnn.report import archive, html, markdown, text
from edgecnn.report.profile import findings, layer_text, svg
from edgecnn.report.profile.document import document
from edgecnn.report.profile.svg.drawing import decades, ticks

PEAKS = Peaks("cpu", {"fp32": 153.6e9, "int8": 614.4e9}, 17.1e9)
SVG = "{http://www.w3.org/2000/svg}"

ROWS: tuple[tuple[str, str, OperatorKind, ComputePrecision, float, Cost], ...] = (
    ("input/quantize", "QuantizeLinear", "conversion", "fp32", 0.127, Cost(0, 150528, 5, 752640)),
    ("stem", "QLinearConv", "integer", "int8", 1.9, Cost(10838016, 21676032, 1162, 551936)),
    ("block.0.depthwise", "QLinearConv", "integer", "int8", 1.2, Cost(3612672, 7225344, 586, 802816)),
    ("block.0.project", "FusedConv", "float", "fp32", 2.4, Cost(6422528, 12845056, 2112, 2408448)),
    ("block.0.shape", "Shape", "other", "other", 0.0, Cost(0, 0, 0, 40)),
    ("head", "QLinearConv", "integer", "int8", 0.8, Cost(20070400, 40140800, 421130, 78400)),
    ("melted", "Myelin", "float", "fp16", 0.4, Cost()),
)


def built(peaks: Peaks | None = PEAKS, **facts: Any) -> LayerProfile:
    together = sum(row[4] for row in ROWS) * 1e6
    layers = []
    for index, (name, op, kind, precision, ms, cost) in enumerate(ROWS):
        found = bound(cost, precision=precision, time_ns=ms * 1e6, peaks=peaks, resolution_ns=1000)
        layers.append(
            TimedLayer(
                index=index,
                name=name,
                runs_as=f"{name}_token_1",
                op=op,
                kind=kind,
                precision=precision,
                shape=(1, 32, 112, 112) if cost.macs else None,
                time_ns=ms * 1e6,
                time_q1_ns=ms * 0.95e6,
                time_q3_ns=ms * 1.1e6,
                share=ms * 1e6 / together,
                macs=cost.macs,
                operations=cost.operations,
                weight_bytes=cost.weight_bytes,
                activation_bytes=cost.activation_bytes,
                merged=(),
                bound=found,
            )
        )
    return LayerProfile(
        model="net.onnx",
        sha256="0" * 64,
        format="onnx",
        device="pi",
        backend="onnxruntime",
        threads=4,
        method="onnxruntime-profiler",
        resolution_ns=1000,
        whole=Spread(7.0e6, 6.9e6, 7.2e6, 30),
        profiled=Spread(7.2e6, 7.1e6, 7.3e6, 30),
        summed=Spread(together, together, together, 30),
        layers=tuple(layers),
        peaks=peaks,
        bound=Bound(0.3e6, "compute", 0.043, False, False) if peaks else None,
        facts={"runtime": "1.20.1", "board": "Raspberry Pi 5 Model B Rev 1.0", **facts},
    )


def plain(profile: LayerProfile, width: int = 120, top: int = 10) -> str:
    sink = StringIO()
    Console(file=sink, width=width, color_system=None, highlight=False, markup=False, emoji=False).print(
        text.render(document(profile, top=top))
    )
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def test_text(golden: Callable[[str, str], None]) -> None:
    golden("profile.txt", plain(built()))
    golden("profile-host.txt", plain(built(peaks=None), top=3))


def test_markdown(golden: Callable[[str, str], None]) -> None:
    golden("profile.md", markdown.render(document(built(), top=3)))


def test_a_narrow_terminal_loses_no_layer() -> None:
    said = plain(built(), width=80)
    assert all(len(line) <= 80 for line in said.splitlines())
    assert "stem" in said and "head" in said


def test_json_is_plain_and_says_what_it_is() -> None:
    raw = json.loads(archive.dumps(built().to_dict()))
    assert raw["schema"] == "edgecnn.profile/1"
    assert raw["share_by_kind"]["integer"] == pytest.approx(3.9 / 6.827)
    assert raw["layers"][1]["gops"] == pytest.approx(2 * 10838016 / 1.9e6)
    assert raw["layers"][6]["macs"] is None and raw["layers"][6]["bound"] is None
    assert raw["overhead"] == pytest.approx(7.2 / 7.0 - 1)
    assert raw["accounted"] == pytest.approx(6.827 / 7.2)
    assert raw["emulated"] is False


def test_an_emulated_board_is_called_one_everywhere_and_no_speed_is_told() -> None:
    profile = built(peaks=None, emulated=True)
    for said in (plain(profile), markdown.render(document(profile, top=5)), svg.render(profile, top=5)):
        assert "mulated: times say nothing about the board" in said.replace("EMULATED", "emulated")
        assert not re.search(r"\d (?:ms|µs|%)", said), "no time, and no share of it"
    assert "3 layers that compute most" in svg.render(profile, top=3)
    assert "3 layers that compute most" in markdown.render(document(profile, top=3))
    assert "roofline" not in " ".join(findings.findings(profile))
    assert "GOP/s" not in layer_text.work(profile)
    assert profile.top(1)[0].name == "head", "what computes most, for nobody knows what takes longest"


def test_the_json_of_an_emulated_board_has_no_times() -> None:
    raw = json.loads(archive.dumps(built(peaks=None, emulated=True).to_dict()))
    for name in ("whole", "profiled", "summed", "overhead", "accounted", "share_by_kind"):
        assert raw[name] is None
    for layer in raw["layers"]:
        assert {layer[name] for name in ("time_ns", "time_q1_ns", "time_q3_ns", "share", "gops")} == {None}
    assert raw["layers"][1]["macs"] == 10838016


def test_what_was_quicker_than_memory_is_not_limited_by_it() -> None:
    profile = built()
    cached = [layer for layer in profile.layers if layer.bound is not None and layer.bound.cached]
    slow = replace(profile.layers[0], bound=Bound(1e5, "memory", 0.8, False, False))
    quick = replace(profile.layers[2], bound=Bound(2e6, "memory", 1.7, True, False))
    found = replace(profile, layers=(slow, quick, *cached)).limited_by_memory()
    assert found == [slow]


def test_times_that_cannot_be_are_named() -> None:
    profile = built()
    wrong = replace(profile.layers[5], bound=Bound(9e6, "compute", 11.0, False, True))
    said = findings.warnings(replace(profile, layers=(*profile.layers[:5], wrong)))
    assert any("quicker than pi can be: head" in line for line in said)


def test_a_disturbed_run_and_a_heavy_profiler_are_told() -> None:
    disturbed = replace(built(), whole=Spread(7e6, 5e6, 9e6, 30))
    assert any("something else is running" in line for line in findings.warnings(disturbed))
    heavy = replace(built(), profiled=Spread(9e6, 9e6, 9e6, 30))
    assert any("the profiler adds 28.6 %" in line for line in findings.warnings(heavy))


def test_a_profiler_that_tells_no_whole_run() -> None:
    profile = replace(built(), profiled=None, method="trtexec", resolution_ns=500, backend="tensorrt")
    assert profile.overhead is None
    assert "of the whole model's time" in plain(profile)
    assert "without copies" in plain(profile)


def test_a_quick_model_is_told_in_microseconds() -> None:
    profile = built()
    quick = replace(profile, layers=tuple(replace(layer, time_ns=layer.time_ns / 1e3) for layer in profile.layers))
    assert layer_text.unit(quick) == ("µs", 1e3)
    assert layer_text.duration(1900.0, quick) == "1.9"
    assert layer_text.duration(10.0, quick) == "<1"
    assert layer_text.duration(10.0, profile) == "<0.001"
    assert latency(123456.0) == "0.123 ms" and latency(1.5e9) == "1500 ms"


def parsed(profile: LayerProfile, top: int = 10) -> ET.Element:
    return ET.fromstring(svg.render(profile, top=top))  # noqa: S314 - our own


def test_the_picture_has_a_bar_for_each_layer_and_a_dot_for_each_known_speed() -> None:
    root = parsed(built())
    bars = [item for item in root.iter(f"{SVG}rect") if item.find(f"{SVG}title") is not None]
    assert [item.get("class") for item in bars] == [row[2] for row in ROWS]
    heights = [float(item.get("height") or 0) for item in bars]
    assert heights[3] == max(heights) and heights[4] == 0
    dots = list(root.iter(f"{SVG}circle"))
    assert len(dots) == 5
    words_in = " ".join(item.text or "" for item in root.iter(f"{SVG}text"))
    assert "INT8 614.4 GOP/s" in words_in and "memory 17.1 GB/s" in words_in


def test_the_picture_needs_nothing_else() -> None:
    drawn = svg.render(built(), top=10)
    assert "prefers-color-scheme:dark" in drawn
    for outside in ("<script", "<image", "href", "@import", "url(", "<foreignObject"):
        assert outside not in drawn


@pytest.mark.parametrize("peaks", [PEAKS, None])
@pytest.mark.parametrize("count", [1, 7, 700])
def test_any_number_of_layers_makes_a_whole_picture(peaks: Peaks | None, count: int) -> None:
    profile = built(peaks)
    layers = [replace(profile.layers[index % 7], index=index, share=1 / count) for index in range(count)]
    parsed(replace(profile, layers=tuple(layers)), top=40)


def test_a_model_without_a_single_known_time_or_cost() -> None:
    profile = built(peaks=None)
    still = tuple(replace(layer, time_ns=0.0, share=0.0, macs=None, operations=None) for layer in profile.layers)
    nothing = replace(profile, layers=still, summed=Spread(0, 0, 0, 1), whole=Spread(0, 0, 0, 1), profiled=None)
    assert parsed(nothing) is not None
    assert "not known" in plain(nothing)
    assert markdown.render(document(nothing, top=2))
    json.loads(archive.dumps(nothing.to_dict()))


HOSTILE = "</text><script>alert(1)</script> & \"q\" 'p' `c` | *b* _i_ [l](javascript:x) \x00\x1b[31m\ud800 <!-- ]]>"


def test_a_hostile_name_stays_a_name() -> None:
    profile = built()
    layers = tuple(replace(layer, name=HOSTILE, op=HOSTILE) for layer in profile.layers)
    profile = replace(profile, layers=layers, model=HOSTILE, device="<b>", facts={"board": HOSTILE, "runtime": HOSTILE})
    root = parsed(profile)
    assert not list(root.iter(f"{SVG}script"))
    page = html.render(document(profile, top=3))
    assert "<script" not in page and "<b>" not in page
    written = markdown.render(document(profile, top=3))
    outside_code = re.sub(r"`[^`\n]*`", "", written)
    assert not re.search(r"(?<!\\)(<script|\]\(javascript|\*b\*)", outside_code)
    table = [line for line in written.splitlines() if line.startswith("| ")]
    columns = {len(line.replace("\\|", "").split("|")) for line in table}
    assert columns == {5, 6, 14}


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (0.43, [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (5.0, [0, 1, 2, 3, 4, 5]),
        (0.0, [0, 1]),
        (1234, [0, 250, 500, 750, 1000, 1250]),
    ],
)
def test_ticks(largest: float, expected: list[float]) -> None:
    assert ticks(largest, 5) == pytest.approx(expected)


def test_decades() -> None:
    assert decades([0.3, 40]) == (-1, 2)
    assert decades([10, 10]) == (1, 2)
