"""A format that comes in a package of its own: one folder, one entry point, and every command knows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from plugin_packages import write_metadata
from workbench import Ended, Workbench, in_process_of_its_own, make_workbench

PACKAGE = Path(__file__).parent / "toy" / "edgecnn_toy"
Edgecnn = Callable[..., Ended]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return make_workbench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def edgecnn(tmp_path_factory: pytest.TempPathFactory) -> Edgecnn:
    """The command where the toy's package is installed, and nothing else is different."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, site / PACKAGE.name)
    write_metadata(site, "edgecnn-toy", {"formats": {"toy": "edgecnn_toy:FORMAT"}})
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def call(*words: str) -> Ended:
        return in_process_of_its_own(*words, env=environment)

    return call


@pytest.fixture(scope="module")
def run(edgecnn: Edgecnn, bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    ended = edgecnn(*bench.optimize(out, "--format", "toy", "--recipe", "int8"))
    assert ended.code == 0, ended.err
    return out


def test_it_is_offered(edgecnn: Edgecnn) -> None:
    for command in ("export", "quantize", "optimize"):
        assert "onnx, tflite, tensorrt or toy" in " ".join(edgecnn(command, "--help").out.split())
    ended = edgecnn("export", "no.pth", "--format", "toi")
    assert ended.code == 2 and "did you mean 'toy'?" in ended.err


def test_doctor_tries_its_runtime(edgecnn: Edgecnn) -> None:
    checks = json.loads(edgecnn("doctor", "--json").out)["checks"]
    (check,) = [check for check in checks if check["name"] == "toy"]
    assert (check["group"], check["status"], check["detail"]) == ("runtimes", "ok", "plays")


def test_a_run_exports_lints_and_judges_it(run: Path) -> None:
    rows = {f"{row['format']} {row['precision']}": row for row in json.loads((run / "report.json").read_text())["rows"]}
    assert set(rows) == {"toy fp32", "toy int8"}
    assert all(row["parity"]["agreement"] > 0.9 and row["speed"]["median_ms"] > 0 for row in rows.values())
    assert rows["toy int8"]["outcome"] == "PASS"
    assert rows["toy int8"]["fusion"]["runtime"] == "toy" and rows["toy int8"]["fusion"]["integer"] > 0
    assert {path.name for path in (run / "artifacts").iterdir()} == {"model.fp32.toy", "model.int8.toy"}


def test_its_bundle_runs_alone(run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "bundle", bundle)
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "photo.png")
    command = [sys.executable, "-I", str(bundle / "infer.py"), "--json", str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in (bundle / "labels.txt").read_text().split()
    assert (bundle / "requirements.txt").read_text().split() == ["numpy", "Pillow>=8", "onnxruntime"]


def test_its_files_are_inspected_benchmarked_and_evaluated(edgecnn: Edgecnn, bench: Workbench, run: Path) -> None:
    file = str(run / "artifacts" / "model.int8.toy")
    found = edgecnn("inspect", file, "--json").json
    assert found["format"] == "toy" and found["layers"]["int8"] > 0
    ended = edgecnn("benchmark", file, "--profile", "smoke", "--json")
    assert ended.code == 0, ended.err
    ended = edgecnn("evaluate", file, "--data", str(bench.data), "--json")
    assert ended.code == 0, ended.err


def test_a_file_of_another_kind_is_refused(edgecnn: Edgecnn, tmp_path: Path) -> None:
    (tmp_path / "bad.toy").write_bytes(b"no toy" * 100)
    ended = edgecnn("benchmark", str(tmp_path / "bad.toy"), "--profile", "smoke")
    assert ended.code != 0 and "not a toy file" in ended.err
