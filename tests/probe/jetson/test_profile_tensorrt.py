"""Layer times by trtexec, with the stub: flags, files and words of each version. No time here is a measurement."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from jetson_stubs import FLAGS, Jetson

from edgecnn.config.devices import load_device
from edgecnn.core.errors import StepError
from edgecnn.core.events import ignore
from edgecnn.formats.files import open_artifact
from edgecnn.measure.device import ThisMachine
from edgecnn.measure.layer_profile import LayerProfile, profile
from edgecnn.probe import layers as verb
from edgecnn.probe.events import Events
from edgecnn.probe.job import Job
from edgecnn.probe.sensors.machine import Machine


def taken(path: Path) -> LayerProfile:
    return profile(
        open_artifact(path),
        device=ThisMachine(),
        profile=load_device("jetson-orin-nano-8gb"),
        backend="tensorrt",
        threads=1,
        runs=20,
        listener=ignore,
    )


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, jetson: Jetson, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(jetson.bin))


@pytest.mark.parametrize("version", FLAGS)
def test_each_version_tells_its_layers(version: str, jetson: Jetson, onnx_model: Path) -> None:
    jetson.trtexec(version, latency_ms=2.0)
    found = taken(onnx_model)
    assert found.method == "trtexec" and found.runtime.startswith("TensorRT " + version.rsplit(".", 1)[0])
    assert [(layer.name, layer.kind) for layer in found.layers] == [
        ("Reformatting CopyNode for Input Tensor 0 to conv1 + relu1", "conversion"),
        ("conv1 + relu1", "float"),
        ("pool", "float"),
        ("fc", "float"),
    ]
    assert [layer.share for layer in found.layers] == pytest.approx([0.05, 0.65, 0.1, 0.2])
    assert found.whole.runs == 20 and found.profiled is None and found.overhead is None
    assert found.accounted == pytest.approx(1, abs=0.05)
    assert found.peaks is not None and found.peaks.part == "gpu"


def test_the_power_mode_is_told_for_the_roofline(
    jetson: Jetson, onnx_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, for a stub of nvpmodel cannot stand where the real one does."""
    program = [str(jetson.nvpmodel(2))]
    monkeypatch.setattr(verb, "Machine", lambda: Machine(programs={"nvpmodel": program}))
    jetson.trtexec("10.3.0", latency_ms=2.0)
    job = Job({"verb": "layers", "backend": "tensorrt", "model": str(onnx_model), "runs": 5, "folder": str(tmp_path)})
    assert verb.layers(job, Events(io.StringIO()))["facts"]["power_mode"] == "MAXN_SUPER"


def test_what_trtexec_says_of_a_failure_is_passed_on(jetson: Jetson, onnx_model: Path) -> None:
    jetson.trtexec("10.3.0", mode="run-out-of-memory")
    with pytest.raises(StepError) as error:
        taken(onnx_model)
    assert error.value.code == "out-of-memory"
