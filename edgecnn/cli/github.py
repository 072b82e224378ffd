"""Check in GitHub Actions: `action.yml` runs it; the report goes to the job's summary and the step's outputs.

Inputs are environment variables: BASELINE, CANDIDATE, DATA, MAX_DROP, OPTIONS (split as a shell would, and never run
by one), REPORT. The exit code is that of `edgecnn check`.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from pathlib import Path

from edgecnn.cli import failures, main

FILES = ("check.md", "check.html", "check.json", "broken.png", "junit.xml")


def arguments() -> list[str]:
    """The command line of `edgecnn check` that the environment asks for."""
    baseline, report = os.environ["BASELINE"], Path(os.environ.get("REPORT") or "edgecnn-check")
    models = ["--against", baseline] if baseline.endswith(".json") else [baseline]
    return [
        *("check", *models, os.environ["CANDIDATE"], "--data", os.environ["DATA"]),
        *("--max-drop", os.environ.get("MAX_DROP") or "1%"),
        *shlex.split(os.environ.get("OPTIONS", "")),
        *("--out", str(report), "--junit", str(report / "junit.xml")),
    ]


def publish(report: Path) -> None:
    """Append check.md to the job's summary; the outcome and the page to the step's outputs."""
    page = (report / "check.md").read_text(encoding="utf-8")
    outcome = json.loads((report / "check.json").read_text(encoding="utf-8"))["outcome"]
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(page)
    if output := os.environ.get("GITHUB_OUTPUT"):
        end = f"end-{secrets.token_hex(8)}"  # no class name can end the text early
        with Path(output).open("a", encoding="utf-8") as stream:
            stream.write(f"outcome={outcome}\ncomment<<{end}\n{page}\n{end}\n")


def run() -> int:
    """Check, publish, and return the exit code."""
    argv = arguments()
    report = Path(os.environ.get("REPORT") or "edgecnn-check")
    for name in FILES:
        (report / name).unlink(missing_ok=True)  # an earlier report is not this one's
    code = failures.guard(lambda: main.run(argv), argv)
    if (report / "check.json").is_file():
        publish(report)
    elif output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as stream:
            stream.write("outcome=ERROR\n")
    return code


if __name__ == "__main__":
    sys.exit(run())
