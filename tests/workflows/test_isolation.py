"""Isolation: no child process runs a file that lies in the current folder, and none talks to the network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from local_transport import LocalTransport
from PIL import Image

import edgecnn
from edgecnn.core.artifact import Artifact
from edgecnn.core.device import Connect
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.temporary import temporary_folder
from edgecnn.formats.registry import format_named
from edgecnn.formats.tensorrt import lint as tensorrt
from edgecnn.formats.tflite import conversion, converter
from edgecnn.measure.board.installed import InstalledProbe
from edgecnn.measure.local import run_job
from edgecnn.measure.transport import Limits
from edgecnn.probe import emulation, runtimes, telemetry
from edgecnn.probe.layers import litert
from edgecnn.probe.privacy import TELEMETRY_SWITCHES, disable_telemetry
from edgecnn.probe.system import clean_environment
from edgecnn.workflows import doctor

PACKAGES = ("numpy", "torch", "torchvision", "PIL", "onnx", "onnxruntime", "safetensors", "edgecnn", "edgecnn_probe")
RUNTIMES = ("ai_edge_litert", "tflite_runtime", "tensorrt", "tensorrt_rtx_bindings", "onnxruntime_ep_nv_tensorrt_rtx")
CONVERTERS = (
    "litert_torch",
    "ai_edge_quantizer",
    "litert_converter",
    "jax",
    "jaxlib",
    "flatbuffers",
    "torchao",
    "scipy",
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a process imports is watched on Linux")


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The current folder has a file for every module there is; `ran()` says which of them were run."""
    folder, note = tmp_path / "downloads", tmp_path / "ran"
    folder.mkdir()
    names = {*sys.stdlib_module_names, *PACKAGES, *RUNTIMES, *CONVERTERS, "sitecustomize", "usercustomize"}
    for name in names - set(sys.builtin_module_names):
        (folder / f"{name}.py").write_text(f"open({str(note)!r}, 'a').write(__name__ + '\\n')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "downloads"]))
    return lambda: note.read_text().split() if note.exists() else []


def test_the_decoys_run_where_nothing_forbids_it(ran: Callable[[], list[str]]) -> None:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = "import ai_edge_litert, contextlib"
    subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, env=plain)
    assert {"contextlib", "ai_edge_litert"} <= set(ran())


def load_images() -> None:
    from edgecnn.data import ImageSet
    from edgecnn.train.feed import open_feed
    from edgecnn.train.settings import TrainSettings

    files = [Path(f"{number}.png").absolute() for number in range(2)]
    for file in files:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file)
    images = ImageSet(files, [0, 1], preprocessing=Preprocessing(crop=(8, 8), resize=8), root=Path.cwd())
    feed = open_feed(images, TrainSettings(batch=2, workers=1, cache="off"), device=torch.device("cpu"), seed=0)
    try:
        assert len(list(feed.epoch(1))) == 1
    finally:
        feed.close()


def read_sensors() -> None:
    done = subprocess.run(telemetry._this_probe(), input=b'{"verb": "none"}', check=False, capture_output=True)
    assert b"numpy is missing" in done.stdout, done.stderr  # it sees the standard library only


def look_at_a_tflite_file() -> None:
    Path("damaged.tflite").write_bytes(b"damaged")
    with pytest.raises(Exception, match="LiteRT cannot load"):
        litert._validate_file("damaged.tflite")


def build_for_tensorrt() -> None:
    path = Path("model.onnx").absolute()
    path.write_bytes(b"damaged")
    tensorrt._build(Artifact(path, "tensorrt", "fp32", (), (), ""), timeout_s=60)


def prepare_a_board() -> None:
    probe = InstalledProbe("board", Connect(ssh="pi@board", python=sys.executable))
    board = LocalTransport(Path.cwd())
    probe.install(board)
    done = board.run(probe.command, Limits(60.0), stdin=b'{"verb": "facts"}')
    assert b"result" in done.stdout, done.stderr


def convert_to_tflite() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    model = SimpleNamespace(name="tests:small", input_shape=(3, 8, 8))
    with temporary_folder("test") as folder:
        assert conversion.run_in_own_process(network, model, folder).code == 0
        assert (folder / converter.CONVERTED).exists()


CHILDREN: dict[str, Callable[[], object]] = {
    "a job of the probe": lambda: run_job({"verb": "facts", "backend": "onnxruntime"}, timeout_s=60),
    "a runtime that is tried": lambda: [runtimes.try_one(name, module) for name, module in runtimes.MODULES.items()],
    "the doctor": lambda: [doctor._runtime(name, format_named(name).check) for name in ("onnx", "tflite", "tensorrt")],
    "a look at a TFLite file": look_at_a_tflite_file,
    "the converter to TFLite": convert_to_tflite,
    "the builder of TensorRT": build_for_tensorrt,
    "the sensors": read_sensors,
    "the search for QEMU": emulation.emulated,
    "the processes that load images": load_images,
    "the probe on a board": prepare_a_board,
}


@pytest.mark.slow
@linux
@pytest.mark.parametrize("child", CHILDREN)
def test_no_child_runs_a_file_of_the_current_folder(child: str, ran: Callable[[], list[str]]) -> None:
    CHILDREN[child]()
    assert ran() == []


def test_telemetry_is_off_here_and_in_children() -> None:
    assert edgecnn.__version__
    for name, value in TELEMETRY_SWITCHES.items():
        assert os.environ[name] == value
    assert clean_environment({}) == TELEMETRY_SWITCHES
    assert clean_environment({"ORT_NUM_THREADS": "3"}) == TELEMETRY_SWITCHES


def test_what_a_user_chose_stays() -> None:
    chosen = {"WANDB_ERROR_REPORTING": "true"}
    disable_telemetry(chosen)
    assert chosen == {**TELEMETRY_SWITCHES, "WANDB_ERROR_REPORTING": "true"}


MODEL = """
import time
import edgecnn
import numpy, onnx, onnxruntime
from onnx import TensorProto, helper
floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", floats[:1], floats[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": numpy.zeros((1, 3), numpy.float32)})
"""
REPORTED = "ONNX Runtime keeps what it reports in a database below the cache folder, from the import on"


def reports_of(program: str, home: Path) -> list[Path]:
    """What ONNX Runtime has put aside for its makers while `program` ran."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in (*TELEMETRY_SWITCHES, "CI")}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=120)
    return [path for path in home.rglob("*onnxruntime*") if path.is_file()]


@linux
def test_onnxruntime_prepares_no_report(tmp_path: Path) -> None:
    assert reports_of(MODEL, tmp_path / "with") == [], REPORTED


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_whole_run_connects_to_nothing(tmp_path: Path) -> None:
    """Every process of a small `optimize` on the demo's data, as the kernel sees it."""
    trace = tmp_path / "trace"
    environment = {name: value for name, value in os.environ.items() if name not in (*TELEMETRY_SWITCHES, "CI")}
    command = [sys.executable, "-m", "edgecnn", "demo", "--profile", "smoke", "--out", str(tmp_path / "demo")]
    done = subprocess.run(
        [str(shutil.which("strace")), "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace), *command],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode in (0, 3), done.stderr
    assert re.findall(r".*AF_INET6?,.*", trace.read_text()) == []
