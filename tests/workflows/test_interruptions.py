"""Killed, interrupted, run twice at once, damaged, out of space: nothing is lost, and the result is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Run
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]

SLOW = """
import sys, time
from edgecnn.cli import failures
from edgecnn.cli.main import run
from edgecnn.data.images import ImageSet
from edgecnn.quantize import observe

observe.SAVE_EVERY_S = 0.0
batches = ImageSet.batches

def slowly(self, size):
    for batch in batches(self, size):
        time.sleep(0.05)
        yield batch

ImageSet.batches = slowly
argv = sys.argv[1:]
failures.heed_sigterm()
sys.exit(failures.guard(lambda: run(argv), argv))
"""
"""The command with slow images and a calibration that saves its state after each, so that it can be stopped inside."""


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def int8(out: Path) -> Path:
    return out / "artifacts" / "model.int8.onnx"


def without_quantization(finished: Run, place: Path) -> Path:
    """A copy of the finished run that still has to calibrate for ONNX."""
    out = finished.copy(place)
    shutil.rmtree(out / "artifacts")
    for step in (out / ".store").glob("quantize-onnx-int8-*"):
        shutil.rmtree(step)
    return out


def calibrating(bench: Workbench, out: Path) -> subprocess.Popen[str]:
    """A run that has calibrated on several images, and not on all."""
    command = [sys.executable, "-c", SLOW, *bench.optimize(out)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while saved(out) < 5:
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()
        time.sleep(0.02)
    return running


def saved(out: Path) -> int:
    """Images in the saved state of the calibration."""
    for path in (out / ".store").glob(".scratch-*/observed.npz"):
        with np.load(path, allow_pickle=False) as state:
            return int(state["done"])
    return 0


def test_a_killed_calibration_goes_on_where_it_stopped(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.quantize import observe
    from edgecnn.quantize.histogram import Histogram

    out = without_quantization(finished, tmp_path / "killed")
    running = calibrating(bench, out)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    done = saved(out)
    assert 5 <= done < 40
    assert not int8(out).exists()

    counted: dict[int, int] = {}
    add = Histogram.add

    def counting(self: Histogram, values: np.ndarray) -> None:
        counted[id(self)] = counted.get(id(self), 0) + 1
        add(self, values)

    monkeypatch.setattr(observe.Histogram, "add", counting)
    ended = invoke(*bench.optimize(out))
    assert ended.code == 0, ended.err
    assert set(counted.values()) == {40 - done}, "images seen before the kill were calibrated on again"
    assert digest(int8(out)) == digest(int8(finished.out))
    assert not [path for path in (out / ".store").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_says_that_nothing_is_lost(
    number: signal.Signals, finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = without_quantization(finished, tmp_path / "stopped")
    running = calibrating(bench, out)
    running.send_signal(number)
    said, complaint = running.communicate(timeout=60)
    assert (running.returncode, said) == (128 + number, "")
    assert "finished stages are kept: run the same command again to continue" in complaint
    assert "Traceback" not in complaint
    assert saved(out) >= 5
    left = [path.name for path in (out / ".store").iterdir() if path.name.startswith(".")]
    assert len(left) == 1 and left[0].startswith(".scratch-")
    ended = invoke(*bench.optimize(out))
    assert ended.code == 0 and "export onnx fp32: (cached)" in ended.err
    assert digest(int8(out)) == digest(int8(finished.out))


def test_a_calibration_state_that_is_damaged_is_started_anew(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = without_quantization(finished, tmp_path / "damaged")
    name = next((finished.out / ".store").glob("quantize-onnx-int8-*")).name
    scratch = out / ".store" / f".scratch-{name}"
    scratch.mkdir()
    (scratch / "observed.npz").write_bytes(b"PK\x03\x04 half a file")
    ended = invoke(*bench.optimize(out))
    assert ended.code == 0, ended.err
    assert digest(int8(out)) == digest(int8(finished.out))


@pytest.mark.slow
def test_two_runs_at_once_in_one_folder(finished: Run, bench: Workbench, tmp_path: Path) -> None:
    out = tmp_path / "both"
    command = [sys.executable, "-m", "edgecnn", *bench.optimize(out, "--target", "jetson", "--json")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [running.communicate(timeout=300) for running in both]
    for running, (result, complaint) in zip(both, said, strict=True):
        assert running.returncode == 0, complaint
        made = {row["file"]: row["sha256"] for row in json.loads(result)["rows"]}
        assert len(made) == 3
        for name, expected in made.items():
            assert digest(out / "artifacts" / name) == expected == digest(finished.out / "artifacts" / name)
    manifest = json.loads((out / "bundle" / "manifest.json").read_text())
    assert manifest["sha256"] == digest(out / "bundle" / manifest["model"])
    hidden = [path for folder in (out, out / ".store", out / "artifacts") for path in folder.glob(".*")]
    assert [path.name for path in hidden] == [".store"]


def damage_model(store: Path) -> None:
    path = next(store.glob("quantize-onnx-int8-*")) / "model.int8.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def damage_answers(store: Path) -> None:
    for path in store.glob("answer-*/logits.npy"):
        path.write_bytes(b"\x93NUMPY")


def damage_facts(store: Path) -> None:
    for path in store.glob("lint-*/done.json"):
        path.write_text("{}")


@pytest.mark.parametrize("damage", [damage_model, damage_answers, damage_facts])
def test_damaged_work_is_done_again(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out = finished.copy(tmp_path / "damaged")
    shutil.rmtree(out / "artifacts")
    damage(out / ".store")
    ended = invoke(*bench.optimize(out, "--json"))
    assert ended.code == 0, ended.err
    assert digest(int8(out)) == digest(int8(finished.out))
    names = [f"{row['format']} {row['precision']}" for row in ended.json["rows"] if row["status"] == "ok"]
    assert {stage["stage"] for stage in ended.json["stages"] if not stage["cached"]} == {
        damage_model: {"quantize"},
        damage_answers: {f"judge {name}" for name in names},
        damage_facts: {f"lint {name}" for name in names},
    }[damage]


def test_what_dead_runs_left_is_swept(finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "swept")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mark = f".{ended.pid}-0a1b2c"
    left = [out / ".store" / f".export-onnx-fp32-0{mark}", out / f".bundle{mark}", out / f".report.md{mark}"]
    left += [out / "artifacts" / f".model.int8.onnx{mark}"]
    for path in left:
        path.mkdir()
    living = out / ".store" / f".export-onnx-fp32-0.{os.getppid()}-0a1b2c"
    living.mkdir()
    assert invoke(*bench.optimize(out, "--target", "jetson")).code == 0
    assert [path for path in left if path.exists()] == []
    assert living.exists()


def test_an_output_folder_that_is_a_file(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    ended = invoke(*bench.optimize(tmp_path / "file" / "out"))
    assert (ended.code, ended.error) == (5, "cannot-write")
    assert "Not a directory" in ended.err and "--out" in ended.err
    assert "export onnx fp32" not in ended.err, "it should be said before any work"
    assert (tmp_path / "file").read_text() == "text"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Sixteen megabytes, where this process may mount a file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "edgecnn-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if sys.platform == "linux" else None
    if done is None or done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip() if done else sys.platform}")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607


@pytest.mark.parametrize("room_kib", [0, 16])
@pytest.mark.parametrize("done", ["all but one step", "all but the report"])
def test_a_full_disk(
    finished: Run, bench: Workbench, invoke: Invoke, small_disk: Path, room_kib: int, done: str
) -> None:
    """With space made, the same command goes on."""
    out = small_disk / "out"
    shutil.copytree(finished.out / ".store", out / ".store")
    if done == "all but one step":
        shutil.rmtree(next((out / ".store").glob("quantize-onnx-int8-*")))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        stream.write(bytes(shutil.disk_usage(small_disk).free - (room_kib << 10)))
    ended = invoke(*bench.optimize(out))
    assert (ended.code, ended.error) == (5, "cannot-write"), ended.err
    assert "measure smoke: " not in ended.err or done == "all but the report", "it should stop at the first refusal"
    assert "No space left on device" in ended.err and "free some space" in ended.err
    filler.unlink()
    ended = invoke(*bench.optimize(out))
    assert ended.code == 0 and "export onnx fp32: (cached)" in ended.err
    assert digest(int8(out)) == digest(int8(finished.out))
