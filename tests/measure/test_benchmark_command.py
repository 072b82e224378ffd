from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgecnn.cli import failures, main
from edgecnn.cli.benchmark import benchmark
from edgecnn.config.devices import load_device
from edgecnn.core.errors import EdgecnnError, InputError
from edgecnn.core.events import ignore
from edgecnn.measure import effort
from edgecnn.measure.candidates import open_models, planner
from edgecnn.measure.effort import Profile
from edgecnn.measure.fleet import measure_fleet
from edgecnn.report import text
from edgecnn.report.benchmark import lines, to_dict
from edgecnn.report.benchmark.document import document

app = typer.Typer()
app.command()(benchmark)


@pytest.fixture(autouse=True)
def short_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    brief = Profile("smoke", 2, 64, 0.05, 5.0, warmup_s=0.02)
    monkeypatch.setattr(effort, "PROFILES", {**effort.PROFILES, "smoke": brief})


def run(*arguments: str | Path) -> tuple[str, EdgecnnError | None]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, SystemExit):
        return result.stdout, None
    if result.exception is not None and not isinstance(result.exception, EdgecnnError):
        raise result.exception
    return result.stdout, result.exception


def test_two_models_make_a_table_with_the_second_against_the_first(make_onnx: Callable[..., Path]) -> None:
    one, two = make_onnx("one.onnx"), make_onnx("two.onnx", width=128)
    out, error = run(two, one, "--profile", "smoke", "--threads", "1")
    assert error is None
    assert "one.onnx" in out and "two.onnx" in out
    assert "one.onnx against two.onnx: too few processes to tell" in out
    assert "indicative only" in out


def test_json_and_the_raw_samples(make_onnx: Callable[..., Path], tmp_path: Path) -> None:
    raw = tmp_path / "deep" / "samples.json"
    out, error = run(
        make_onnx("a.onnx"),
        make_onnx("b.onnx"),
        "--profile",
        "smoke",
        "--threads",
        "1",
        "--json",
        "--save-samples",
        raw,
    )
    assert error is None
    report = json.loads(out)
    assert report["schema"] == "edgecnn.benchmark/1"
    assert [row["name"] for row in report["models"]] == ["a.onnx", "b.onnx"]
    first, second = report["models"]
    assert first["versus_first"] is None and second["versus_first"]["speedup"] > 0
    assert first["size_bytes"] > 0 and first["processes"] == 2 and first["threads"] == 1
    saved = json.loads(raw.read_text())["models"]
    assert len(saved[0]["processes"][0]["samples_ns"]) >= 64


def test_an_emulated_device_has_no_time_in_the_json(make_onnx: Callable[..., Path]) -> None:
    artifacts = open_models([make_onnx("a.onnx"), make_onnx("b.onnx", width=16)])
    plan = planner(artifacts, backend=None, threads=1, batches=(1,), end_to_end=True)
    taken = measure_fleet([load_device("host")], plan, profile=effort.PROFILES["smoke"], seed=0, listener=ignore)
    sizes = {artifact.sha256: artifact.size_bytes for artifact in artifacts}
    real = to_dict(taken, sizes)["models"]
    taken[0].facts = {**taken[0].facts, "emulated": True}
    played = to_dict(taken, sizes)["models"]
    assert times_in(real[0]) >= {"median_ns", "p90_low_ns", "load_ns", "e2e_median_ns", "throughput_per_s"}
    for row in played:
        assert times_in(row) == set()
        assert row["facts"]["import_ns"] is None and row["versus_first"] is None
        assert row["samples"] >= 64


def test_a_device_is_emulated_if_one_process_says_so(make_onnx: Callable[..., Path]) -> None:
    artifacts = open_models([make_onnx("a.onnx")])
    plan = planner(artifacts, backend=None, threads=1, batches=(1,), end_to_end=False)
    taken = measure_fleet([load_device("host")], plan, profile=effort.PROFILES["smoke"], seed=0, listener=ignore)
    (latency,) = taken[0].latencies
    processes = (*latency.processes[1:], replace(latency.processes[0], facts={"emulated": True}))
    taken[0].latencies = [replace(latency, processes=processes)]
    (line,) = lines(taken[0], {artifacts[0].sha256: 1})
    assert line.emulated


def times_in(row: dict[str, Any]) -> set[str]:
    return {key for key, value in row.items() if key.endswith(("_ns", "_per_s", "_mj")) and value is not None}


def test_a_broken_model_fails_but_the_others_are_shown(
    make_onnx: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    argv = ["benchmark", str(broken), str(make_onnx("good.onnx")), "--profile", "smoke"]
    assert failures.guard(lambda: main.run(argv), argv) == 5
    shown = capsys.readouterr()
    assert "good.onnx" in shown.out and "error[cannot-load]" in shown.err
    assert failures.guard(lambda: main.run([*argv, "--json"]), argv) == 5
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["models"]] == ["good.onnx"]
    assert report["failed"][0]["name"] == "broken.onnx"


def test_a_failure_leaves_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document names the failure: another one behind it would make both unreadable."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    argv = ["benchmark", str(broken), "--profile", "smoke", "--json"]
    assert failures.guard(lambda: main.run(argv), argv) == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failed"][0]["code"] == "cannot-load"
    assert "error[cannot-load]" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["absent.onnx"], "no-such-file", "ls"),
        (["."], "no-such-file", ""),
        (["model.pth"], "unknown-format", "edgecnn export"),
        (["model.bin"], "unknown-format", ""),
        (["empty.onnx"], "empty-file", ""),
        (["model.onnx", "--profile", "quik"], "unknown-profile", "'quick'"),
        (["model.onnx", "./model.onnx"], "duplicate-model", "once"),
        (["model.onnx", "--backend", "onnxrutime"], "unknown-backend", "'onnxruntime'"),
        (["model.onnx", "--backend", "tflite"], "backend-mismatch", "onnxruntime"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    arguments: list[str], code: str, hint: str, make_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path = make_onnx("model.onnx").parent
    (tmp_path / "model.pth").write_bytes(b"x")
    (tmp_path / "model.bin").write_bytes(b"x")
    (tmp_path / "empty.onnx").touch()
    monkeypatch.chdir(tmp_path)
    _out, error = run(*arguments)
    assert isinstance(error, InputError)
    assert error.code == code
    assert hint in error.hint


def test_files_of_one_name_are_told_apart_by_their_folders(make_onnx: Callable[..., Path], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make_onnx(f"{folder}/model.onnx")
    out, _error = run(tmp_path / "one/model.onnx", tmp_path / "two/model.onnx", "--profile", "smoke", "--json")
    assert len({row["name"] for row in json.loads(out)["models"]}) == 2


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_narrow_terminal_keeps_names_and_whole_figures(width: int, make_onnx: Callable[..., Path]) -> None:
    from rich.console import Console

    artifacts = open_models([make_onnx("one.onnx"), make_onnx("two.onnx")])
    plan = planner(artifacts, backend=None, threads=1, batches=(1,), end_to_end=True)
    taken = measure_fleet([load_device("host")], plan, profile=effort.PROFILES["smoke"], seed=0, listener=ignore)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(text.render(document(taken, {artifact.sha256: artifact.size_bytes for artifact in artifacts})))
    page = console.export_text()
    assert "one.onnx " in page and "two.onnx " in page and "median" in page and "grade" in page
    assert "…" not in page
    assert ("first" in page) == (width == 200)
