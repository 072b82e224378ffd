"""What ONNX Runtime fuses: integer kernels against float ones in INT8 files of torchvision's networks.

Weights are random and calibration is noise: counts depend on the graph alone. Accuracy and speed are no subject here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import jobs
import records

NETWORKS = (
    *("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"),
    *("squeezenet1_0", "densenet121", "shufflenet_v2_x1_0"),
)
GOLDEN = {
    "resnet50": {"QLinearConv": 53, "QLinearAdd": 16, "QGemm": 1},
    "mobilenet_v2": {"QLinearConv": 52, "QLinearAdd": 10, "QGemm": 1},
}
SHOWN = ("QLinearConv", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearGlobalAveragePool", "QGemm")
FLOAT = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help="names in torchvision.models")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        for network in options.networks:
            out = Path(folder) / f"{network}.json"
            jobs.job("random-network", {"network": network, "out": str(out)})
            found[network] = json.loads(out.read_text())
    rows = [
        (name, *(_count(f, op) for op in SHOWN), sum(f["counts"].get(op, 0) for op in FLOAT), f["floating"])
        for name, f in found.items()
    ]
    columns = (*(op.removeprefix("QLinear").replace("Global", "G") for op in SHOWN), "float weights", "float layers")
    records.table("integer kernels in ONNX Runtime, INT8 by edgecnn", ("network", *columns), rows)
    goals = [_goal(name, found[name]["counts"]) for name in GOLDEN if name in found]
    if goals:
        records.print_goals(goals)
    records.save("fusion", found, settings={"weights": "random", "calibration": "4 images of noise"}, goals=goals)


def _count(fusion: dict[str, Any], op: str) -> str:
    return str(fusion["counts"].get(op, "")) or "-"


def _goal(name: str, counts: dict[str, int]) -> records.Goal:
    wanted = GOLDEN[name]
    met = all(counts.get(op, 0) == count for op, count in wanted.items()) and not any(counts.get(op) for op in FLOAT)
    shown = ", ".join(f"{counts.get(op, 0)} {op}" for op in wanted)
    return records.Goal(name, ", ".join(f"{count} {op}" for op, count in wanted.items()), shown, met)


if __name__ == "__main__":
    records.leave(main)
