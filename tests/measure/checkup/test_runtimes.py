"""The runtimes of a board: which are missing, and the command that installs what runs there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_facts import MISSING, ORIN, PI5, judged, works

from edgecnn.config.devices import load_device
from edgecnn.core.device import DeviceProfile
from edgecnn.measure.checkup import DeviceCheckup
from edgecnn.measure.checkup.wheels import Platform, wheels

VENV = "python3 -m venv ~/edgecnn\n~/edgecnn/bin/python -m pip install "


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ({}, VENV + "ai-edge-litert==2.3.0 onnxruntime==1.32.0\npython: ~/edgecnn/bin/python"),
        ({"has_venv": False}, "sudo apt install -y python3-venv\n" + VENV),
        ({"externally_managed": False}, "python3 -m pip install ai-edge-litert==2.3.0 onnxruntime==1.32.0"),
        ({"externally_managed": False, "has_pip": False}, "sudo apt install -y python3-pip\npython3 -m pip install"),
        ({"externally_managed": False, "python": "3.9.2", "libc": "glibc 2.31"}, "litert==2.1.0 onnxruntime==1.19.2"),
    ],
)
def test_missing_runtimes_come_with_one_command(pi: DeviceProfile, told: dict[str, Any], command: str) -> None:
    runtimes = {**PI5["runtimes"], "onnxruntime": MISSING, "ai_edge_litert": MISSING}
    findings = judged(pi, PI5, runtimes=runtimes, **told)
    for code in ("runtime-tflite", "runtime-onnxruntime"):
        assert findings[code].level == "fail"
        assert "is missing" in findings[code].message
        assert command in findings[code].command
    assert findings["runtime-tflite"].command == findings["runtime-onnxruntime"].command


def test_one_runtime_is_enough(pi: DeviceProfile) -> None:
    findings = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": MISSING})
    assert (findings["runtime-onnxruntime"].level, findings["runtime-tflite"].level) == ("warn", "ok")


def test_tflite_runtime_stands_in_for_ai_edge_litert(pi: DeviceProfile) -> None:
    runtimes = {**PI5["runtimes"], "ai_edge_litert": MISSING, "tflite_runtime": works("2.13.0")}
    assert "tflite-runtime 2.13.0" in judged(pi, PI5, runtimes=runtimes)["runtime-tflite"].message


def test_nothing_runs_without_numpy(pi: DeviceProfile) -> None:
    findings = judged(pi, PI5, runtimes={**PI5["runtimes"], "numpy": MISSING})
    assert findings["numpy"].level == "fail"
    assert "pip install numpy" in findings["numpy"].command
    assert not DeviceCheckup({}, tuple(findings.values())).usable


def test_an_illegal_instruction_is_a_finding(pi: DeviceProfile) -> None:
    crash = {"installed": True, "version": None, "error": "", "signal": 4}
    found = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": crash})["runtime-onnxruntime"]
    assert "SIGILL" in found.message
    assert "--force-reinstall" in found.command
    crash = {"installed": True, "version": None, "error": "bad alloc", "signal": 11}
    found = judged(pi, PI5, runtimes={**PI5["runtimes"], "onnxruntime": crash})["runtime-onnxruntime"]
    assert "SIGSEGV" in found.message and "bad alloc" in found.message


def test_jetpack_6_keeps_the_numpy_of_its_bindings(orin: DeviceProfile) -> None:
    found = judged(orin, ORIN, runtimes={**ORIN["runtimes"], "onnxruntime": MISSING})["runtime-onnxruntime"]
    assert found.command == 'python3 -m pip install "numpy<2" onnxruntime==1.23.2'


def test_the_hosts_own_packages_come_from_its_own_extra(config_home: Path) -> None:
    runtimes = {**PI5["runtimes"], "ai_edge_litert": MISSING}
    findings = judged(load_device("host"), {**PI5, "board": None}, runtimes=runtimes)
    assert "[tflite]" in findings["runtime-tflite"].command
    assert "clock-skew" not in findings and "memory-size" not in findings


@pytest.mark.parametrize(
    ("platform", "onnxruntime", "tflite"),
    [
        (Platform((3, 8), (2, 31)), ["onnxruntime==1.19.2"], ["tflite-runtime==2.13.0", '"numpy<2"']),
        (Platform((3, 9), (2, 31)), ["onnxruntime==1.19.2"], ["ai-edge-litert==2.1.0"]),
        (Platform((3, 10), (2, 35)), ["onnxruntime==1.23.2"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 13), (2, 41)), ["onnxruntime==1.32.0"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 11), None), ["onnxruntime==1.32.0"], ["ai-edge-litert==2.3.0"]),
        (Platform((3, 10), (2, 24)), ["onnxruntime==1.16.3"], ["ai-edge-litert==1.4.0"]),
        (Platform((3, 12), (2, 24)), None, ["ai-edge-litert==1.4.0"]),
        (Platform((3, 9), (2, 31), 32), None, ["tflite-runtime==2.13.0", '"numpy<2"']),
        (Platform((3, 11), (2, 36), 32), None, None),
        (Platform((3, 6), (2, 27)), None, None),
        (Platform((3, 15), (2, 41)), None, None),
    ],
)
def test_the_wheels_there_are(platform: Platform, onnxruntime: list[str] | None, tflite: list[str] | None) -> None:
    assert wheels("onnxruntime", platform) == onnxruntime
    assert wheels("tflite", platform) == tflite
