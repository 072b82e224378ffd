"""The adapter from job to result, with stubs for what NVIDIA's machine has: no time here is a measurement."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jetson_bindings import Cudart, bindings
from jetson_stubs import FLAGS, Jetson

from edgecnn.core.errors import InputError
from edgecnn.formats.files import open_artifact
from edgecnn.measure.probe_archive import probe_archive
from edgecnn.probe import cuda, engines, onnx_file, trtexec
from edgecnn.probe.backends import tensorrt
from edgecnn.probe.errors import ProbeError
from edgecnn.testing.backend import OwnClockConformance, measure_once

MIB = 1 << 20


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, jetson: Jetson, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a search path of its own, with a trtexec on it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(jetson.bin))
    jetson.trtexec("10.3.0")


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch) -> Cudart:
    library = Cudart()
    monkeypatch.setattr(cuda, "_runtime", lambda: library)
    monkeypatch.setitem(sys.modules, "tensorrt", bindings("10.3.0"))
    return library


@pytest.mark.usefixtures("cudart")
class TestTensorRT(OwnClockConformance):
    backend = tensorrt

    @pytest.fixture
    def model(self, onnx_model: Path) -> Path:
        return onnx_model


def measured(model: Path, *, iterations: int = 30, **options: Any) -> dict[str, Any]:
    return measure_once(tensorrt, model, options=options, iterations=iterations)[0]


@pytest.mark.parametrize("version", FLAGS)
def test_each_version_is_measured_alike(jetson: Jetson, onnx_model: Path, version: str) -> None:
    jetson.trtexec(version, latency_ms=2.0)
    found = measured(onnx_model, iterations=300)
    assert np.median(found["samples"]) == pytest.approx(2.0e6, rel=0.01)
    assert found["first_ns"] == pytest.approx(16e6, rel=0.05)
    assert found["load_ns"] == 1_928_877_600
    assert found["steady"]
    assert found["facts"]["runtime"].startswith("TensorRT " + version)
    parts = found["facts"]["parts_ns"]
    assert parts["h2d"] == 11230.5 and parts["d2h"] == 4394.53
    assert found["facts"]["device_memory_bytes"] == 65 * MIB
    assert found["inputs"][0]["shape"] == (1, 3, 8, 8)


def test_the_engine_is_built_once_and_kept(jetson: Jetson, onnx_model: Path) -> None:
    first, second = measured(onnx_model), measured(onnx_model)
    builds = [call for call in jetson.calls() if any(word.startswith("--onnx=") for word in call)]
    assert len(builds) == 1 and len(jetson.calls()) == 5
    assert (first["facts"]["engine"]["cached"], second["facts"]["engine"]["cached"]) == (False, True)
    assert first["facts"]["engine"]["argv"] == second["facts"]["engine"]["argv"]
    assert second["facts"]["engine"]["build_s"] == 12.5
    cache = Path(engines.CACHE).expanduser()
    assert sorted(path.suffix for path in cache.iterdir()) == [".cache", ".json", ".lock", ".plan"]
    assert cache.stat().st_mode & 0o77 == 0


def test_an_engine_is_kept_under_all_that_it_depends_on(
    jetson: Jetson, onnx_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def path(**options: Any) -> str:
        return engines.engine(trtexec.find({}), onnx_file.read(str(onnx_model)), options).path

    paths = [path(), path(workspace_mib=300), path(batch=2)]
    jetson.trtexec("10.16.2")
    paths.append(path())
    monkeypatch.setattr(engines, "power_mode", lambda machine: "15W")
    paths.append(path())
    monkeypatch.setattr(cuda, "device", lambda: cuda.CudaGpu("Orin", "8.7"))
    paths.append(path())
    onnx_model.write_bytes(onnx_model.read_bytes() + b"\x72\x00")
    paths.append(path())
    assert len(set(paths)) == len(paths)
    assert path() == paths[-1]


@pytest.mark.parametrize("mode", ["other-version", "other-gpu"])
def test_a_kept_engine_that_does_not_fit_is_built_again(jetson: Jetson, onnx_model: Path, mode: str) -> None:
    measured(onnx_model)
    plan = next(Path(engines.CACHE).expanduser().glob("*.plan"))
    plan.write_text(json.dumps({"version": "9.9.9"}))
    assert measured(onnx_model)["facts"]["engine"]["cached"] is False
    jetson.trtexec("10.3.0", mode=mode)
    with pytest.raises(ProbeError) as caught:
        measured(onnx_model)
    assert caught.value.code == "engine-mismatch"
    assert len(jetson.calls()) == 10, "built again once, and no more"


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("parser-error", "cannot-load"),
        ("build-out-of-memory", "out-of-memory"),
        ("run-out-of-memory", "out-of-memory"),
        ("cuda-error", "cuda-error"),
        ("no-driver", "cuda-unavailable"),
        ("garbage-times", "cannot-run"),
        ("truncated-times", "cannot-run"),
        ("negative-times", "cannot-run"),
        ("contradicting-times", "cannot-run"),
        ("no-times", "cannot-run"),
        ("writes-no-engine", "cannot-load"),
    ],
)
def test_what_fails_is_named_and_no_engine_is_half_kept(jetson: Jetson, onnx_model: Path, mode: str, code: str) -> None:
    jetson.trtexec("10.3.0", mode=mode)
    with pytest.raises(ProbeError) as caught:
        measured(onnx_model)
    assert caught.value.code == code
    assert caught.value.why
    assert not list(Path(engines.CACHE).expanduser().glob("*.part"))


def test_a_slow_model_is_measured_for_as_long_as_the_plan_allows(jetson: Jetson, onnx_model: Path) -> None:
    jetson.trtexec("10.3.0", latency_ms=500.0)
    found = measured(onnx_model, iterations=1000)
    assert len(found["samples"]) in (9, 10), "5 s of half a second each"
    assert not found["steady"]


def test_a_very_fast_model_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "MOST_QUERIES", 1000)
    assert tensorrt._amount(1e-4, tensorrt.loop.Measurement(100_000, 60.0, 120.0)) == (1000, 0)
    monkeypatch.undo()
    assert tensorrt._amount(1e-4, tensorrt.loop.Measurement(662, 10.0, 120.0)) == (662, 10)


def test_builds_wait_for_each_other(jetson: Jetson, onnx_model: Path, tmp_path: Path) -> None:
    tool, model = trtexec.find({}), onnx_file.read(str(onnx_model))
    built: list[engines.Engine] = []
    with engines._one_at_a_time(str(tmp_path / "cache")):
        waiting = threading.Thread(
            target=lambda: built.append(engines.engine(tool, model, {"cache": str(tmp_path / "cache")}))
        )
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive() and not jetson.calls()
    waiting.join(10)
    assert built and not built[0].cached


def test_a_model_that_cannot_be_built_in_this_memory_is_refused_with_figures() -> None:
    engines.validate_size(20 * MIB, 512, 2000 * MIB)
    engines.validate_size(20 * MIB, 512, None)
    with pytest.raises(ProbeError) as caught:
        engines.validate_size(200 * MIB, 512, 2000 * MIB)
    assert caught.value.code == "too-big-for-memory"
    assert "209.7 MB" in caught.value.why and "2097 MB are available" in caught.value.why


def test_the_workspace_is_a_part_of_all_memory_not_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for total, wanted in ((4 << 30, 512), (3964 * MIB, 448), (8 << 30, 1024), (64 << 30, 1024)):
        monkeypatch.setattr(engines, "memory_bytes", lambda total=total: total)
        assert engines.default_workspace_mib() == wanted


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt", ".PLAN"])
def test_an_engine_from_elsewhere_is_refused_on_both_sides(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("model" + suffix)
    path.write_bytes(b"ptrt")
    with pytest.raises(InputError) as there:
        open_artifact(path)
    with pytest.raises(ProbeError) as here:
        measured(path)
    with pytest.raises(ProbeError) as loaded:
        tensorrt.load(str(path), {})
    assert there.value.code == here.value.code == loaded.value.code == "engine-from-elsewhere"
    assert ".onnx" in there.value.hint


def test_a_model_of_a_fixed_batch_is_not_measured_with_another(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), tmp_path / "one.onnx")
    with pytest.raises(ProbeError) as caught:
        measured(tmp_path / "one.onnx", batch=4)
    assert caught.value.code == "fixed-batch"


def test_a_latency_job_in_a_process_of_its_own(jetson: Jetson, onnx_model: Path, tmp_path: Path) -> None:
    stub, output = jetson.trtexec("11.1.0"), tmp_path / "samples.npy"
    job = {
        "verb": "latency",
        "backend": "tensorrt",
        "model": str(onnx_model),
        "output": str(output),
        "cache": str(tmp_path / "engines"),
        "options": {"trtexec": str(stub)},
        "warmup": {"min_runs": 10, "min_s": 0.2, "max_s": 1.0, "max_runs": 20, "limit_s": 2.0},
        "measure": {"min_iterations": 50, "min_s": 0.1, "max_s": 2.0},
        "sensors": False,
    }
    done = subprocess.run(
        [sys.executable, "-B", str(probe_archive())],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["name"] == "preparing"
    assert events[-1]["event"] == "result", events[-1]
    assert events[-1]["facts"]["runtime"] == "TensorRT 11.1.0.106"
    assert "--includeDataTransfers" in events[-1]["facts"]["argv"]
    assert len(np.load(output)) == events[-1]["samples"] >= 50
    assert list((tmp_path / "engines").glob("*.plan"))


def test_logits_of_the_engine_by_the_bindings(onnx_model: Path, cudart: Cudart) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with tensorrt.load(str(onnx_model), {"batch": 2}) as session:
        (logits,) = session.infer({"x": images})
        with pytest.raises(ProbeError, match="does not fit"):
            session.infer({"x": images[:1]})
        assert len(cudart.memory) == 2
    np.testing.assert_allclose(logits, images.mean(axis=(2, 3)), atol=1e-6)
    assert not cudart.memory and not cudart.streams


@pytest.mark.parametrize(
    ("function", "number", "code"),
    [
        ("cudaMalloc", 2, "out-of-memory"),
        ("cudaStreamSynchronize", 700, "cuda-error"),
        ("cudaStreamCreate", 35, "cuda-"),
    ],
)
def test_errors_of_cuda_are_named_and_nothing_is_left_behind(
    onnx_model: Path, cudart: Cudart, function: str, number: int, code: str
) -> None:
    cudart.failing[function] = number
    with pytest.raises(ProbeError) as caught, tensorrt.load(str(onnx_model), {}) as session:
        session.infer({"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert caught.value.code.startswith(code)
    assert f"{function} answered {number}: an illegal" in caught.value.why
    assert not cudart.memory


def test_bindings_of_another_version_than_trtexec_are_refused(
    jetson: Jetson, onnx_model: Path, cudart: Cudart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", bindings("10.16.2.10"))
    with pytest.raises(ProbeError) as caught:
        tensorrt.load(str(onnx_model), {})
    assert caught.value.code == "runtime-mismatch"
    jetson.trtexec("10.16.2")
    tensorrt.load(str(onnx_model), {}).__exit__()


def test_missing_bindings_are_named_with_the_command(onnx_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ProbeError) as caught:
        tensorrt.load(str(onnx_model), {})
    assert caught.value.code == "missing-runtime"
    assert "python3-libnvinfer" in caught.value.hint


def test_the_names_used_are_those_of_nvidias_own_bindings() -> None:
    real = pytest.importorskip("edgecnn.formats.tensorrt.build").load
    try:
        trt = real()
    except (ImportError, OSError) as error:
        pytest.skip(f"TensorRT-RTX is not installed: {error}")
    for name in (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
        "create_execution_context",
    ):
        assert hasattr(trt.ICudaEngine, name)
    for name in ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"):
        assert hasattr(trt.IExecutionContext, name)
    assert hasattr(trt.Runtime, "deserialize_cuda_engine") and hasattr(trt, "ILogger")
    assert str(trt.TensorIOMode.INPUT).rpartition(".")[2] == "INPUT"
    assert {str(kind).rpartition(".")[2] for kind in (trt.float32, trt.float16, trt.int8)} <= set(tensorrt.DTYPES)


def test_nvidias_own_runtime_without_a_gpu_says_so() -> None:
    folder = next((Path(entry) for entry in sys.path if (Path(entry) / "nvidia").is_dir()), Path("absent"))
    libraries = sorted(folder.glob("nvidia/**/libcudart.so.*"))
    if not libraries or cuda.device() is not None:
        pytest.skip("needs libcudart and no GPU")
    with pytest.raises(ProbeError) as caught:
        cuda.CudaMemory(cuda.ctypes.CDLL(str(libraries[0])))
    assert caught.value.code == "cuda-unavailable"
    assert "CUDA" in caught.value.why
