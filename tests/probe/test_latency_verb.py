from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.probe import backends, telemetry
from edgecnn.probe.errors import ProbeError
from edgecnn.probe.events import Events
from edgecnn.probe.job import Job
from edgecnn.probe.latency import LatencyPlan, latency

WARMUP = {"min_runs": 5, "min_s": 0.0, "max_s": 0.05, "max_runs": 10, "limit_s": 1.0}
MEASURE = {"min_iterations": 20, "min_s": 0.0, "max_s": 2.0}

Asked = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    """`ask(backend=..., model=..., ...)`: the result of a latency job, with `samples_ns` and `e2e_ns` as arrays."""

    def run(**fields: Any) -> dict[str, Any]:
        output, whole = tmp_path / "samples.npy", tmp_path / "whole.npy"
        job = {"backend": "null", "model": "", "output": str(output), "e2e_output": str(whole), "sensors": False}
        result = latency(Job({**job, "warmup": WARMUP, "measure": MEASURE, **fields}), Events(io.StringIO()))
        json.dumps(result, allow_nan=False)
        return {**result, "samples_ns": np.load(output), "e2e_ns": np.load(whole)}

    return run


def test_a_free_batch_is_filled(ask: Asked, onnx_model: Path) -> None:
    result = ask(backend="onnxruntime", model=str(onnx_model), batch=4)
    assert result["batch"] == 4
    assert len(result["samples_ns"]) >= 20


def test_a_fixed_batch_is_not_passed_over(ask: Asked, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", kind, [2, 3, 8, 8]), helper.make_tensor_value_info("k", kind, [3])]
    outputs = [helper.make_tensor_value_info("y", kind, [2, 3, 8, 8])]
    pair = helper.make_node("Sum", ["x", "x"], ["y"])
    graph = helper.make_graph([pair], "pair", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "pair.onnx"
    )
    job = {"backend": "onnxruntime", "model": str(tmp_path / "pair.onnx")}
    with pytest.raises(ProbeError, match="2 images at a time, not 1") as caught:
        ask(**job)
    assert caught.value.code == "fixed-batch" and "batch 2" in caught.value.hint
    assert not (tmp_path / "samples.npy").exists()
    assert ask(**job, batch=2)["batch"] == 2, "an input of one axis has no batch"


def test_a_tflite_file_is_resized(ask: Asked, tflite_model: Callable[..., Path]) -> None:
    for dtype in ("float32", "int8"):
        assert ask(backend="tflite", model=str(tflite_model(dtype)), batch=3)["inputs"][0]["shape"] == (3, 8, 8, 3)


def test_a_tflite_file_with_its_batch_written_into_it_says_so(ask: Asked, tflite_reshape: Path) -> None:
    with pytest.raises(ProbeError) as caught:
        ask(backend="tflite", model=str(tflite_reshape), batch=3)
    assert caught.value.code == "fixed-batch"
    assert caught.value.why
    assert ask(backend="tflite", model=str(tflite_reshape))["batch"] == 1


@pytest.mark.parametrize("batch", [0, -1])
def test_no_image_at_all_is_no_batch(ask: Asked, batch: int) -> None:
    with pytest.raises(ProbeError) as caught:
        ask(batch=batch)
    assert caught.value.code == "bad-job"


def test_end_to_end_is_a_series_of_its_own(ask: Asked, onnx_model: Path, tflite_model: Callable[..., Path]) -> None:
    for backend, model in (("onnxruntime", onnx_model), ("tflite", tflite_model("int8"))):
        result = ask(backend=backend, model=str(model), end_to_end=True, batch=2)
        whole_ns = np.median(result["e2e_ns"]) / result["e2e_runs_per_sample"]
        assert len(result["e2e_ns"]) >= 20
        assert whole_ns > np.median(result["samples_ns"]) / result["runs_per_sample"]
    assert len(ask(backend="onnxruntime", model=str(onnx_model))["e2e_ns"]) == 0


def test_end_to_end_takes_a_fifth_of_the_samples(ask: Asked) -> None:
    many = {"min_iterations": 500, "min_s": 0.0, "max_s": 5.0}
    assert len(ask(end_to_end=True, measure=many)["e2e_ns"]) == 100


def test_a_model_that_takes_no_image_has_no_end_to_end(ask: Asked) -> None:
    assert len(ask(end_to_end=True, options={"shape": [1, 10]})["e2e_ns"]) == 0


def test_sensors_are_read_around_and_beside_it(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.05)
    result = ask(sensors=True, measure={**MEASURE, "min_s": 0.3})["telemetry"]
    assert result["before"]["disk_free_bytes"] > 0
    assert result["before"].keys() <= result["after"].keys() | {"cpu_busy"}
    times_s = [reading["t_s"] for reading in result["samples"]]
    assert times_s == sorted(times_s) and all(time_s >= 0 for time_s in times_s)
    if "linux" in result["sources"]:
        assert len(result["samples"]) >= 2
        assert result["before"]["boot_id"] == result["after"]["boot_id"]


def test_nothing_is_waited_for_where_there_is_no_temperature(ask: Asked) -> None:
    begin = time.monotonic()
    assert ask(cool_to_c=-300.0, cool_max_s=60)["cooled_s"] < 1
    assert time.monotonic() - begin < 10


class OwnClock:
    """A backend that times itself, as a program of its own would."""

    def __init__(self, **told: Any) -> None:
        self._told = told
        self.plan: LatencyPlan | None = None
        self.options: Mapping[str, Any] = {}

    def version(self, options: Mapping[str, Any]) -> str:
        return "9.9"

    def measure(self, path: str, options: Mapping[str, Any], plan: LatencyPlan) -> dict[str, Any]:
        self.plan, self.options = plan, options
        with plan.watched():
            time.sleep(0.3)
        return {"samples": [1e6, 2e6, 3e6 + 0.4], "load_ns": 5, "first_ns": 7, **self._told}


def test_a_backend_with_its_own_clock_gives_the_same_result(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnClock(steady=False, findings={"cpu-fallback": "a layer ran on the CPU"}, facts={"engine": "abc"})
    monkeypatch.setattr(backends, "find", lambda name: own)
    result = ask(backend="own", batch=4, threads=2, end_to_end=True)
    assert own.plan is not None
    assert (own.plan.batch, own.options["threads"], own.plan.measure.min_iterations) == (4, 2, 20)
    assert result["samples_ns"].tolist() == [1_000_000, 2_000_000, 3_000_000]
    assert (result["load_ns"], result["first_ns"], result["runs_per_sample"], result["batch"]) == (5, 7, 1, 4)
    assert (result["steady"], result["peak_rss_bytes"]) == (False, None)
    assert result["other_load"] is None or 0 <= result["other_load"] <= 1
    assert result["own_load"] is None or result["own_load"] >= 0
    assert result["findings"] == {"cpu-fallback": "a layer ran on the CPU"}
    assert (result["facts"]["engine"], result["facts"]["runtime"]) == ("abc", "9.9")
    assert len(result["e2e_ns"]) == 0
    ours = ask()
    monkeypatch.undo()
    assert ours.keys() | {"findings"} == result.keys()
    assert ask().keys() <= result.keys()


def test_the_window_of_its_own_clock_is_as_long_as_its_samples(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.05)
    monkeypatch.setattr(backends, "find", lambda name: OwnClock(samples=[2e8]))
    samples = ask(backend="own", sensors=True)["telemetry"]["samples"]
    assert all(0 <= reading["t_s"] <= 0.2 for reading in samples)
