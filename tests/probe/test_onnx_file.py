"""What is read of an ONNX file without the package onnx, and trtexec's times, both from files that may be anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.probe import onnx_file, times
from edgecnn.probe.errors import ProbeError

onnx = pytest.importorskip("onnx")
helper, kind = onnx.helper, onnx.TensorProto


def saved(path: Path, nodes: list[Any], shape: list[Any], dtype: int = kind.FLOAT, **more: Any) -> Path:
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    outputs = [helper.make_tensor_value_info("y", dtype, None)]
    graph = helper.make_graph(nodes, "graph", inputs + more.pop("inputs", []), outputs, more.pop("weights", []))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path, **more)
    return path


def test_inputs_with_free_and_fixed_sizes(onnx_model: Path) -> None:
    found = onnx_file.read(str(onnx_model))
    assert [spec._asdict() for spec in found.inputs] == [
        {"name": "x", "shape": ("n", 3, 8, 8), "dtype": "float32", "layout": "NCHW"}
    ]
    assert not found.quantized and not found.half


def test_a_free_size_without_a_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], [None, 3])
    assert onnx_file.read(str(path)).inputs[0].shape == ("?", 3)


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [1, 3],
        inputs=[helper.make_tensor_value_info("w", kind.FLOAT, [3, 3])],
        weights=[weight],
    )
    assert [spec.name for spec in onnx_file.read(str(path)).inputs] == ["x"]


def test_quantised_and_half_are_seen(tmp_path: Path) -> None:
    scale = onnx.numpy_helper.from_array(np.float32(0.1), "s")
    quantise = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    assert onnx_file.read(str(saved(tmp_path / "q.onnx", quantise, [1, 3], weights=[scale]))).quantized
    half = onnx.numpy_helper.from_array(np.ones((3, 3), np.float16), "w")
    path = saved(
        tmp_path / "h.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [1, 3], kind.FLOAT16, weights=[half]
    )
    assert onnx_file.read(str(path)).half
    assert onnx_file.read(str(path)).inputs[0].dtype == "float16"


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [1, 64],
        weights=[weight],
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    with pytest.raises(ProbeError) as caught:
        onnx_file.read(str(path))
    assert "another file" in caught.value.why


def test_any_other_bytes_are_refused_and_never_crash(onnx_model: Path, tmp_path: Path) -> None:
    whole, rng = onnx_model.read_bytes(), np.random.default_rng(0)
    bad = tmp_path / "bad.onnx"
    for content in (b"", b"\x08", b"ptrt" * 99, whole[:40], b"\xff" * 99, b"\x3a\xff\xff\xff\xff\x0f"):
        bad.write_bytes(content)
        with pytest.raises(ProbeError) as caught:
            onnx_file.read(str(bad))
        assert caught.value.code == "cannot-load" and caught.value.why
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 4):
            changed[place] = rng.integers(0, 256)
        bad.write_bytes(bytes(changed))
        try:
            onnx_file.read(str(bad))
        except ProbeError as error:
            assert error.code == "cannot-load"


def entry(**changes: Any) -> dict[str, Any]:
    return {"startComputeMs": 250.0, "h2dMs": 0.1, "computeMs": 2.0, "d2hMs": 0.05, "latencyMs": 2.15, **changes}


def written(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_times_are_nanoseconds_and_the_warm_up_is_left_out(tmp_path: Path) -> None:
    entries = [entry(startComputeMs=0.0), entry(startComputeMs=199.9), entry(startComputeMs=200.0), entry()]
    found = times.read(written(tmp_path / "t.json", entries), warmup_ms=200.0)
    np.testing.assert_allclose(found.latency_ns, [2.15e6, 2.15e6])
    np.testing.assert_allclose(found.compute_ns, [2e6, 2e6])


def test_entries_may_fall_between_two_pieces_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "t.json", json.dumps([entry() for _ in range(20)], indent=1))
    for size in (1, 7, 64):
        monkeypatch.setattr(times, "CHUNK", size)
        assert len(times.read(path, warmup_ms=0.0).latency_ns) == 20


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[",
        "[]",
        "[1]",
        "[{}]",
        "[" * 100_000,
        [entry(latencyMs="2")],
        [entry(latencyMs=True)],
        [entry(computeMs=-2.0)],
        [entry(latencyMs=0.0, h2dMs=0.0, computeMs=0.0, d2hMs=0.0)],
        [entry(latencyMs=20.0)],
        '[{"startComputeMs": NaN}]',
        '[{"startComputeMs": 1e999, "h2dMs": 0, "computeMs": 1, "d2hMs": 0, "latencyMs": 1}]',
        '[{"startComputeMs": ' + "9" * 400 + ', "h2dMs": 0, "computeMs": 1, "d2hMs": 0, "latencyMs": 1}]',
        '[{"a": "' + "x" * 300_000,
    ],
    ids=range(16),
)
def test_times_that_are_not_as_expected_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ProbeError) as caught:
        times.read(written(tmp_path / "t.json", content), warmup_ms=0.0)
    assert caught.value.code == "cannot-run" and caught.value.why


def test_huge_times_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "LARGEST_BYTES", 10)
    with pytest.raises(ProbeError, match="times cannot be read"):
        times.read(written(tmp_path / "t.json", [entry()]), warmup_ms=0.0)
