"""The probe as the host sees it: a job in, numbered lines out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.measure.probe_archive import probe_archive

WARMUP = {"min_runs": 10, "min_s": 0.02, "max_s": 0.1, "max_runs": 20, "limit_s": 1.0}
MEASURE = {"min_iterations": 20, "min_s": 0.02, "max_s": 2.0}


def probe(job: str | dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    text = job if isinstance(job, str) else json.dumps(job)
    done = subprocess.run(
        [sys.executable, "-B", str(probe_archive())], input=text.encode(), capture_output=True, check=False, timeout=60
    )
    events = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert [event["event"] in ("result", "error") for event in events] == [False] * (len(events) - 1) + [True]
    assert done.returncode == (0 if events[-1]["event"] == "result" else 1)
    return done.returncode, events


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("{not json", "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ({}, "'verb'"),
        ({"verb": 3}, "'verb'"),
        ({"verb": "fly"}, "no verb is called 'fly'"),
        ({"verb": "latency", "backend": "null"}, "'warmup'"),
        ({"verb": "latency", "backend": "null", "warmup": {"min": 1}, "measure": MEASURE}, "Warmup"),
        ({"verb": "accuracy", "backend": "null", "pixels": "/absent.npy", "mean": [0], "std": [1]}, "/absent.npy"),
    ],
)
def test_a_bad_job_is_named_not_traced(job: str | dict[str, Any], says: str) -> None:
    _code, events = probe(job)
    assert events[-1]["event"] == "error"
    assert events[-1]["code"] == "bad-job"
    assert says in events[-1]["message"]


def test_latency_says_what_it_saw(onnx_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "samples.npy"
    job = {"verb": "latency", "backend": "onnxruntime", "model": str(onnx_model), "output": str(output), "threads": 1}
    _code, events = probe({**job, "warmup": WARMUP, "measure": MEASURE})
    result = events[-1]
    samples = np.load(output, allow_pickle=False)
    assert [event.get("name") for event in events[:-1]] == ["warm-up", "measuring"]
    assert len(samples) == result["samples"] >= 20
    assert samples.dtype == np.int64 and samples.min() > 0
    assert result["runs_per_sample"] >= 1
    assert 0 < result["first_ns"] < result["load_ns"] * 100
    assert 0 <= result["peak_rss_delta_bytes"] < result["peak_rss_bytes"]
    assert result["inputs"] == [{"name": "x", "shape": ["n", 3, 8, 8], "dtype": "float32", "layout": "NCHW"}]
    assert result["facts"]["runtime"] and result["facts"]["python"] and result["facts"]["cores"] >= 1
    assert not list(tmp_path.glob("*.part"))


def test_accuracy_writes_one_row_per_image(onnx_model: Path, tmp_path: Path) -> None:
    import onnxruntime

    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    session = onnxruntime.InferenceSession(str(onnx_model), providers=["CPUExecutionProvider"])
    images = ((pixels / np.float32(255) - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    expected = session.run(None, {"x": images.astype(np.float32)})[0]
    for batch in (None, 1, 3):
        output = tmp_path / f"logits{batch}.npy"
        job = {"verb": "accuracy", "backend": "onnxruntime", "model": str(onnx_model), "output": str(output)}
        _code, events = probe({**job, "pixels": str(tmp_path / "pixels.npy"), "mean": mean, "std": std, "batch": batch})
        assert events[-1]["images"] == 7
        logits = np.load(output, allow_pickle=False)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_accuracy_feeds_nhwc_files_too(tflite_model: Callable[..., Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    output = tmp_path / "logits.npy"
    job = {"verb": "accuracy", "backend": "tflite", "model": str(tflite_model("float32")), "output": str(output)}
    probe({**job, "pixels": str(tmp_path / "pixels.npy"), "mean": [0.5] * 3, "std": [0.25] * 3})
    expected = ((pixels / 255 - 0.5) / 0.25).mean(axis=(1, 2))
    np.testing.assert_allclose(np.load(output), expected, atol=1e-4)


def test_pixels_are_never_unpickled(onnx_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], object), allow_pickle=True)
    job = {"verb": "accuracy", "backend": "null", "model": "", "output": "", "mean": [0], "std": [1]}
    _code, events = probe({**job, "pixels": str(tmp_path / "evil.npy")})
    assert events[-1]["code"] == "bad-job"


def test_memory_is_the_models_not_the_runtimes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.ones((2000, 5000), np.float32), "w")
    inputs = [helper.make_tensor_value_info("x", kind, [1, 2000])]
    outputs = [helper.make_tensor_value_info("y", kind, [1, 5000])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "big", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "big.onnx")
    job = {"verb": "latency", "backend": "onnxruntime", "model": str(tmp_path / "big.onnx"), "threads": 1}
    _code, events = probe({**job, "output": str(tmp_path / "out.npy"), "warmup": WARMUP, "measure": MEASURE})
    # Weights of 40 MB, which a runtime may hold twice or three times while it loads them.
    assert 38e6 < events[-1]["peak_rss_delta_bytes"] < 160e6


def test_facts_alone(tmp_path: Path) -> None:
    _code, events = probe({"verb": "facts"})
    facts = events[-1]["facts"]
    assert facts["python"].count(".") == 2
    assert "runtime" not in facts
    assert probe({"verb": "facts", "backend": "null"})[1][-1]["facts"]["runtime"] == "1"


def test_what_a_runtime_prints_cannot_tear_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = 'import os\nprint("hello from python")\nos.write(1, b"hello from C")\n__version__ = "0"\n'
    (tmp_path / "onnxruntime.py").write_text(noisy)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _code, events = probe({"verb": "facts", "backend": "onnxruntime"})
    assert events[-1]["facts"]["runtime"] == "0"


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    job = {"verb": "latency", "backend": "null", "model": "", "output": str(tmp_path / "no" / "such" / "place.npy")}
    _code, events = probe({**job, "warmup": WARMUP, "measure": MEASURE})
    assert events[-1]["code"] == "cannot-write"


def test_a_model_that_is_no_classifier_cannot_be_judged(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.zeros((2, 8, 8, 3), np.uint8))
    job = {"verb": "accuracy", "backend": "null", "model": "", "output": str(tmp_path / "out.npy")}
    fields = {"pixels": str(tmp_path / "pixels.npy"), "mean": [0] * 3, "std": [1] * 3, "options": {"shape": [1, 10]}}
    _code, events = probe({**job, **fields})
    assert events[-1]["code"] == "not-a-classifier"
