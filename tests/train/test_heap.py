"""What a step frees stays mapped for the next one, and goes back to the system in the end: counted in page faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from edgecnn.train import heap

pytestmark = pytest.mark.skipif(heap._glibc() is None, reason="only glibc's malloc is spoken to")

STEPS, BLOCKS, BLOCK_BYTES = 4, 6, 8 << 20
PROGRAM = f"""
import json, resource
from contextlib import nullcontext
from pathlib import Path
import torch
from edgecnn.train import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def step():
    kept = [torch.ones({BLOCK_BYTES} // 4) for _ in range({BLOCKS})]
    return len(kept)

def steps():
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({STEPS}):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = {{"without": steps(), "before": resident()}}
with heap.kept():
    found["with"] = steps()
    found["held"] = resident()
found["after"] = resident()
print(json.dumps(found))
"""


def found(**environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_steps_fault_nothing_in_and_the_end_gives_back() -> None:
    figures = found()
    assert figures["with"] * 20 < figures["without"]
    assert figures["held"] - figures["after"] > BLOCKS * BLOCK_BYTES // 2
    assert figures["after"] - figures["before"] < BLOCK_BYTES


def test_what_the_user_has_chosen_is_left() -> None:
    figures = found(MALLOC_TRIM_THRESHOLD_="131072")
    assert figures["with"] > figures["without"] / 2 > 0
