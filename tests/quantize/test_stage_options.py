"""One recipe serves several formats: an option that is for another family is said to do nothing, never dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.device import DeviceProfile
from edgecnn.core.events import Event, Warned
from edgecnn.core.stage import Context
from edgecnn.formats.onnx import quantize as quantize_onnx
from edgecnn.formats.quantize_stage import Quantize

Make = Callable[[str], Context]


@pytest.fixture
def source(net: Any, tmp_path: Path) -> Artifact:
    path = tmp_path / "source.onnx"
    onnx.save(net.model(net.op("Relu", [net.conv("input", "stem")], "act")), path)
    return Artifact(path, "onnx", "fp32", (), (), sha256_of(path), ("export",))


def run(options: Quantize, source: Artifact, context: Context) -> tuple[Artifact, list[Warned]]:
    told: list[Event] = []
    made = options.run(source, replace(context, listener=told.append))
    return made, [event for event in told if isinstance(event, Warned)]


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give this host a CPU with these flags."""

    def make(flags: str) -> None:
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(quantize_onnx, "CPUINFO", tmp_path / "cpuinfo")

    return make


@pytest.mark.parametrize(
    ("family", "idle"),
    [("onnxruntime", {"io"}), ("tensorrt", {"io", "weight_bits"}), ("litert", {"weight_bits"})],
)
def test_what_does_nothing_in_a_family(family: Any, idle: set[str]) -> None:
    asked = Quantize(io="int8", weight_bits=7, observer="mse")
    assert set(asked.without_effect(family)) == idle
    narrowed = asked.within(family)
    assert narrowed.without_effect(family) == {}
    assert narrowed.observer == "mse"
    assert Quantize().without_effect(family) == {}


def test_a_stage_says_what_does_not_apply_and_goes_on(source: Artifact, context: Make) -> None:
    made, warned = run(Quantize(io="int8", weight_bits=7), source, context("tensorrt"))
    (io, bits) = warned
    assert {io.code, bits.code} == {"option-without-effect"}
    assert io.message.startswith("tensorrt: `io: int8` does nothing") and "`weight_bits: 7`" in bits.message
    constants = {item.name: numpy_helper.to_array(item) for item in onnx.load(made.path).graph.initializer}
    assert np.abs(constants["stem.weight/codes"]).max() == 127


def test_tflite_takes_a_recipe_written_for_onnx_runtime(
    source: Artifact, context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Quantize] = []

    def write(source: Artifact, out: Path, *, options: Quantize, context: Context) -> Artifact:
        given.append(options)
        return source

    monkeypatch.setattr(plugins, "resolve", lambda reference: write)
    target = DeviceProfile.model_validate(
        {"name": "b", "title": "B", "deployments": [{"format": "tflite", "backend": "tflite", "family": "litert"}]}
    )
    around = replace(context("onnxruntime"), target=target, format="tflite")
    _, warned = run(Quantize(weight_bits=7, io="int8"), source, around)
    assert [event.message.split(" does")[0] for event in warned] == ["tflite: `weight_bits: 7`"]
    assert (given[0].weight_bits, given[0].io) == (8, "int8")


@pytest.mark.parametrize("local", [True, False])
def test_saturation_on_this_host_is_told_for_every_target(
    source: Artifact, context: Make, cpu: Callable[[str], None], local: bool
) -> None:
    cpu("sse4_2 avx2")
    around = context("onnxruntime")
    around = replace(around, target=around.target.model_copy(update={"local": local}))
    _, (warned,) = run(Quantize(), source, around)
    assert warned.code == "no-vnni"
    assert ("Board" in warned.message and "judged here" in warned.message) is not local
    stages = yaml.safe_load(warned.hint.split("`")[1])
    assert Quantize(**stages[0]["quantize"]) == Quantize(weight_bits=7)
    assert "--weight-bits 7" in warned.hint


@pytest.mark.parametrize(
    ("flags", "options", "family"),
    [
        ("avx2 avx512_vnni", {}, "onnxruntime"),
        ("asimd", {}, "onnxruntime"),
        ("avx2", {"weight_bits": 7}, "onnxruntime"),
        ("avx2", {}, "tensorrt"),
    ],
)
def test_no_saturation_no_warning(
    source: Artifact, context: Make, cpu: Callable[[str], None], flags: str, options: Any, family: str
) -> None:
    cpu(flags)
    assert run(Quantize(**options), source, context(family))[1] == []
