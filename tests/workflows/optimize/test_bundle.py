"""The bundle on a machine that has numpy, Pillow and one runtime: the labels of the report, and no torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.files import open_artifact
from edgecnn.probe import backends
from edgecnn.tasks.classification.task import TASK
from edgecnn.workflows.optimize.bundle import write_bundle

if TYPE_CHECKING:
    from conftest import Run
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]

PREPARED = Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
DISTRIBUTIONS = {"onnxruntime": "onnxruntime", "tflite": "ai-edge-litert"}
START = "import runpy, sys; site, *sys.argv = sys.argv[1:]; sys.path.insert(0, site); "
INFER = START + "runpy.run_path(sys.argv[0], run_name='__main__')"
tflite = pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")


def closure(name: str, found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Top-level folders and files of a distribution and of what it needs."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:  # behind a marker for other systems
        return found
    if name not in found:
        parts = {path.parts[0] for path in installed.files or ()}
        found[name] = {part for part in parts if part not in ("..", "__pycache__") and not part.endswith(".pth")}
        for needed in installed.requires or ():
            if "extra ==" not in needed:
                closure(re.split(r"[^\w.-]", needed)[0].lower(), found)
    return found


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`board("tflite")`: a site folder as on a board, with numpy, Pillow and that runtime."""

    def make(backend: str) -> Path:
        site = tmp_path_factory.mktemp(f"site-{backend}")
        packages: dict[str, set[str]] = {}
        for name in ("numpy", "pillow", DISTRIBUTIONS[backend]):
            closure(name, packages)
        assert not {"torch", "edgecnn"} & set(packages)
        for name, parts in packages.items():
            for part in parts:
                if not (site / part).exists():
                    (site / part).symlink_to(Path(str(distribution(name).locate_file(part))))
        return site

    return make


def alone(program: str, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This Python without its packages, its environment and this folder."""
    command = [sys.executable, "-I", "-S", "-c", program, str(site), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=site, timeout=120)


def backend_here(bundle: Path) -> str:
    """What runs the bundle on a CPU: one for a Jetson has another runtime for that."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    return str(manifest.get("cpu", manifest)["backend"])


def answers(bundle: Path, site: Path, images: Sequence[Path]) -> list[dict[str, Any]]:
    on_cpu = ["--cpu"] if "cpu" in json.loads((bundle / "manifest.json").read_text()) else []
    done = alone(INFER, site, str(bundle / "infer.py"), "--json", *on_cpu, *map(str, images))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def judged(bench: Workbench, path: Path, backend: str, format: str) -> tuple[list[Path], list[int], np.ndarray]:
    """Image files, their labels, and what the judge's own process makes of them."""
    from edgecnn.data import open_data
    from edgecnn.predict.runtime import run_file

    images = open_data(bench.data, num_classes=4, preprocessing=PREPARED).evaluation
    found = run_file(replace(open_artifact(path), format=format), images, backend=backend, threads=1, listener=ignore)
    return list(images.paths), list(images.labels or ()), found


def check(bench: Workbench, bundle: Path, site: Path, row: dict[str, Any]) -> None:
    """Every label and probability is the judge's, and as many are right as the report says."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    paths, labels, expected = judged(bench, bundle / manifest["model"], backend_here(bundle), manifest["format"])
    found = answers(bundle, site, paths)
    assert [Path(answer["file"]) for answer in found] == paths
    assert [answer["index"] for answer in found] == expected.argmax(1).tolist()
    names = (bundle / "labels.txt").read_text().splitlines()
    assert names == ["checks", "columns", "rows", "spot"]
    assert [answer["label"] for answer in found] == [names[index] for index in expected.argmax(1)]
    raised = np.exp(expected - expected.max(1, keepdims=True))
    shares = (raised / raised.sum(1, keepdims=True)).max(1)
    np.testing.assert_allclose([answer["probability"] for answer in found], shares, rtol=1e-5)
    correct = sum(answer["index"] == label for answer, label in zip(found, labels, strict=True))
    assert (correct, len(found)) == (row["accuracy"]["correct"], row["accuracy"]["images"])


def row_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in report["rows"] if f"{row['format']} {row['precision']}" == name)


def bundled(finished: Path, row: dict[str, Any], backend: str, place: Path) -> Path:
    artifact = replace(open_artifact(finished / "artifacts" / row["file"]), format=row["format"])
    names = ["checks", "columns", "rows", "spot"]
    return write_bundle(
        place, artifact, backend=backend, preprocessing=PREPARED, labels=names, decoder=TASK.decoder, facts={}
    )


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("tflite", marks=tflite)])
def test_the_board_has_no_torch(board: Callable[[str], Path], backend: str) -> None:
    for module in ("torch", "edgecnn", "scipy", "yaml"):
        done = alone(START + f"import numpy, PIL; import {module}", board(backend), "-")
        assert done.returncode == 1 and f"No module named '{module}'" in done.stderr


def test_the_bundle_of_a_run_gives_the_labels_of_its_report(
    finished: Run, bench: Workbench, board: Callable[[str], Path]
) -> None:
    bundle = finished.out / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    row = row_of(finished.ended.json, f"{manifest['format']} {manifest['precision']}")
    assert manifest["sha256"] == row["sha256"] and manifest["outcome"] in ("PASS", "BASELINE")
    assert json.loads((bundle / "preprocessing.json").read_text()) == PREPARED.to_dict()
    assert {path.name for path in bundle.iterdir()} == {
        *("README.md", "edge", "infer.py", "labels.txt", "manifest.json", manifest["model"]),
        *("preprocessing.json", "requirements.txt"),
    }
    check(bench, bundle, board(backend_here(bundle)), row)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("onnx fp32", "onnxruntime"),
        ("onnx int8", "onnxruntime"),
        ("tensorrt fp16", "onnxruntime"),
        ("tensorrt int8", "onnxruntime"),
        ("tensorrt fp16", "tensorrt"),  # what optimize bundles where other programs disturb the latencies
        pytest.param("tflite fp32", "tflite", marks=tflite),
        pytest.param("tflite int8", "tflite", marks=tflite),
    ],
)
def test_every_artifact_can_be_bundled(
    finished: Run, bench: Workbench, board: Callable[[str], Path], tmp_path: Path, name: str, backend: str
) -> None:
    row = row_of(finished.ended.json, name)
    bundle = bundled(finished.out, row, backend, tmp_path / "bundle")
    check(bench, bundle, board(backend_here(bundle)), row)


@tflite
def test_integer_input_and_output(
    finished: Run, bench: Workbench, invoke: Invoke, board: Callable[[str], Path], tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "out")
    recipe = tmp_path / "integer.yaml"
    recipe.write_text("stages: [export, quantize: {io: int8}]")
    ended = invoke(*bench.optimize(out, "--recipe", str(recipe), "--format", "tflite", "--json"))
    assert ended.code == 0, ended.err
    row = row_of(ended.json, "tflite int8")
    with backends.find("tflite").load(str(out / "artifacts" / row["file"]), {"threads": 1}) as session:
        assert [spec.dtype for spec in session.inputs] == ["int8"]
    check(bench, bundled(out, row, "tflite", tmp_path / "bundle"), board("tflite"), row)


def test_what_goes_wrong_on_the_board(
    finished: Run, bench: Workbench, board: Callable[[str], Path], tmp_path: Path
) -> None:
    row = row_of(finished.ended.json, "onnx int8")
    bundle = bundled(finished.out, row, "onnxruntime", tmp_path / "bundle")
    site = board("onnxruntime")
    image = next(bench.data.glob("val/rows/*.png"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    done = alone(
        INFER, site, str(bundle / "infer.py"), str(tmp_path / "broken.png"), str(tmp_path / "no.png"), str(image)
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "broken.png" in done.stderr and "no.png" in done.stderr
    assert done.stdout.split("\t")[:2] == [str(image), "rows"], "the others are classified all the same"
    for part in site.glob("onnxruntime*"):
        part.unlink()
    done = alone(INFER, site, str(bundle / "infer.py"), str(image))
    assert done.returncode == 4 and "pip install onnxruntime" in done.stderr and "Traceback" not in done.stderr


def test_a_new_bundle_replaces_the_old_one_whole(finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    bundled(finished.out, row_of(finished.ended.json, "onnx int8"), "onnxruntime", folder)
    (folder / "left-over.txt").touch()
    shutil.rmtree(folder / "edge")
    bundled(finished.out, row_of(finished.ended.json, "onnx fp32"), "onnxruntime", folder)
    assert (folder / "edge" / "backends" / "onnxruntime.py").is_file()
    assert not (folder / "left-over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
