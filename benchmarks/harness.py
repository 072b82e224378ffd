"""What the probe adds to a latency: its whole loop around a backend that does nothing."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import records

from edgecnn.core.artifact import Artifact
from edgecnn.measure.effort import profile_named
from edgecnn.measure.latency import Candidate, measure

SHAPES = {"32x32": (1, 3, 32, 32), "224x224": (1, 3, 224, 224), "512x512": (1, 3, 512, 512)}
LIMIT_US = 5.0


def main() -> None:
    """The null backend answers zeros, so a sample is a call, a dictionary look-up and a small allocation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", choices=("smoke", "quick", "standard"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        file = Path(folder) / "nothing.onnx"
        file.write_bytes(b"nothing")
        artifact = Artifact(file, "onnx", "fp32", (), (), "")
        candidates = [
            Candidate(name, artifact, "null", 1, {"shape": shape, "classes": 1000}) for name, shape in SHAPES.items()
        ]
        taken = measure(candidates, profile=profile_named(options.profile), seed=0, listener=records.listener)
    found = {latency.name: latency.summary() for latency in taken}
    records.table(
        "the harness alone, microseconds per run",
        ("input", "median", "p90", "processes", "samples"),
        [(t.name, f"{t.median_ns / 1e3:.2f}", f"{t.p90_ns / 1e3:.2f}", len(t.processes), t.samples) for t in taken],
    )
    worst_us = max(latency.median_ns for latency in taken) / 1e3
    goals = [records.Goal("overhead per run", f"under {LIMIT_US:g} us", f"{worst_us:.2f} us", worst_us < LIMIT_US)]
    records.print_goals(goals)
    records.save("harness", found, settings={"profile": options.profile}, goals=goals)


if __name__ == "__main__":
    records.leave(main)
