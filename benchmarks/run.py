"""`make bench`: every part in order, each in a process of its own. Figures go to benchmarks/results/."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import records
from inputs import arguments, real_data

HERE = Path(__file__).parent
ALONE = ("command_line", "harness", "fusion", "fleet", "measurement", "training")
REAL = ("calibration", "efficientnet_lite0")
"""Parts that need the real weights and images."""


def main() -> None:
    """What can be measured is measured; then what is missing, if anything, decides the exit code."""
    parser = arguments(__doc__ or "")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join((*ALONE, *REAL))}; all by default")
    options = parser.parse_args()
    parts = options.parts or [*ALONE, *REAL]
    unknown = [part for part in parts if part not in (*ALONE, *REAL)]
    if unknown:
        parser.error(f"no part is called {unknown[0]}: there are {', '.join((*ALONE, *REAL))}")
    failed = [part for part in parts if part in ALONE and _run(part, _profile(part, options))]
    wanted = [part for part in parts if part in REAL]
    if wanted:
        data = real_data(options)
        given = ["--images", str(data.images), "--weights", str(data.weights)]
        for part in wanted:
            if _run(part, [*given, *_profile(part, options)]):
                failed.append(part)
    if failed:
        records.say(f"failed: {', '.join(failed)}")
        sys.exit(5)


def _profile(part: str, options: argparse.Namespace) -> list[str]:
    return ["--profile", options.profile] if part in ("harness", "efficientnet_lite0") else []


def _run(part: str, arguments: list[str]) -> int:
    records.say(f"== {part}")
    return subprocess.run([sys.executable, str(HERE / f"{part}.py"), *arguments], check=False).returncode


if __name__ == "__main__":
    records.leave(main)
