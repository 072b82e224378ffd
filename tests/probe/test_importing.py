"""Runtimes that are absent, foreign, broken, or that would quietly do something else than asked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgecnn.probe.backends import onnxruntime, tflite
from edgecnn.probe.backends.importing import import_runtime, why_not
from edgecnn.probe.errors import ProbeError


def failed(error: BaseException) -> ProbeError:
    return why_not(error, backend="onnxruntime", package="onnxruntime", hint="pip install onnxruntime")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModuleNotFoundError("No module named 'onnxruntime'"), "missing-runtime"),
        (ImportError("/x/onnxruntime_pybind11_state.so: wrong ELF class: ELFCLASS64"), "wrong-architecture"),
        (OSError("/x/lib.so: invalid ELF header"), "wrong-architecture"),
        (ImportError("/lib/libc.so.6: version `GLIBC_2.38' not found (required by /x/y.so)"), "wrong-architecture"),
        (ImportError("libcudart.so.12: cannot open shared object file: No such file"), "broken-runtime"),
        (AttributeError("_ARRAY_API not found"), "broken-runtime"),
    ],
)
def test_why_a_runtime_does_not_start_is_named(error: BaseException, code: str) -> None:
    found = failed(error)
    assert found.code == code
    assert found.why and "pip install onnxruntime" in found.hint


def test_a_library_that_is_missing_is_named() -> None:
    assert "libcudart.so.12 is missing" in failed(ImportError("libcudart.so.12: cannot open shared object file")).why


def test_a_file_for_another_machine_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = next(iter(__import__("importlib.machinery").machinery.EXTENSION_SUFFIXES))
    foreign = bytearray(Path(sys.executable).resolve().read_bytes()[:64]) + bytes(4096)
    foreign[4] = 1  # ELFCLASS32
    (tmp_path / f"foreign_runtime{suffix}").write_bytes(bytes(foreign))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProbeError) as caught:
        import_runtime("foreign_runtime", backend="x", package="foreign-runtime", hint="pip install it")
    assert caught.value.code == "wrong-architecture"


def test_absent_runtimes_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"):
        monkeypatch.setitem(sys.modules, module, None)
    for backend in (onnxruntime, tflite):
        with pytest.raises(ProbeError) as caught:
            backend.version()
        assert caught.value.code == "missing-runtime"
        assert "pip install" in caught.value.hint


def test_a_broken_runtime_is_not_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_litert.py").write_text("raise ImportError('libm.so.7: version too odd')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tflite, "PACKAGES", (("broken_litert", "broken_litert"), *tflite.PACKAGES))
    with pytest.raises(ProbeError) as caught:
        tflite.version()
    assert caught.value.code == "broken-runtime"


def test_a_provider_that_is_not_in_the_wheel_is_an_error_and_not_the_cpu(onnx_model: Path) -> None:
    with pytest.raises(ProbeError) as caught:
        onnxruntime.load(str(onnx_model), {"provider": "CUDAExecutionProvider"})
    assert caught.value.code == "missing-runtime"
    assert "CPUExecutionProvider" in caught.value.why


def test_a_provider_that_leaves_all_to_the_cpu_is_an_error(onnx_model: Path) -> None:
    there = __import__("onnxruntime").get_available_providers()
    idle = next((name for name in there if name != onnxruntime.CPU), None)
    if idle is None:
        pytest.skip("this onnxruntime has the CPU only")
    with pytest.raises(ProbeError) as caught:
        onnxruntime.load(str(onnx_model), {"provider": idle})
    assert caught.value.code in ("cpu-fallback", "cannot-load")


def test_the_cpu_can_be_asked_for_by_name(onnx_model: Path) -> None:
    with onnxruntime.load(str(onnx_model), {"provider": onnxruntime.CPU}) as session:
        assert session.about == {"provider": onnxruntime.CPU}
        assert session.infer({"x": np.ones((1, 3, 8, 8), np.float32)})[0].shape == (1, 5)
