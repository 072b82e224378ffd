"""What a stage's result is found again by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgecnn.compress.prune.stage import Prune
from edgecnn.config.devices import load_device
from edgecnn.config.recipe import Recipe
from edgecnn.core.artifact import FormatName
from edgecnn.core.events import ignore
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import Store
from edgecnn.formats.export_stage import Export
from edgecnn.measure.connection import this_host
from edgecnn.measure.layer_times import layer_times_on
from edgecnn.workflows.optimize.planning import RunContext, plan_stages


@dataclass(frozen=True)
class Timed:
    """Layer times of a machine that is called something."""

    machine: str

    def __call__(self, file: Path, format: FormatName) -> Mapping[str, float]:
        raise AssertionError("a plan measures nothing")

    def identity(self, format: FormatName) -> Any:
        return self.machine


def keys(folder: Path, times: Timed | None, **prune: Any) -> list[str]:
    images = SimpleNamespace(digest="images")
    data = SimpleNamespace(calibration=images, training=images, preprocessing=Preprocessing(crop=(32, 32)))
    context = RunContext(
        cast("Any", SimpleNamespace(sha256="network")),
        cast("Any", data),
        load_device("host"),
        Store(folder),
        ignore,
        seed=0,
        layer_times=times,
    )
    recipe = Recipe(name="timed", description="", stages=(Prune(**prune), Export()))
    return [step.key for step in plan_stages(recipe, "onnx", context)]


def test_widths_chosen_by_layer_times_are_those_of_one_machine(tmp_path: Path) -> None:
    here, there = (keys(tmp_path, Timed(name), latency="60%") for name in ("here", "there"))
    prune, baseline, pruned = zip(here, there, strict=True)
    assert prune[0] != prune[1] and pruned[0] != pruned[1] and baseline[0] == baseline[1]
    assert here == keys(tmp_path, Timed("here"), latency="60%")


def test_what_measures_nothing_is_found_again_anywhere(tmp_path: Path) -> None:
    assert keys(tmp_path, Timed("here"), macs="50%") == keys(tmp_path, Timed("there"), macs="50%")


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_times_are_told_apart_by_machine_runtime_and_threads(format: FormatName) -> None:
    host = load_device("host")
    one, two = (layer_times_on(this_host(), host, threads=threads) for threads in (1, 2))
    assert one is not None and two is not None
    assert one.identity(format) != two.identity(format)
    again = layer_times_on(this_host(), host, threads=1)
    assert again is not None and again.identity(format) == one.identity(format)
