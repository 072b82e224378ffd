"""The way of a user with a board: check it, optimize for it on it, benchmark, profile. ARM kernels, real ssh."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workbench import Ended, Workbench, in_process_of_its_own, make_workbench

if TYPE_CHECKING:
    from emulated_board import EmulatedBoard

NAME = "emulated-pi"
TIME = re.compile(r"\d\s?(?:ms|us)\b|\bms\b.*\d")
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class User:
    """Someone who has added the board: `user("benchmark", ...)` runs edgecnn in a process of its own."""

    config: Path

    def __call__(self, *words: str | Path) -> Ended:
        environment = {**os.environ, "XDG_CONFIG_HOME": str(self.config)}
        return in_process_of_its_own(*map(str, words), env=environment)


@pytest.fixture(scope="module")
def user(board: EmulatedBoard, tmp_path_factory: pytest.TempPathFactory) -> User:
    """`edgecnn devices add`, as the README has it."""
    made = User(tmp_path_factory.mktemp("config"))
    added = made("devices", "add", NAME, "--ssh", board.host, "--config", board.ssh_config, "--like", "raspberry-pi-5")
    assert added.code == 0, added.err
    return made


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return make_workbench(tmp_path_factory.mktemp("bench") / "bench")


@pytest.fixture(scope="module")
def ran(user: User, bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """One `optimize --device`, its words and its folder."""
    out = tmp_path_factory.mktemp("run") / "out"
    return user(*bench.optimize(out, "--device", NAME)), out


@pytest.fixture(scope="module")
def int8(ran: tuple[Ended, Path]) -> tuple[Path, Path]:
    artifacts = ran[1] / "artifacts"
    return artifacts / "model.int8.onnx", artifacts / "model.int8.tflite"


def test_check_says_what_the_board_is_and_what_to_mend(user: User) -> None:
    checked = user("devices", "check", NAME, "--json")
    assert checked.code == 0, checked.err
    found = checked.json
    facts = found["facts"]
    assert facts["machine"] == "aarch64" and facts["emulated"] is True
    assert facts["board"].startswith("Raspberry Pi 5") and "dotprod" in facts["isa"]
    assert facts["runtimes"]["onnxruntime"]["version"] and facts["runtimes"]["ai_edge_litert"]["version"]
    findings = {finding["code"]: finding for finding in found["findings"]}
    governor = next(finding for code, finding in findings.items() if "governor" in code)
    assert governor["level"] == "warn" and "performance" in governor["command"]
    assert any("emulated" in code for code in findings)


def test_a_profile_of_another_board_is_refused(user: User, board: EmulatedBoard) -> None:
    added = user(
        *(
            "devices",
            "add",
            "wrong",
            "--ssh",
            board.host,
            "--config",
            board.ssh_config,
            "--like",
            "jetson-orin-nano-8gb",
        )
    )
    assert added.code == 0, added.err
    checked = user("devices", "check", "wrong")
    assert (checked.code, checked.error) == (2, "device-misfit")
    assert "raspberry-pi-5" in checked.err


def test_optimize_judges_on_the_boards_own_kernels_and_claims_no_latency(ran: tuple[Ended, Path]) -> None:
    ended, out = ran
    assert ended.code == 0, ended.err
    report = json.loads((out / "report.json").read_text())
    rows = {(row["format"], row["precision"]): row for row in report["rows"]}
    assert set(rows) == {("tflite", "fp32"), ("tflite", "int8"), ("onnx", "fp32"), ("onnx", "int8")}
    for row in rows.values():
        assert row["status"] == "ok"
        assert row["accuracy"]["images"] == 60 and row["accuracy"]["top1"] > 0.9
        assert not row["accuracy"]["stand_in"]
        assert row["speed"]["emulated"] is True and row["speed"]["grade"] == "invalid"
    assert rows["onnx", "int8"]["outcome"] == rows["tflite", "int8"]["outcome"] == "PASS"
    assert report["device"]["machine"] == "aarch64" and "emulated" in report["elsewhere"]
    run = json.loads((out / "run.json").read_text())
    assert run["ran_on"]["local"] is False and set(run["ran_on"]["runtimes"]) == {"tflite", "onnxruntime"}
    page = (out / "report.md").read_text()
    assert "emulated" in page and "latency not claimed" in page
    table = ended.out[: ended.out.index("conclusions")]
    assert "emulated" in table and not re.search(r"\d+\.\d+x", table)


def test_a_second_run_finds_everything(ran: tuple[Ended, Path], user: User, bench: Workbench) -> None:
    again = user(*bench.optimize(ran[1], "--device", NAME, "--json"))
    assert again.code == 0, again.err
    judged = [stage for stage in again.json["stages"] if stage["stage"].startswith(("judge", "measure"))]
    assert judged and all(stage["cached"] for stage in judged)


def test_benchmark_carries_emulated_and_copies_nothing_twice(user: User, int8: tuple[Path, Path]) -> None:
    first = user("benchmark", *int8, "--device", NAME, "--profile", "smoke", "--threads", "1", "--json")
    assert first.code == 0, first.err
    assert [row["name"] for row in first.json["models"]] == ["model.int8.onnx", "model.int8.tflite"]
    for row in first.json["models"]:
        assert row["grade"] == "invalid" and "emulated" in [reason["code"] for reason in row["reasons"]]
        assert row["median_ns"] is None and row["samples"] >= 30 and row["peak_rss_delta_bytes"] is not None
    again = user("benchmark", *int8, "--device", NAME, "--profile", "smoke", "--threads", "1", "--json")
    assert again.json["devices"][0]["copied_bytes"] == 0
    assert again.json["devices"][0]["emulated"] is True


def test_the_table_and_the_csv_claim_no_time(user: User, int8: tuple[Path, Path]) -> None:
    words = ("benchmark", int8[0], "--device", NAME, "--profile", "smoke", "--threads", "1")
    page = user(*words)
    assert page.code == 0, page.err
    assert "invalid" in page.out and "emulated" in page.out and not TIME.search(page.out)
    (row,) = csv.DictReader(io.StringIO(user(*words, "--csv").out))
    assert (row["device"], row["grade"], row["median_ms"]) == (NAME, "invalid", "")


def test_the_board_and_this_host_side_by_side(user: User, int8: tuple[Path, Path]) -> None:
    both = user(
        *("benchmark", int8[0], "--device", "host", "--device", NAME, "--profile", "smoke", "--threads", "1", "--json")
    )
    assert both.code == 0, both.err
    here, there = both.json["models"]
    assert (here["device"], there["device"]) == ("host", NAME)
    assert here["median_ns"] > 0 and there["median_ns"] is None


def test_throttling_is_seen(user: User, board: EmulatedBoard, int8: tuple[Path, Path]) -> None:
    board.throttle(0x50005)
    board.temperature(84.0)
    hot = user("benchmark", int8[0], "--device", NAME, "--profile", "smoke", "--threads", "1", "--json")
    assert hot.code == 0, hot.err
    codes = {reason["code"] for reason in hot.json["models"][0]["reasons"]}
    assert {"under-voltage", "throttled", "hot-start"} <= codes


@pytest.mark.parametrize("index", [0, 1])
def test_profile_names_the_layers(index: int, user: User, int8: tuple[Path, Path]) -> None:
    shown = user("profile", int8[index], "--device", NAME, "--threads", "1", "--json")
    assert shown.code == 0, shown.err
    layers = shown.json["layers"]
    assert layers and any(layer["macs"] for layer in layers)
    assert shown.json["emulated"] is True


def test_without_a_runtime_it_is_said_before_any_work(
    user: User, board: EmulatedBoard, bench: Workbench, tmp_path: Path
) -> None:
    """A Python that has no packages: what a board is like on the first day."""
    text = board.device_yaml("bare").replace("}\n", ", python: /usr/bin/bare-python3}\n")
    script = board.tree / "usr/bin/bare-python3"
    script.write_text('#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')
    script.chmod(0o755)
    (user.config / "edgecnn/devices/bare.yaml").write_text(text)
    ended = user(*bench.optimize(tmp_path / "out", "--device", "bare"))
    assert (ended.code, ended.error) == (4, "missing-runtime")
    assert "pip install" in ended.err and not (tmp_path / "out/artifacts").exists()
