"""`plan` runs nothing; `export`, `quantize` and `benchmark` are one step; `demo` is all of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgecnn.core import plugins
from edgecnn.core.errors import install_hint
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.quantize_stage import Quantize

if TYPE_CHECKING:
    from conftest import Run
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]
Table = Callable[[Path], list[str]]

tflite = pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")


@pytest.mark.parametrize("with_data", [True, False])
def test_a_plan_runs_nothing(bench: Workbench, invoke: Invoke, tmp_path: Path, with_data: bool) -> None:
    out = tmp_path / "out"
    data = ["--data", str(bench.data)] if with_data else []
    ended = invoke("plan", *bench.source, *data, "--target", "jetson", "--out", str(out), "--json")
    plan = ended.json
    assert (ended.code, plan["target"], plan["recipe"], plan["out"]) == (0, "jetson-orin-nano-8gb", "int8", str(out))
    assert [step["name"] for step in plan["steps"]] == [
        "export tensorrt fp32",
        "cast tensorrt fp16",
        "quantize tensorrt int8",
    ]
    assert not any(step["cached"] for step in plan["steps"])
    assert plan["preprocessing"]["crop"] == [32, 32]
    assert list(tmp_path.iterdir()) == []
    assert "make images" not in ended.err


def test_a_dry_run_is_the_plan(finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    before = sorted(out.rglob("*"))
    ended = invoke(*bench.optimize(out, "--dry-run"))
    assert ended.code == 0 and ended.out == invoke(*bench.optimize(out, "--dry-run", "--quiet")).out
    assert "40 to calibrate, 60 to judge" in ended.out and " done" in ended.out and "to do" not in ended.out
    assert "measure (smoke, 1 thread), judge (at most 10.00% drop)" in ended.out
    assert sorted(out.rglob("*")) == before
    ended = invoke(*bench.optimize(tmp_path / "fresh", "--dry-run", "--json"))
    assert ended.code == 0 and {step["cached"] for step in ended.json["steps"]} == {False}
    assert not (tmp_path / "fresh").exists()


def test_a_plan_names_the_missing_extra(bench: Workbench, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setitem(sys.modules, "litert_torch", None)
    ended = invoke("plan", *bench.source, "--data", str(bench.data), "--target", "pi5")
    assert ended.code == 0 and install_hint("tflite") in " ".join(ended.out.split())


def test_a_plan_takes_what_it_prints(bench: Workbench, invoke: Invoke) -> None:
    words = [
        "plan",
        *bench.source,
        "--data",
        str(bench.data),
        "--max-drop",
        "2%",
        "--profile",
        "smoke",
        "--threads",
        "3",
    ]
    assert "measure (smoke, 3 threads), judge (at most 2.00% drop)" in invoke(*words).out
    plan = invoke(*words, "--json").json
    assert (plan["budget"]["max_drop"], plan["profile"], plan["threads"]) == (0.02, "smoke", 3)


def test_export_writes_one_file_and_checks_it(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tiny.onnx"
    ended = invoke("export", *bench.source, "--out", str(path), "--json")
    made = ended.json
    assert ended.code == 0, ended.err
    assert (made["path"], made["format"], made["precision"]) == (str(path), "onnx", "fp32")
    assert made["size_bytes"] == path.stat().st_size
    assert made["parity"]["agreement"] == 1.0 and made["images"] == "synthetic"
    assert [item.name for item in path.parent.iterdir()] == ["tiny.onnx"]


def test_export_is_checked_on_images_that_are_given(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    words = ["export", *bench.source, "--data", str(bench.data), "--out", str(tmp_path / "tiny.onnx")]
    ended = invoke(*words, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["images"] == "evaluation" and ended.json["parity"]["images"] == 32
    assert "no-data" not in ended.err
    assert "on 32 evaluation images" in invoke(*words).out
    (tmp_path / "classes.txt").write_text("\n".join(["spot", "rows", "columns", "nothing"]))
    ended = invoke(*words, "--class-map", str(tmp_path / "classes.txt"))
    assert ended.code == 2 and "checks" in ended.err


@pytest.fixture
def linted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fusion], None]:
    """Let every lint find this."""
    resolve = plugins.resolve

    def make(fusion: Fusion) -> None:
        monkeypatch.setattr(
            plugins, "resolve", lambda name: (lambda _: fusion) if name.endswith(":lint") else resolve(name)
        )

    return make


def test_what_the_runtime_refuses_is_no_file(
    bench: Workbench, invoke: Invoke, tmp_path: Path, linted: Callable[[Fusion], None]
) -> None:
    linted(Fusion("tensorrt", "refused", note="TensorRT at fc (Gemm): no such thing"))
    path = tmp_path / "tiny.onnx"
    ended = invoke("export", *bench.source, "--format", "tensorrt", "--out", str(path))
    assert (ended.code, ended.error) == (5, "refused-by-runtime")
    assert "why: TensorRT at fc (Gemm): no such thing" in ended.err
    assert ended.out == "" and not path.exists()


@pytest.mark.parametrize("status", ["checked", "skipped"])
def test_what_the_lint_remarks_is_shown(
    bench: Workbench, invoke: Invoke, tmp_path: Path, linted: Callable[[Fusion], None], status: str
) -> None:
    linted(Fusion("tensorrt", status, note="the lint says so"))
    ended = invoke("export", *bench.source, "--out", str(tmp_path / "tiny.onnx"))
    assert ended.code == 0 and ended.out.count("the lint says so") == 1


def test_export_in_half_precision_is_for_tensorrt(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    words = ["export", *bench.source, "--format", "tensorrt", "--precision", "fp16"]
    ended = invoke(*words, "--out", str(tmp_path / "half.onnx"))
    assert ended.code == 0, ended.err
    assert str(tmp_path / "half.onnx") in ended.out and "tensorrt fp16" in ended.out
    ended = invoke("export", *bench.source, "--format", "tflite", "--precision", "fp16")
    assert (ended.code, ended.error) == (2, "no-half")
    ended = invoke("export", *bench.source, "--precision", "int8")
    assert (ended.code, ended.error) == (2, "unknown-precision") and "edgecnn quantize" in ended.err


def test_quantize_makes_what_optimize_makes(finished: Run, bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "tiny.int8.onnx"
    words = ["quantize", *bench.source, "--data", str(bench.data), "--out", str(path)]
    ended = invoke(*words, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["fusion"]["floating"] == 0 and ended.json["images"] == "evaluation"
    assert path.read_bytes() == (finished.out / "artifacts" / "model.int8.onnx").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--observer", "maxmin"], "bad-option", "--observer maxmin"),
        (["--io", "int4"], "bad-option", "--io int4"),
        (["--format", "trt"], "unknown-format", "tensorrt"),
        (["--percentile", "20"], "usage", "--percentile"),
        (["--weight-bits", "6"], "usage", "--weight-bits"),
        (["--keep-float", "faetures.0"], "unknown-layer", "'features.0'"),
        (["--keep-float", "("], "bad-option", "--keep-float ("),
        (["--io", "int8"], "option-without-effect", "leave out --io, or choose --format tflite"),
        (["--format", "tensorrt", "--weight-bits", "7"], "option-without-effect", "or choose --format onnx"),
        (["--format", "tflite", "--weight-bits", "7"], "option-without-effect", "or choose --format onnx"),
    ],
)
def test_options_of_quantize(bench: Workbench, invoke: Invoke, words: list[str], code: str, says: str) -> None:
    ended = invoke("quantize", *bench.source, "--data", str(bench.data), *words)
    assert (ended.code, ended.error) == (2, code)
    assert says in ended.err


def test_quantize_takes_the_options_of_a_recipe(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    words = ["quantize", *bench.source, "--data", str(bench.data), "--out", str(tmp_path / "tiny.onnx")]
    ended = invoke(*words, "--weight-bits", "7", "--keep-float", "fc", "--keep-float", r"features\.[03]", "--json")
    assert ended.code == 0, ended.err
    assert {layer["name"] for layer in ended.json["fusion"]["float_layers"]} == {"features.0", "features.3", "fc"}
    assert "no-vnni" not in ended.err


def test_the_help_of_quantize_says_what_a_recipe_takes_unless_told(invoke: Invoke) -> None:
    import typer

    from edgecnn.cli.main import app

    command = typer.main.get_command(app).commands["quantize"]
    said = {param.name: param.help for param in command.params}
    for name, field in Quantize.model_fields.items():
        assert said[name].endswith(f"Default: {field.default or 'none'}."), name


def test_a_step_does_not_write_over_a_folder(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    ended = invoke("quantize", *bench.source, "--data", str(bench.data), "--out", str(tmp_path))
    assert (ended.code, ended.error) == (5, "cannot-write")
    assert "export" not in ended.err.split("error[")[0], "it should be said before any work"
    assert list(tmp_path.iterdir()) == []


def test_inspect_takes_what_optimize_made(finished: Run, invoke: Invoke) -> None:
    ended = invoke("inspect", str(finished.out / "artifacts" / "model.int8.onnx"), "--json")
    assert ended.code == 0 and ended.json


@pytest.mark.slow
def test_demo(edgecnn: Callable[..., Ended], tmp_path: Path) -> None:
    words = ["demo", "--out", str(tmp_path / "demo"), "--profile", "smoke", "--json"]
    ended = edgecnn(*words)
    report = json.loads(ended.out)
    assert ended.code == report["exit_code"], ended.err
    assert report["outcome"] in ("PASS", "INCONCLUSIVE")
    baseline, int8 = report["rows"][:2]
    assert baseline["accuracy"]["top1"] > 0.95 and int8["accuracy"]["agreement"] > 0.97
    assert (tmp_path / "demo" / "run-host" / "bundle" / "infer.py").is_file()
