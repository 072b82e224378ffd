"""A toy repository's CI: its check fails on a planted regression and passes after the mend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from colour_models import write_colours, write_model

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--resize none --crop 8 --mean 0,0,0 --std 1,1,1"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_colours(tmp_path / "photos", 40)
    write_model(tmp_path / "baseline.onnx")
    write_model(tmp_path / "candidate.onnx", favour_green=12.5)
    return tmp_path


def step(repository: Path, baseline: str = "baseline.onnx", **environment: str) -> tuple[int, str, str]:
    """What the action's step does: exit code, summary, outputs."""
    summary, output = repository / "summary.md", repository / "output.txt"
    summary.write_text(""), output.write_text("")
    inputs = {"BASELINE": baseline, "CANDIDATE": "candidate.onnx", "DATA": "photos", "MAX_DROP": "5%", "OPTIONS": FLAGS}
    files = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output)}
    ended = subprocess.run(
        [sys.executable, "-m", "edgecnn.cli.github"],
        cwd=repository,
        env={**os.environ, **inputs, **files, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return ended.returncode, summary.read_text(), output.read_text()


def test_it_fails_on_a_planted_regression_and_passes_after_the_mend(repository: Path) -> None:
    code, summary, output = step(repository)
    assert code == 1 and "**FAIL**" in summary and "green" in summary
    assert output.startswith("outcome=FAIL\ncomment<<end-")
    assert (repository / "edgecnn-check" / "junit.xml").is_file()
    write_model(repository / "candidate.onnx", scale=50.0)
    code, summary, output = step(repository)
    assert code == 0 and "**PASS**" in summary and output.startswith("outcome=PASS\n")


def test_an_error_publishes_no_earlier_report(repository: Path) -> None:
    assert step(repository)[0] == 1
    code, summary, output = step(repository, CANDIDATE="missing.onnx")
    assert (code, summary, output) == (2, "", "outcome=ERROR\n")
    assert not list((repository / "edgecnn-check").iterdir())


def test_options_are_never_run_by_a_shell(repository: Path) -> None:
    step(repository, OPTIONS=f"{FLAGS} --class-map $(touch${{IFS}}owned) ; touch owned")
    assert not (repository / "owned").exists()


def test_the_action_runs_that_step_and_names_its_inputs() -> None:
    yaml = pytest.importorskip("yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    (check,) = [step for step in action["runs"]["steps"] if step.get("id") == "check"]
    assert check["run"] == "python -m edgecnn.cli.github"
    asked = {value.removeprefix("${{ inputs.").removesuffix(" }}") for value in check["env"].values()}
    assert asked == set(action["inputs"]) - {"requirement"}
    # An input reaches a shell as a variable only, never as text of the script.
    assert not any("${{" in step.get("run", "") for step in action["runs"]["steps"])
