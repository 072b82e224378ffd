"""Real runtimes time the layers of real files; every operator that runs has a row, and the account closes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.config.devices import load_device
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import MissingError, StepError
from edgecnn.core.events import Event, Progress, ignore
from edgecnn.formats.files import open_artifact
from edgecnn.formats.onnx.cost import OnnxGraph
from edgecnn.measure.device import ThisMachine
from edgecnn.measure.layer_profile import LayerProfile, profile

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)


class Kept(ThisMachine):
    """This machine, which keeps the graph that the runtime made, and says of itself what it is told to."""

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.graph = b""
        self.facts = facts

    def run(self, job: Any, *, files: Any, outputs: Any, on_event: Any = None, timeout_s: float) -> dict[str, Any]:
        answer = super().run(job, files=files, outputs=outputs, on_event=on_event, timeout_s=timeout_s)
        self.graph = np.load(outputs["graph"]).tobytes()
        answer["facts"].update(self.facts)
        return answer


def taken(path: Path, backend: str, device: Kept | None = None, board: DeviceProfile = HOST) -> LayerProfile:
    return profile(
        open_artifact(path), device=device or Kept(), profile=board, backend=backend, threads=1, runs=6, listener=ignore
    )


@pytest.mark.parametrize("int8", [False, True])
def test_onnxruntime_every_node_of_its_graph_has_a_row(
    int8: bool, onnx_net: Callable[..., Path], macs: dict[str, int]
) -> None:
    device = Kept()
    found = taken(onnx_net(int8=int8), "onnxruntime", device)
    graph = OnnxGraph.parse(device.graph, {})
    assert graph is not None
    assert sorted(layer.runs_as for layer in found.layers) == sorted(node.name for node in graph.nodes)
    by_name = {layer.name: layer for layer in found.layers if layer.macs}
    assert {name: by_name[name].macs for name in macs} == macs
    assert found.macs == sum(macs.values())
    assert {by_name[name].kind for name in ("stem", "dw", "pw")} == {"integer" if int8 else "float"}
    assert found.is_integer == int8


def test_what_stayed_in_float_and_what_it_costs_to_go_there(onnx_net: Callable[..., Path]) -> None:
    found = taken(onnx_net(int8=True, float_layers=("dw",)), "onnxruntime")
    floats = {layer.name for layer in found.of_kind("float") if layer.macs}
    assert "dw" in floats and "pw" not in floats
    assert len(found.of_kind("conversion")) >= 3


def test_the_account_closes(onnx_net: Callable[..., Path]) -> None:
    found = taken(onnx_net(), "onnxruntime")
    assert found.whole.runs == 6 and found.profiled is not None and found.profiled.runs == 6
    assert found.whole.median_ns > 0
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.summed.median_ns, rel=1.0)
    assert 0.1 < (found.accounted or 0) < 2.5
    assert [layer.index for layer in found.layers] == list(range(len(found.layers)))
    assert found.top(2)[0].time_ns >= found.top(2)[1].time_ns


@pytest.mark.parametrize("int8", [False, True])
def test_litert_tells_the_time_inside_the_delegate(
    int8: bool, tflite_net: Callable[..., Path], macs: dict[str, int]
) -> None:
    found = taken(tflite_net(int8=int8), "tflite")
    assert found.method == "litert-profiler" and found.runtime.startswith("ai_edge_litert 2")
    assert found.macs == sum(macs.values())
    by_name = {layer.name.removesuffix("/y"): layer for layer in found.layers if layer.macs}
    assert {name: by_name[name].macs for name in macs} == macs
    assert {layer.kind for layer in by_name.values()} == {"integer" if int8 else "float"}
    assert found.summed.median_ns > 0


def test_litert_an_operator_outside_the_delegate(tflite_net: Callable[..., Path], macs: dict[str, int]) -> None:
    found = taken(tflite_net(outside=True), "tflite")
    outside = next(layer for layer in found.layers if layer.op == "LOCAL_RESPONSE_NORMALIZATION")
    assert outside.name == "norm" and outside.time_ns > 0
    assert found.macs == sum(macs.values())


def test_a_board_with_peaks_has_a_roof_and_an_emulated_one_has_none(onnx_net: Callable[..., Path]) -> None:
    board = load_device("raspberry-pi-5")
    found = taken(onnx_net(), "onnxruntime", board=board)
    assert found.peaks is not None and found.bound is not None
    assert found.peaks.operations_per_s["fp32"] == pytest.approx(153.6e9 / 4)
    assert all(layer.bound is not None for layer in found.layers if layer.macs)
    emulated = taken(onnx_net(), "onnxruntime", Kept(emulated=True), board)
    assert emulated.emulated and emulated.peaks is None and emulated.bound is None
    assert not any(layer.bound for layer in emulated.layers)
    assert emulated.to_dict()["emulated"] is True


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    for name, backend in (("broken.onnx", "onnxruntime"), ("broken.tflite", "tflite")):
        (tmp_path / name).write_bytes(b"not a model at all")
        with pytest.raises(StepError) as error:
            taken(tmp_path / name, backend)
        assert error.value.code == "cannot-load"


def test_a_cut_tflite_file_is_no_crash(tflite_net: Callable[..., Path], tmp_path: Path) -> None:
    whole = tflite_net().read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StepError) as error:
        taken(cut, "tflite")
    assert error.value.code == "cannot-load" and "Flatbuffer" in error.value.why


def test_a_backend_without_a_profiler(onnx_net: Callable[..., Path]) -> None:
    with pytest.raises(StepError) as error:
        taken(onnx_net(), "null")
    assert error.value.code == "no-layer-times"


def test_a_litert_that_has_no_profiler(
    tflite_net: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    (old / "ai_edge_litert").mkdir(parents=True)
    (old / "ai_edge_litert" / "__init__.py").touch()
    about = old / "ai_edge_litert-1.4.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 1.4.0\n")
    path = tflite_net()
    monkeypatch.setenv("PYTHONPATH", str(old))
    with pytest.raises(StepError) as error:
        taken(path, "tflite")
    assert error.value.code == "no-layer-times"
    assert "1.4.0" in error.value.why and "pip install" in error.value.hint


def test_tensorrt_without_trtexec(onnx_net: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError):
        taken(onnx_net(), "tensorrt")


def test_progress_is_told(onnx_net: Callable[..., Path]) -> None:
    events: list[Event] = []
    artifact = open_artifact(onnx_net())
    profile(artifact, device=Kept(), profile=HOST, backend="onnxruntime", threads=1, runs=3, listener=events.append)
    assert any(isinstance(event, Progress) and "profiling" in event.note for event in events)
