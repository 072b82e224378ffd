"""From raw images to a pruned, verified INT8 file: the two commands of the README, on the handwritten digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgecnn.config import user_files
from edgecnn.data.demo import write_digits
from edgecnn.formats.onnx.quantize import saturates_here
from edgecnn.models import open_model

if TYPE_CHECKING:
    from workbench import Ended


def prune50_int8(folder: Path) -> str:
    """The recipe, with 7-bit weights where this CPU's sums of 8-bit products overflow: 596 images prove no drop of that
    size to be within the budget."""
    if not saturates_here():
        return "prune50-int8"
    bundled = user_files.find("recipes", "prune50-int8")
    path = folder / "prune50-int7.yaml"
    path.write_text(bundled.read_text().replace("observer: minmax", "observer: minmax, weight_bits: 7"))
    return str(path)


@pytest.mark.slow
def test_train_then_prune50_int8(tmp_path: Path, edgecnn: Callable[..., Ended]) -> None:
    digits, trained, out = tmp_path / "digits", tmp_path / "trained", tmp_path / "out"
    write_digits(digits)
    network = ["--arch", "edgecnn.train.resnet_small:resnet_small", "--epochs", "8", "--batch", "32"]
    settings = ["--lr", "3e-3", "--set", "weight_decay=0.02", "--set", "label_smoothing=0.1", "--crop-padding", "4"]
    ended = edgecnn("train", str(digits), *network, *settings, "--out", str(trained), "--json")
    assert ended.code == 0, ended.err
    best = trained / "best.safetensors"
    words = [str(best), "--data", str(digits), "--recipe", prune50_int8(tmp_path), "--max-drop", "3%"]
    ended = edgecnn("optimize", *words, "--format", "onnx", "--profile", "smoke", "--out", str(out), "--json")
    assert ended.code == 0, ended.err
    report = ended.json
    rows = {row["variant"] + row["precision"]: row for row in report["rows"]}
    assert list(rows) == ["fp32", "prunedfp32", "prunedint8"]
    assert (report["outcome"], rows["prunedint8"]["outcome"]) == ("PASS", "PASS")
    assert rows["fp32"]["accuracy"]["top1"] > 0.97
    assert rows["prunedint8"]["fusion"]["floating"] == 0
    assert rows["prunedfp32"]["size_bytes"] < 0.6 * rows["fp32"]["size_bytes"]
    assert any("of the multiply-adds and" in line for line in report["conclusions"]), report["conclusions"]
    assert {"training", "calibration", "evaluation"} == set(report["data"]["digests"])
    pruned = open_model(out / "artifacts" / "model.pruned.safetensors")
    whole = open_model(best)
    assert pruned.parameters < 0.6 * whole.parameters
    assert (pruned.num_classes, pruned.class_names) == (10, whole.class_names)
    assert all(np.isfinite(value).all() for value in (row["parity"]["cosine"] for row in rows.values()))
    assert json.loads((out / "run.json").read_text())["outcome"] == "PASS"
