"""`edgecnn optimize` on good input: what it makes, says, keeps, and does not do twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Run
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]

tflite = pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")


def rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['format']} {row['precision']}": row for row in report["rows"]}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_the_verdict_is_a_pass_and_stdout_is_one_json_document(finished: Run) -> None:
    report = finished.ended.json
    assert (finished.ended.code, report["outcome"], report["exit_code"]) == (0, "PASS", 0), finished.ended.err
    assert report["schema"] == "edgecnn.report/1"
    assert report == read(finished.out / "report.json") | {"exit_code": 0}


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=tflite)])
def test_fp32_and_int8_are_made_verified_judged_and_timed(finished: Run, format: str) -> None:
    made = rows(finished.ended.json)
    fp32, int8 = made[f"{format} fp32"], made[f"{format} int8"]
    assert fp32["status"] == int8["status"] == "ok"
    assert (fp32["outcome"], int8["outcome"]) == (None, "PASS")
    assert fp32["accuracy"]["top1"] > 0.9
    assert fp32["parity"]["agreement"] == 1.0 and fp32["parity"]["max_abs_diff"] < 1e-3
    assert int8["accuracy"]["images"] == int8["parity"]["images"] == 60
    assert -0.1 < int8["accuracy"]["drop"] <= int8["accuracy"]["drop_high"] < 0.1
    assert int8["size_bytes"] < fp32["size_bytes"]
    assert int8["fusion"]["integer"] > 0 and int8["fusion"]["floating"] == 0
    for row in (fp32, int8):
        assert 0 < row["speed"]["median_ms"] <= row["speed"]["p90_ms"]
        assert (row["speed"]["threads"], row["speed"]["processes"]) == (1, 1)
    assert (fp32["speed"]["speedup"], int8["speed"]["speedup"] > 0) == (None, True)


def test_the_artifacts_are_what_the_report_says(finished: Run) -> None:
    listed = {row["file"]: row for row in finished.ended.json["rows"] if row["status"] == "ok"}
    assert sorted(path.name for path in (finished.out / "artifacts").iterdir()) == sorted(listed)
    for name, row in listed.items():
        path = finished.out / "artifacts" / name
        assert (digest(path), path.stat().st_size) == (row["sha256"], row["size_bytes"])


def test_run_json_says_from_what_with_what_and_how_long(finished: Run, bench: Workbench) -> None:
    run = read(finished.out / "run.json")
    assert run["checkpoint"] == {"file": str(bench.checkpoint), "sha256": digest(bench.checkpoint)}
    assert set(run["data"]["digests"]) == {"calibration", "evaluation"}
    assert run["data"]["images"] == {"training": 40, "calibration": 40, "evaluation": 60}
    assert {"edgecnn", "python", "torch", "onnx", "onnxruntime", "numpy"} <= set(run["versions"])
    asked = run["request"]
    assert (asked["seed"], asked["profile"], asked["budget"]["max_drop"]) == (0, "smoke", 0.1)
    assert run["preprocessing"]["crop"] == [32, 32]
    assert run["host"]["cores"] >= 1 and run["device"]["name"] == "host"
    assert [next(iter(stage)) for stage in run["recipe"]["stages"]] == ["export", "cast", "quantize"]
    by_name = {stage.get("makes", stage["stage"]): stage for stage in run["stages"]}
    assert by_name["onnx int8"]["options"]["observer"] == "minmax"
    assert by_name["onnx int8"]["sha256"] == digest(finished.out / "artifacts" / "model.int8.onnx")
    assert all(stage["seconds"] >= 0 and stage["cached"] is False for stage in run["stages"])


def test_raw_samples_and_reports_are_kept_and_nothing_half_done(finished: Run) -> None:
    samples = {candidate["name"]: candidate for candidate in read(finished.out / "samples.json")}
    assert {"onnx fp32", "onnx int8"} <= set(samples)
    assert len(samples["onnx int8"]["processes"][0]["samples_ns"]) >= 30
    page = (finished.out / "report.md").read_text()
    assert "PASS" in page and "onnx int8" in page
    visible = {"artifacts", "bundle", "report.json", "report.md", "run.json", "samples.json"}
    assert {path.name for path in finished.out.iterdir()} == visible | {".store"}
    assert not [path for path in (finished.out / ".store").iterdir() if path.name.startswith(".")]


def test_a_second_run_finds_everything_and_makes_the_same(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "again")
    began = time.monotonic()
    ended = invoke(*bench.optimize(out, "--json"))
    assert time.monotonic() - began < 10
    assert ended.code == 0, ended.err
    again, before = ended.json, finished.ended.json
    assert [stage["cached"] for stage in again["stages"]] == [True] * len(before["stages"])
    assert rows(again) == rows(before)
    assert {p.name: digest(p) for p in (out / "artifacts").iterdir()} == {
        p.name: digest(p) for p in (finished.out / "artifacts").iterdir()
    }
    assert "onnx int8: (cached)" in ended.err


def test_other_weights_or_images_are_other_work(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "again")
    done = {
        step["name"]: step["cached"]
        for step in invoke("plan", *bench.source, "--data", str(bench.data), "--out", str(out), "--json").json["steps"]
    }
    assert done["export onnx fp32"] and done["quantize onnx int8"]
    ended = invoke("plan", *bench.source, "--data", str(bench.data), "--seed", "1", "--out", str(out), "--json")
    reseeded = {step["name"]: step["cached"] for step in ended.json["steps"]}
    assert not reseeded["quantize onnx int8"]
    ended = invoke(
        "plan",
        str(bench.checkpoint),
        "--model",
        bench.model,
        "--crop",
        "40",
        "--data",
        str(bench.data),
        "--out",
        str(out),
        "--json",
    )
    resized = {step["name"]: step["cached"] for step in ended.json["steps"]}
    assert not resized["export onnx fp32"] and not resized["quantize onnx int8"]


def test_jetson_is_judged_by_a_stand_in_and_not_timed(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "jetson")
    ended = invoke(*bench.optimize(out, "--json", "--target", "jetson"))
    report = ended.json
    assert (ended.code, report["outcome"], report["target"]["name"]) == (0, "PASS", "jetson-orin-nano-8gb")
    assert list(rows(report)) == ["tensorrt fp32", "tensorrt fp16", "tensorrt int8"]
    for row in report["rows"]:
        assert row["status"] == "ok" and row["speed"] is None
        assert row["accuracy"]["runtime"] == "onnxruntime"
        assert "tensorrt is not on this host" in row["accuracy"]["stand_in"]
    assert "not on the NVIDIA Jetson Orin Nano" in report["elsewhere"]
    assert any("latency not measured: tensorrt is not on this host" in said for said in report["conclusions"])
    assert not (out / "samples.json").exists(), "the host's samples would pass for the Jetson's"
    assert read(out / "bundle" / "manifest.json")["target_backend"] == "tensorrt"
    assert "trtexec --onnx=model.onnx" in (out / "bundle" / "README.md").read_text()


def test_a_raspberry_pi_is_measured_here_and_labelled_so(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "pi")
    words = bench.optimize(out, "--target", "raspberry-pi-5", "--format", "onnx")
    ended = invoke(*words)
    assert ended.code == 0, ended.err
    report, first = read(out / "report.json"), read(out / "samples.json")
    assert list(rows(report)) == ["onnx fp32", "onnx int8"]
    assert report["elsewhere"] == "measured and judged on this host, not on the Raspberry Pi 5"
    assert report["elsewhere"] in " ".join(ended.out.split()) and report["elsewhere"] in (out / "report.md").read_text()
    assert rows(report)["onnx int8"]["speed"]["median_ms"] > 0
    assert report["rows"][0]["backend"] == "onnxruntime"

    ended = invoke(*words, "--remeasure", "--json")
    assert ended.code == 0, ended.err
    assert {stage["stage"] for stage in ended.json["stages"] if not stage["cached"]} == {"measure smoke"}
    assert read(out / "samples.json") != first


def test_onnx_files_take_any_batch_and_say_how_images_are_prepared(finished: Run) -> None:
    ort = pytest.importorskip("onnxruntime")
    for precision in ("fp32", "int8"):
        path = finished.out / "artifacts" / f"model.{precision}.onnx"
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        found = session.run(None, {entry.name: np.zeros((3, 3, 32, 32), np.float32)})[0]
        assert found.shape == (3, 4)
        kept = session.get_modelmeta().custom_metadata_map
        assert any('"crop"' in value for value in kept.values()), kept
