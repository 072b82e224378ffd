"""The emulated board is what board tests take it for: the right machine, real runtimes, faults on demand, no traces."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import board_files
import board_tree
import pytest
from emulated_board import BoardUnavailable, EmulatedBoard

ASIMDDP = 1 << 20
"""The bit of the kernel's AT_HWCAP that says a core has the dot-product instructions."""

BOTH_RUNTIMES = """
import json, platform, sys
import numpy, onnxruntime
from ai_edge_litert.interpreter import Interpreter
x = numpy.arange(4, dtype=numpy.float32).reshape(1, 4)
session = onnxruntime.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
interpreter = Interpreter("tiny.tflite", num_threads=2)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
interpreter.invoke()
print(json.dumps({
    "machine": platform.machine(),
    "onnx": session.run(None, {"x": x})[0].tolist(),
    "tflite": interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist(),
}))
"""


def _doubling_onnx(path: Path) -> None:
    """(1, 4) -> (1, 4), twice the input."""
    onnx = pytest.importorskip("onnx")
    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "twice", shape[:1], shape[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)


def _doubling_tflite(path: Path) -> None:
    """(1, 4) -> (1, 4), twice the input."""
    pytest.importorskip("ai_edge_litert")
    flatbuffers = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    graph, add, code, model = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.ModelT()
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor, name in zip(graph.tensors, ("x", "y"), strict=True):
        tensor.name, tensor.shape, tensor.buffer, tensor.type = name, [1, 4], 0, schema.TensorType.FLOAT32
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 0], [1]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    graph.inputs, graph.outputs, graph.operators = [0], [1], [add]
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _hwcap(board: EmulatedBoard) -> int:
    said = board.run("LD_SHOW_AUXV=1 /bin/true").stdout
    return int(next(line.split()[-1] for line in said.splitlines() if line.startswith("AT_HWCAP:")), 16)


@pytest.mark.slow
def test_real_arm_builds_of_both_runtimes_compute_on_it(board: EmulatedBoard, tmp_path: Path) -> None:
    _doubling_onnx(tmp_path / "tiny.onnx")
    _doubling_tflite(tmp_path / "tiny.tflite")
    (tmp_path / "both.py").write_text(BOTH_RUNTIMES, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("tiny.onnx", "tiny.tflite", "both.py")]
    subprocess.run(["scp", "-q", "-F", str(board.ssh_config), *files, f"{board.host}:"], check=True)  # noqa: S607

    ran = board.run("python3 -I both.py")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == '{"machine": "aarch64", "onnx": [[0.0, 2.0, 4.0, 6.0]], "tflite": [[0.0, 2.0, 4.0, 6.0]]}\n'
    assert "cpuinfo" not in ran.stderr, "onnxruntime does not recognise the processor"
    assert "XNNPACK" in ran.stderr


def test_it_says_it_is_a_raspberry_pi_5(board: EmulatedBoard) -> None:
    tree = "/proc/device-tree"
    ran = board.run(f"cat {tree}/model {tree}/compatible /proc/cpuinfo; hostname; id -un; ls /proc")

    model, board_name, chip, rest = ran.stdout.split("\0")
    assert (model, board_name, chip) == ("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712")
    assert "asimddp" in rest
    assert "CPU part\t: 0xd0b" in rest
    assert "raspberrypi\npi\n" in rest
    assert "\nself\n" in rest, "no kernel behind /proc"
    assert _hwcap(board) & ASIMDDP


def test_a_raspberry_pi_4_has_no_dot_product() -> None:
    with _running("cortex-a72") as board:
        assert "raspberrypi,4-model-b" in board.run("cat /sys/firmware/devicetree/base/compatible").stdout
        assert not _hwcap(board) & ASIMDDP
        assert "raspberry-pi-4b" in board.device_yaml("four")


def test_sensors_say_what_a_test_wants(board: EmulatedBoard) -> None:
    board.throttle(0x50005)
    board.temperature(81.25)
    board.clock(1500.5, requested=2400)
    board.governor("performance")
    firmware = f"/{board.model.firmware}".replace(":", "\\:")

    said = board.run(
        "for word in get_throttled measure_temp 'measure_clock arm' pmic_read_adc; do vcgencmd $word; done;"
        f"cat {firmware}/get_throttled /{board_files.GOVERNOR} /{board_files.REQUESTED}; vcgencmd nonsense"
    )

    lines = said.stdout.splitlines()
    assert lines[:3] == ["throttled=0x50005", "temp=81.2'C", "frequency(0)=1500500000"]
    assert sum("current(" in line for line in lines) == 12
    assert "  VDD_CORE_V volt(15)=0.89745940V" in lines
    assert lines[-4:] == ["50005", "performance", "2400000", 'error=1 error_msg="Command not registered"']
    assert said.returncode == 255


def test_sensors_are_themselves_again_in_the_next_test(board: EmulatedBoard) -> None:
    assert (board.tree / board.model.firmware / "get_throttled").read_text() == "0\n"
    assert (board.tree / board_files.GOVERNOR).read_text() == "ondemand\n"


def test_a_reboot_ends_processes_and_changes_the_boot_id(board: EmulatedBoard) -> None:
    board.throttle(0x50005)
    look = "cat /proc/sys/kernel/random/boot_id; vcgencmd get_throttled"
    before = board.run(f"{look}; touch kept; setsid sleep 1000 >/dev/null 2>&1 &")
    assert _eventually(lambda: "sleep" in _commands(board))

    board.reboot()

    assert "sleep" not in _commands(board)
    after = board.run(f"{look}; ls kept")
    assert before.stdout.splitlines()[0] != after.stdout.splitlines()[0]
    assert after.stdout.splitlines()[1:] == ["throttled=0x5", "kept"]


def test_a_cut_ends_connections_and_nothing_else(board: EmulatedBoard) -> None:
    argv = ["ssh", "-F", str(board.ssh_config), board.host, "echo started; exec sleep 1000"]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "started\n"

    board.cut()

    _, said = running.communicate(timeout=20)
    assert running.returncode == 255, said
    assert _eventually(lambda: "sleep" in _commands(board))
    assert board.run("pkill sleep").returncode == 0


def test_another_host_key_is_refused(board: EmulatedBoard) -> None:
    board.change_host_key()
    refused = board.run("true")
    assert refused.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in refused.stderr

    board.reset()
    assert board.run("true").returncode == 0


def test_it_can_stop_listening(board: EmulatedBoard) -> None:
    board.stop_listening()
    assert "Connection refused" in board.run("true").stderr
    board.listen_again()
    assert board.run("true").returncode == 0


def test_a_small_disk_is_soon_full(board: EmulatedBoard) -> None:
    with board.small_disk("/home/pi/small", 1 << 20) as disk:
        ran = board.run("head -c 3000000 /dev/zero >small/file; stat -f -c %b*%S small")
        assert "No space left on device" in ran.stderr
        assert ran.stdout == "256*4096\n"
        assert (disk / "file").stat().st_size == 1 << 20
    assert not (board.tree / "home/pi/small/file").exists()


def test_nothing_is_left_after_closing() -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with _running() as board:
        folder = board.ssh_config.parent
        port = int(next(line for line in board.ssh_config.read_text().splitlines() if "Port" in line).split()[1])
        assert board.run("setsid sleep 1000 >/dev/null 2>&1 &").returncode == 0
        assert _using(folder)
    assert not folder.exists()
    assert not _using(folder)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


@pytest.mark.usefixtures("board")
def test_a_failed_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(board_files, "SSHD", "NoSuchOption {port}{environment}\n")

    with pytest.raises(BoardUnavailable, match=r"sshd ended: .*NoSuchOption"):
        EmulatedBoard().start()

    assert not list(tmp_path.iterdir())
    assert not _using(tmp_path)


@pytest.mark.usefixtures("board")
def test_a_board_ends_with_the_test_run_that_was_killed(tmp_path: Path) -> None:
    run = [sys.executable, str(Path(board_tree.__file__).with_name("emulated_board.py"))]
    with subprocess.Popen(
        run, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as playing:
        assert playing.stdout is not None
        while not playing.stdout.readline().startswith("Ctrl-C"):
            assert playing.poll() is None
        assert _using(tmp_path)
        playing.send_signal(signal.SIGKILL)
    assert _eventually(lambda: not _using(tmp_path))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "mmdebstrap" else f"/usr/bin/{tool}")
    with pytest.raises(BoardUnavailable, match=r"apt-get install .*mmdebstrap"):
        board_tree.require()


def test_the_mirror_is_that_of_the_hosts_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    uris = "http://a/debian-security/ cdrom:/debian https://b/pub/debian/"
    apt.write_text(f"#!/bin/sh\nprintf '%s\\n' {uris}\n", encoding="utf-8")
    apt.chmod(0o755)
    assert board_tree.mirror() == "https://b/pub/debian"
    apt.write_text("#!/bin/sh\necho http://c/ubuntu/\n", encoding="utf-8")
    with pytest.raises(BoardUnavailable, match="apt knows no Debian mirror"):
        board_tree.mirror()


@contextlib.contextmanager
def _running(core: str = "cortex-a76") -> Iterator[EmulatedBoard]:
    """A board of the test's own."""
    board = EmulatedBoard(core)
    try:
        board.start()
    except BoardUnavailable as error:
        if os.environ.get("EDGECNN_REQUIRE_BOARD") == "1":
            raise
        pytest.skip(f"no emulated board: {error}")
    with contextlib.closing(board):
        yield board


def _eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _commands(board: EmulatedBoard) -> set[str]:
    return {Path(process.argv[0]).name for process in board.processes()}


def _using(folder: Path) -> list[str]:
    """The processes of this machine that have something of that folder mounted."""
    found = []
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if f" {folder}" in mounts.read_text():
                found.append(mounts.parent.name)
        except OSError:
            continue
    return found
