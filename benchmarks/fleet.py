"""Twenty boards in one `edgecnn benchmark`, and a second run of one model: what the host spends, what is sent.

The boards are folders of this machine behind a stand-in for `ssh` (same arguments, no network), each with its own home,
so all of edgecnn's own code runs: transport, agent, worker, results. Their times say nothing and are not looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import records

LIMIT_MB = 200.0
SSH = """#!/bin/sh
# The last argument is the command, the one before it the host: each host is a folder. Control commands do nothing.
for word in "$@"; do
    [ "$word" = "-O" ] && exit 0
    host=$command
    command=$word
done
home="$EDGECNN_STAND_IN_BOARDS/$host"
cd "$home" && HOME="$home" exec sh -c "$command"
"""
SCP = """#!/bin/sh
# `scp [options] -- SOURCE HOST:TARGET`
for word in "$@"; do
    source=$target
    target=$word
done
exec cp "$source" "$EDGECNN_STAND_IN_BOARDS/${target%%:*}/${target#*:}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boards", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        place = Path(folder)
        environment = _boards(place, options.boards)
        names = [f"board-{index}" for index in range(options.boards)]
        model = place / "model.onnx"
        model.write_bytes(os.urandom(3_000_000))  # the null backend looks at no file
        first = _benchmark(model, names, environment)
        second = _benchmark(model, names, environment)
    goals = _goals(first, second, model_bytes=3_000_000)
    records.print_goals(goals)
    records.save("fleet", {"first": first, "second": second}, settings={"boards": options.boards}, goals=goals)


def _boards(place: Path, count: int) -> dict[str, str]:
    """Homes, device files, and a PATH on which the stand-in is found first."""
    for name, script in (("ssh", SSH), ("scp", SCP)):
        program = place / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script)
        program.chmod(0o755)
    devices = place / "config" / "edgecnn" / "devices"
    devices.mkdir(parents=True)
    for index in range(count):
        (place / "boards" / f"host-{index}").mkdir(parents=True)
        (devices / f"board-{index}.yaml").write_text(
            f"name: board-{index}\ntitle: Board {index}\nconnect: {{ssh: host-{index}, python: {sys.executable}}}\n"
            "deployments:\n  - {format: onnx, backend: onnxruntime, family: onnxruntime}\n"
        )
    return {
        **os.environ,
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(place / "config"),
        "EDGECNN_STAND_IN_BOARDS": str(place / "boards"),
    }


def _benchmark(model: Path, names: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """One call of the command; the largest resident set of its process, as the kernel counts it."""
    argv = [sys.executable, "-m", "edgecnn", "benchmark", str(model), "--backend", "null", "--profile", "smoke"]
    argv += ["--threads", "1", "--json", "--quiet"]
    for name in names:
        argv += ["--device", name]
    begin, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as stdout:
        process = subprocess.Popen(argv, env=dict(environment), stdout=stdout, text=True)
        while process.poll() is None:
            peak = max(peak, _peak_bytes(process.pid))
            time.sleep(0.1)
        stdout.seek(0)
        said = json.load(stdout)
    return {
        "code": process.returncode,
        "wall_s": round(time.monotonic() - begin, 1),
        "peak_rss_mb": round(peak / 1e6, 1),
        "measured": sorted(row["device"] for row in said.get("models", ())),
        "failed": [failure["code"] for failure in said.get("failed", ())],
        "copied_bytes": {device["name"]: device["copied_bytes"] for device in said.get("devices", ())},
    }


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _goals(first: Mapping[str, Any], second: Mapping[str, Any], *, model_bytes: int) -> list[records.Goal]:
    boards = len(first["copied_bytes"])
    answered = [len(run["measured"]) for run in (first, second)]
    peak = max(first["peak_rss_mb"], second["peak_rss_mb"])
    once, again = (sum(run["copied_bytes"].values()) for run in (first, second))
    goal = records.Goal
    return [
        goal(
            "boards measured, twice", f"{boards} and {boards}", "{} and {}".format(*answered), answered == [boards] * 2
        ),
        goal("host memory", f"at most {LIMIT_MB:g} MB", f"{peak:g} MB", peak <= LIMIT_MB),
        goal("bytes sent, first run", f"{boards * model_bytes}", f"{once}", once == boards * model_bytes),
        goal("bytes sent, second run", "0", f"{again}", again == 0),
    ]


if __name__ == "__main__":
    records.leave(main)
