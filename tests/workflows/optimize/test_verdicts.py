"""From what was measured to the exit code: PASS, FAIL, INCONCLUSIVE, and a step that fails alone."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plugin_packages
import pytest

from edgecnn.core.artifact import Artifact

if TYPE_CHECKING:
    from conftest import Run
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]

PLUGIN = '''
from dataclasses import replace
from typing import ClassVar

from edgecnn.core.artifact import Artifact, FormatName, Kind, sha256_of
from edgecnn.core.stage import Context, Stage


class Collapse(Stage):
    """A compression that forgets what the last layer has learnt."""

    kind: ClassVar[str] = "collapse"

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        return Kind(wanted, "int8") if source == Kind(wanted, "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        import onnx

        model = onnx.load(source.path)
        for tensor in model.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.shape == (4,):
                array = (array * 0 + [99, 0, 0, 0]).astype(array.dtype)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        out = context.workdir / "model.int8.onnx"
        onnx.save(model, out)
        return replace(source, path=out, precision="int8", sha256=sha256_of(out), history=(*source.history, "collapse"))


class Stumble(Stage):
    """A compression with a mistake in it."""

    kind: ClassVar[str] = "stumble"

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        return Kind(wanted, "int8") if source == Kind("tensorrt", "fp32") else None

    def run(self, source: Artifact, context: Context) -> Artifact:
        (context.workdir / "half").write_text("half")
        raise ZeroDivisionError("no luck")
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two stages of somebody else's, installed as pip would: `collapse` and `stumble`."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "edgecnn_mishaps.py").write_text(PLUGIN)
    points = {"collapse": "edgecnn_mishaps:Collapse", "stumble": "edgecnn_mishaps:Stumble"}
    with plugin_packages.installed(site, "edgecnn-mishaps", {"stages": points}, monkeypatch):
        yield


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{row['format']} {row['precision']}": row for row in report["rows"]}


def test_a_candidate_that_collapses_fails_and_fp32_is_bundled(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, plugin: None, recipe: Callable[[str], str]
) -> None:
    out = finished.copy(tmp_path / "out")
    mine = recipe("stages: [export, collapse]")
    ended = invoke(*bench.optimize(out, "--recipe", mine, "--target", "jetson", "--json"))
    report = ended.json
    assert (ended.code, report["outcome"], report["exit_code"]) == (1, "FAIL", 1)
    lost = rows(report)["tensorrt int8"]
    assert lost["outcome"] == "FAIL" and lost["accuracy"]["drop_low"] > 0.1
    assert "the drop is at least" in report["outcome_why"] and "tensorrt int8" in report["outcome_why"]
    assert any("collapsed" in warning for warning in report["warnings"])
    assert any(said.startswith("bundled: tensorrt fp32 (tensorrt int8 FAIL") for said in report["conclusions"])
    manifest = json.loads((out / "bundle" / "manifest.json").read_text())
    assert (manifest["precision"], manifest["sha256"]) == ("fp32", rows(report)["tensorrt fp32"]["sha256"])
    assert "FAIL" in (out / "report.md").read_text()


def test_a_stage_that_fails_takes_no_other_down(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, plugin: None, recipe: Callable[[str], str]
) -> None:
    out = finished.copy(tmp_path / "out")
    mine = recipe("stages: [export, stumble, quantize: {observer: minmax}]")
    formats = ["--format", "tensorrt", "--format", "onnx"]
    ended = invoke(*bench.optimize(out, "--recipe", mine, *formats, "--json"))
    report = ended.json
    assert (ended.code, report["exit_code"]) == (5, 5)
    made = rows(report)
    assert [made[name]["status"] for name in ("onnx fp32", "onnx int8", "tensorrt fp32")] == ["ok"] * 3
    assert made["onnx int8"]["outcome"] == "PASS" and (out / "artifacts" / "model.int8.onnx").is_file()
    failed = next(row for row in report["rows"] if row["status"] == "failed")
    assert failed["reason"] == "stumble tensorrt int8 failed (ZeroDivisionError: no luck)"
    assert "ZeroDivisionError: no luck" in (out / "report.md").read_text()
    assert "warning[stage-failed]" in ended.err and "Traceback" not in ended.err
    assert (out / "bundle" / "manifest.json").is_file()
    assert not list((out / ".store").glob("**/half"))


@pytest.fixture
def wrong_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX exporter that writes the output channels of one layer in the wrong order."""
    from onnx_ir import Model, convenience, tensor

    from edgecnn.formats.onnx import export, surgery

    def operate(model: Model) -> Model:
        found = surgery.operate(model)
        node = next(node for node in found.graph if node.name == "features.6")
        weight = node.inputs[1]
        assert weight is not None
        held = convenience.get_const_tensor(weight)
        assert held is not None
        weight.const_value = tensor(held.numpy()[::-1].copy(), name=weight.name)
        return found

    monkeypatch.setattr(export, "operate", operate)


@pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")
def test_an_fp32_file_that_computes_something_else_fails_by_name_and_the_other_formats_go_on(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, wrong_converter: None
) -> None:
    out = finished.copy(tmp_path / "out")
    for step in [*(out / ".store").glob("export-onnx*"), *(out / ".store").glob("quantize-onnx*")]:
        shutil.rmtree(step)
    ended = invoke(*bench.optimize(out, "--json"))
    report, made = ended.json, rows(ended.json)
    assert (ended.code, report["exit_code"], report["verdict_of"]) == (0, 0, "tflite int8"), "it is what is bundled"
    assert report["outcome_why"].endswith("not made: onnx fp32, onnx int8")
    for name in ("onnx fp32", "onnx int8"):
        assert made[name]["status"] == "failed" and made[name]["outcome"] is None
        assert "the first layer that departs: features.6 (convolution" in made[name]["reason"]
    others = [row for row in report["rows"] if row["format"] != "onnx"]
    assert {row["status"] for row in others} <= {"ok"}
    assert "warning[wrong-export]: onnx fp32 failed" in ended.err
    assert list((out / "bundle").glob("*.tflite")) and not list((out / "bundle").glob("*.onnx"))
    asked = invoke(*bench.optimize(out, "--json", "--format", "onnx"))
    assert asked.code == asked.json["exit_code"] == 5
    assert {row["status"] for row in asked.json["rows"]} == {"failed"} and not (out / "bundle").exists()


@pytest.mark.parametrize("command", ["export", "quantize"])
def test_a_conversion_that_computes_something_else_writes_no_file(
    bench: Workbench, invoke: Invoke, tmp_path: Path, wrong_converter: None, command: str
) -> None:
    out = tmp_path / "model.onnx"
    ended = invoke(command, *bench.source, "--data", str(bench.data), "--out", str(out))
    assert (ended.code, ended.error) == (5, "wrong-export")
    assert "features.6 (convolution" in ended.err and not out.exists()


def test_where_every_stage_fails_the_first_error_is_shown(
    bench: Workbench, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Callable[[str], str]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("the exporter is broken")

    monkeypatch.setattr("edgecnn.formats.onnx.export.export", fail)
    ended = invoke(*bench.optimize(tmp_path / "out", "--format", "onnx"))
    assert (ended.code, ended.error) == (5, "stage-failed")
    assert "RuntimeError: the exporter is broken" in ended.err and ended.out == ""


def test_a_lint_that_breaks_costs_its_artifact_only(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.formats.tensorrt.lint import lint

    def fail(artifact: Artifact) -> Any:
        if artifact.precision == "fp16":
            raise KeyError("opset")
        return lint(artifact)

    out = finished.copy(tmp_path / "out")
    for step in (out / ".store").glob("lint-*"):
        shutil.rmtree(step)
    monkeypatch.setattr("edgecnn.formats.tensorrt.lint.lint", fail)
    ended = invoke(*bench.optimize(out, "--json", "--target", "jetson"))
    assert (ended.code, ended.json["verdict_of"]) == (0, "tensorrt int8"), ended.err
    made = rows(ended.json)
    assert [row["status"] for row in made.values()] == ["ok", "failed", "ok"]
    assert made["tensorrt int8"]["outcome"] == "PASS" and "KeyError" in made["tensorrt fp16"]["reason"]


def test_too_few_images_are_inconclusive_and_say_how_many_would_do(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "out")
    data = Path(shutil.copytree(bench.data, tmp_path / "patterns"))
    for path in data.glob("val/*/*.png"):
        if int(path.stem) >= 2:
            path.unlink()
    ended = invoke(*bench.optimize(out, "--json", "--target", "jetson", data=data))
    report = ended.json
    assert (ended.code, report["outcome"], report["exit_code"]) == (3, "INCONCLUSIVE", 3)
    assert "images would decide it" in report["outcome_why"]
    assert any("only 8 images" in warning for warning in report["warnings"])
    assert json.loads((out / "bundle" / "manifest.json").read_text())["outcome"] in ("INCONCLUSIVE", "BASELINE")
    cached = {stage["makes"]: stage["cached"] for stage in report["stages"] if "makes" in stage}
    assert cached["tensorrt fp32"], "other images to judge on are no reason to export again"


def test_a_tighter_budget_is_judged_again_and_nothing_else_is_done(
    finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    out = finished.copy(tmp_path / "out")
    ended = invoke(*bench.optimize(out, "--json", "--max-drop", "0.5%"))
    assert (ended.code, ended.json["outcome"], ended.json["max_drop"]) == (3, "INCONCLUSIVE", 0.005)
    assert all(stage["cached"] for stage in ended.json["stages"])


def test_without_data_nothing_is_judged_and_images_are_made_once(
    bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    words = ["optimize", *bench.source, "--profile", "smoke", "--target", "jetson", "--out", str(tmp_path / "out")]
    ended = invoke(*words, "--json")
    report = ended.json
    assert (ended.code, report["outcome"]) == (3, "INCONCLUSIVE")
    assert "use --data" in report["outcome_why"] and "warning[no-data]" in ended.err
    assert report["data"]["form"] == "synthetic" and report["data"]["evaluation"]["images"] == 0
    assert {row["outcome"] for row in report["rows"]} == {None, "INCONCLUSIVE"}
    assert {row["accuracy"] for row in report["rows"]} == {None}
    assert report["rows"][0]["parity"]["agreement"] == 1.0
    assert "make images: " in ended.err
    again = invoke(*words)
    assert again.code == 3 and "make images" not in again.err
    assert "none given: calibrated on 16 images made from batch-norm statistics" in " ".join(again.out.split())
