"""What the runtimes' profilers write, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edgecnn.probe.errors import ProbeError
from edgecnn.probe.events import Events
from edgecnn.probe.layers import find, litert, onnxruntime, tensorrt, timing
from edgecnn.probe.layers.litert_c import ProfilerEvent

DATA = Path(__file__).parent / "data"


@pytest.fixture
def quiet_events() -> Callable[[], Any]:
    """The probe's events, written nowhere."""
    return lambda: Events(StringIO())


def node(name: str, us: int, at: int = 0, **more: Any) -> dict[str, Any]:
    about = {"op_name": "Conv", "node_index": name[-1], "provider": "CPUExecutionProvider", **more}
    return {"cat": "Node", "ph": "X", "dur": us, "ts": at, "name": f"{name}_kernel_time", "args": about}


def run(us: int) -> dict[str, Any]:
    return {"cat": "Session", "ph": "X", "dur": us, "ts": 0, "name": "model_run", "args": {}}


def lines(*events: Any) -> list[bytes]:
    return [b"[\n", *(json.dumps(event).encode() + b",\n" for event in events), b"]\n"]


def test_layers_of_the_kept_runs() -> None:
    trace = lines(
        {"cat": "Session", "name": "model_loading_uri", "dur": 1, "ts": 0},
        *(node("a1", 900), node("b2", 900), run(2000)),
        *(node("a1", 10), node("b2", 20), run(33)),
        *(node("a1", 12), node("b2", 26), run(41)),
    )
    layers, sums = onnxruntime.read_trace(trace, [False, True, True])
    assert [(layer["name"], layer["median_ns"], layer["q1_ns"]) for layer in layers] == [
        ("a1", 11_000.0, 10_500.0),
        ("b2", 23_000.0, 21_500.0),
    ]
    assert sums == [30_000, 38_000]


def test_older_versions_write_fences_as_well() -> None:
    fence = {**node("a1", 5), "name": "a1_fence_before"}
    layers, sums = onnxruntime.read_trace(lines(fence, node("a1", 10), run(20)), [True])
    assert len(layers) == 1 and sums == [10_000]


def test_shapes_and_types_are_read_and_nonsense_is_passed_over() -> None:
    told = {
        "input_type_shape": [{"uint8": [1, 3, 8, 8]}, {"float": []}, {"a": [1], "b": [2]}, 7, {"float": "x"}],
        "output_type_shape": "not a list",
    }
    layers, _sums = onnxruntime.read_trace(lines(node("a1", 1, **told), run(2)), [True])
    assert layers[0]["inputs"] == [["uint8", [1, 3, 8, 8]], ["float", []]]
    assert layers[0]["outputs"] == []


def test_a_loop_is_not_counted_twice() -> None:
    inside = [node("i3", 10, at=100), node("i3", 10, at=110)]
    trace = lines(node("a1", 5, at=90), *inside, node("l2", 30, at=98, op_name="Loop"), run(40))
    layers, sums = onnxruntime.read_trace(trace, [True])
    assert {layer["name"]: layer["median_ns"] for layer in layers} == {"a1": 5e3, "i3": 20e3, "l2": 10e3}
    assert sums == [35_000]


@pytest.mark.parametrize(
    "trace",
    [
        [],
        [b"[\n", b"]\n"],
        [b"\x00\xff garbage \n", b"{not json},\n", b"[1, 2]\n", b"null\n"],
        lines(node("a1", 5)),
        lines(run(5)),
        lines({**node("a1", 5), "dur": -3}, run(5)),
        lines({**node("a1", 5), "dur": "5"}, run(5)),
        lines({**node("a1", 5), "name": 7}, run(5)),
        [b'{"cat": "Node", "dur": 5, "ts": 1, "name": "a' + b"x" * (2 << 20) + b'_kernel_time"}\n', *lines(run(5))],
    ],
)
def test_a_broken_trace_is_named_not_traced(trace: list[bytes]) -> None:
    with pytest.raises(ProbeError) as error:
        onnxruntime.read_trace(trace, [True])
    assert error.value.code == "bad-trace"


def test_a_trace_that_was_cut_off_keeps_its_whole_runs() -> None:
    trace = lines(node("a1", 10), run(20), node("a1", 10))[:-1]
    trace.append(b'{"cat": "Node", "name": "b2_kern')
    assert onnxruntime.read_trace(trace, [True, True])[1] == [10_000]


def test_a_long_trace_takes_no_more_room_than_its_runs() -> None:
    events = [event for _ in range(2000) for event in (node("a1", 1), node("b2", 2), run(4))]
    layers, sums = onnxruntime.read_trace(lines(*events), [True] * 2000)
    assert len(layers) == 2 and len(sums) == 2000
    assert len(json.dumps(layers)) < 2000


def test_long_names_are_cut() -> None:
    layers, _sums = onnxruntime.read_trace(lines(node("x" * 5000, 1), run(2)), [True])
    assert len(layers[0]["name"]) == timing.NAME_CHARS


def test_litert_runs_whose_operators_differ_are_left_out() -> None:
    usual = [ProfilerEvent("Convolution (NHWC, F32) IGEMM", True, 0, 5000), ProfilerEvent("SOFTMAX", False, 3, 2000)]
    layers, sums = litert.aggregate([usual[:1], usual, [usual[0]._replace(ns=7000), usual[1]]])
    assert sums == [7000, 9000]
    assert [(layer["op"], layer["delegated"], layer["node"], layer["median_ns"]) for layer in layers] == [
        ("Convolution (NHWC, F32) IGEMM", True, 0, 6000.0),
        ("SOFTMAX", False, 3, 2000.0),
    ]
    for nothing in ([], [[]]):
        with pytest.raises(ProbeError, match="does not tell"):
            litert.aggregate(nothing)


def test_trtexecs_layers_with_and_without_details() -> None:
    times = json.loads((DATA / "trtexec-profile.json").read_text())
    information = json.loads((DATA / "trtexec-layers.json").read_text())
    layers = tensorrt.read_profile(times, information)
    assert [layer["op"] for layer in layers] == [
        "Reformat",
        "CaskConvolution",
        "",
        "PoolingV2",
        "CaskGemmMatrixMultiply",
    ]
    assert layers[1]["weights"] == 9408 and layers[1]["median_ns"] == pytest.approx(58_687.9)
    assert layers[1]["inputs"] == [["Four wide channel vectorized row major Int8 format", [1, 3, 224, 224]]]
    assert layers[1]["details"]["ParameterType"] == "Convolution"
    assert layers[4]["median_ns"] == pytest.approx(9_557.2)  # TensorRT before 8.4 has no median
    names_only = {"Layers": [layer["name"] for layer in layers], "Bindings": []}
    assert [layer["op"] for layer in tensorrt.read_profile(times, names_only)] == [""] * 5


@pytest.mark.parametrize(
    "times", [None, [], {}, [{"count": 5}], [{"name": 3, "averageMs": 1}], [{"name": "a", "averageMs": -1}]]
)
def test_a_broken_profile_of_trtexec(times: Any) -> None:
    with pytest.raises(ProbeError) as error:
        tensorrt.read_profile(times, {"Layers": [5, {"Name": 7}]})
    assert error.value.code == "bad-trace"


def test_trtexecs_times() -> None:
    assert tensorrt.read_times([{"computeMs": 0.5, "latencyMs": 0.9}, {"computeMs": "x"}, 3]) == [500_000]
    with pytest.raises(ProbeError):
        tensorrt.read_times([{"computeMs": float("nan")}])


def test_files_that_trtexec_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('[{"count": 3}')
    for name in ("absent.json", "half.json"):
        with pytest.raises(ProbeError) as error:
            tensorrt._load(str(tmp_path / name))
        assert error.value.code == "bad-trace"


def test_backends_without_a_profiler() -> None:
    for name, code in (("null", "no-layer-times"), ("nobody", "unknown-backend")):
        with pytest.raises(ProbeError) as error:
            find(name)
        assert error.value.code == code


def test_runs_take_turns_in_blocks_and_warm_ups_are_not_kept(
    monkeypatch: pytest.MonkeyPatch, quiet_events: Callable[[], Any]
) -> None:
    monkeypatch.setattr(timing, "WARM_S", 0.0)
    calls: list[str] = []

    def profiled() -> int:
        calls.append("profiled")
        return len(calls)

    plan = timing.TimingPlan(12, 60.0, 0, "", quiet_events())
    taken = timing.interleaved(lambda: calls.append("plain"), profiled, plan)
    assert len(taken.plain_ns) == len(taken.profiled_ns) == sum(taken.kept) == 12
    assert len(taken.kept) == calls.count("profiled")
    assert taken.kept[:4] == [False] * 4  # the warm-up and the first of a block
    counted = [place for place, what in enumerate(calls, 1) if what == "profiled"]
    assert taken.profiled_ns == [place for place, kept in zip(counted, taken.kept, strict=True) if kept]


def test_few_runs_of_a_slow_model(quiet_events: Callable[[], Any]) -> None:
    plan = timing.TimingPlan(30, 10.0, 0, "", quiet_events())
    assert timing.runs_within(plan, run_ns=1_000_000_000) == 5
    assert timing.runs_within(plan, run_ns=60_000_000_000) == timing.FEWEST_RUNS
