"""`devices add` and `devices check` as a person types them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgecnn.cli import console, failures, main
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import StepError

Captured = pytest.CaptureFixture[str]
Answers = Callable[[Mapping[str, Any]], None]

PI5: dict[str, Any] = {
    "python": "3.11.2",
    "machine": "aarch64",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "isa": ["asimd", "dotprod", "fp16"],
    "usable_cores": 4,
    "memory_bytes": 8_442_000_000,
    "throttled": 0x50000,
    "externally_managed": True,
    "libc": "glibc 2.36",
    "runtimes": {
        "numpy": {"installed": True, "version": "2.2.6", "error": ""},
        "onnxruntime": {"installed": False},
        "ai_edge_litert": {"installed": True, "version": "2.3.0", "error": ""},
    },
}


def run(*argv: str) -> int:
    try:
        return failures.guard(lambda: main.run(list(argv)), argv)
    finally:
        console.configure()


@pytest.fixture
def pi(config_home: Path, capsys: Captured) -> None:
    assert run("devices", "add", "pi", "--ssh", "pi@raspberrypi.local", "--like", "raspberry-pi-5") == 0
    capsys.readouterr()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """`answers(facts)`: what every board says from now on; closing it is checked."""
    devices = pytest.importorskip("edgecnn.workflows.devices")

    class Fake:
        local = False

        def __init__(self, name: str, facts: Mapping[str, Any]) -> None:
            self.name, self.facts = name, facts

        def run(self, job: Mapping[str, Any], **_: Any) -> dict[str, Any]:
            if "error" in self.facts:
                raise StepError("unreachable", "pi does not answer", hint="ssh pi")
            return {"facts": dict(self.facts)}

    def install(facts: Mapping[str, Any]) -> None:
        @contextlib.contextmanager
        def opened(profile: DeviceProfile) -> Iterator[Fake]:
            yield Fake(profile.name, facts)

        monkeypatch.setattr(devices, "open_device", opened)

    return install


def test_add_says_what_to_type_next(config_home: Path, capsys: Captured) -> None:
    words = ("devices", "add", "pi", "--ssh", "pi@raspberrypi.local", "--like", "raspberry-pi-5")
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert out.endswith("next: edgecnn devices check pi\n")
    assert str(config_home / "devices" / "pi.yaml") in out
    assert run(*words) == 2
    assert "error[device-exists]" in capsys.readouterr().err
    assert run(*words, "--force", "--python", "~/venv/bin/python", "--json") == 0
    assert json.loads(capsys.readouterr().out)["device"]["connect"]["python"] == "~/venv/bin/python"


def test_a_device_of_ones_own_in_list_and_show(pi: None, capsys: Captured) -> None:
    assert run("devices", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ssh pi@raspberrypi.local" in next(line for line in lines if line.startswith(" pi "))
    assert run("devices", "show", "pi") == 0
    page = capsys.readouterr().out
    for words in ("ssh pi@raspberrypi.local, python python3, folder .cache/edgecnn", "told by vcgencmd", "an estimate"):
        assert words in page


def test_show_tells_modes_by_name_and_formats_on_request(capsys: Captured) -> None:
    assert run("devices", "show", "orin-nano") == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "super modes 15W, 25W (default), MAXN_SUPER" in page
    assert "onnx, run by onnxruntime; only with --format onnx" in page
    assert "devices add NAME --ssh USER@HOST --like jetson-orin-nano-8gb" in page
    assert run("devices", "show", "nano") == 0
    assert "tensorrt, run by tensorrt; no INT8" in capsys.readouterr().out


def test_check_shows_findings_with_their_commands(pi: None, answers: Answers, capsys: Captured) -> None:
    answers(PI5)
    assert run("devices", "check", "pi") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "✓ board Raspberry Pi 5 Model B Rev 1.0: fits raspberry-pi-5" in out
    assert "✓ runtime-tflite ai-edge-litert 2.3.0, for tflite files" in out
    assert "! runtime-onnxruntime onnxruntime is missing, for onnx files python3 -m venv ~/edgecnn " in out
    assert "under-voltage since it started" in out
    assert "? temperature no temperature can be read" in out
    assert "pi can be used; " in out


def test_check_in_json(pi: None, answers: Answers, capsys: Captured) -> None:
    answers(PI5)
    assert run("devices", "check", "pi", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["device"], found["usable"], found["facts"]["board"]) == ("pi", True, PI5["board"])
    assert {"code", "level", "message", "command"} == set(found["findings"][0])


def test_check_exits_4_when_nothing_can_run(pi: None, answers: Answers, capsys: Captured) -> None:
    answers({**PI5, "runtimes": {**PI5["runtimes"], "numpy": {"installed": False}}})
    assert run("devices", "check", "pi") == 4
    assert "nothing can run on pi before what is marked ✗ is mended" in capsys.readouterr().out


def test_check_exits_2_on_another_board(pi: None, answers: Answers, capsys: Captured) -> None:
    answers({**PI5, "board": "Raspberry Pi 4 Model B Rev 1.4"})
    assert run("devices", "check", "pi") == 2
    err = capsys.readouterr().err
    assert "error[device-misfit]" in err and "--like raspberry-pi-4b --force" in err


def test_a_board_that_does_not_answer(pi: None, answers: Answers, capsys: Captured) -> None:
    answers({"error": True})
    assert run("devices", "check", "pi") == 5
    assert "error[unreachable]" in capsys.readouterr().err


def test_a_profile_is_no_board(capsys: Captured) -> None:
    pytest.importorskip("edgecnn.measure.board")
    assert run("devices", "check", "raspberry-pi-5") == 4
    assert "devices add" in capsys.readouterr().err


def test_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    pytest.importorskip("edgecnn.measure.board")
    for name in ("torch", "onnxruntime", "ai_edge_litert"):  # quick ones
        (tmp_path / name).mkdir()
        for file in ("__init__.py", "interpreter.py"):
            (tmp_path / name / file).touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run("devices", "check", "host") == 0
    out = capsys.readouterr().out
    assert "✓  runtime-onnxruntime" in out
    assert "host " in out
