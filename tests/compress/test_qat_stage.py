"""The stage `qat`: what it accepts, what it needs, and that `quantize` keeps the ranges it trained for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from pydantic import ValidationError

from edgecnn.compress.qat.kernel import part_of
from edgecnn.compress.qat.stage import Qat
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.data import ImageSet
from edgecnn.formats.quantize_stage import Quantize

Exported = Callable[[FormatName], Artifact]
BRIEF = {"training": {"learning_rate": 1e-3, "batch": 32, "device": "cpu"}}


def stage(**options: Any) -> Qat:
    return Qat.model_validate({**BRIEF, **options})


def weights(artifact: Artifact) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(artifact.path).graph.initializer}


def codes(told: list[Event]) -> list[str]:
    return [event.code for event in told if isinstance(event, Warned)]


class Extreme:
    """Calibration images that would give other ranges: what is compared on them is not calibrated on them."""

    digest, labels = "extreme", None

    def __len__(self) -> int:
        return 3

    def take(self, count: int) -> Extreme:
        return self

    def batches(self, size: int) -> Any:
        return (np.full((1, 1, 32, 32), 1e3, np.float32) for _ in range(len(self)))


@pytest.mark.parametrize(
    ("source", "wanted", "made"),
    [
        (Kind("onnx", "fp32"), "onnx", Kind("onnx", "fp32", "qat")),
        (Kind("tflite", "fp32", "pruned"), "tflite", Kind("tflite", "fp32", "pruned-qat")),
        (Kind("onnx", "fp32", "qat"), "onnx", None),
        (Kind("onnx", "int8"), "onnx", None),
        (Kind("onnx", "fp32"), "tflite", None),
        (Kind("torch", "fp32"), "torch", None),
    ],
)
def test_it_takes_a_float_file_of_the_format_once(source: Kind, wanted: FormatName, made: Kind | None) -> None:
    assert Qat().produces(source, wanted) == made


def test_quantize_keeps_the_variant() -> None:
    assert Quantize().produces(Kind("onnx", "fp32", "pruned-qat"), "onnx") == Kind("onnx", "int8", "pruned-qat")


def test_the_options_survive_being_written_and_read() -> None:
    asked = stage(epochs=0.25, keep_float=["head"])
    assert Qat.model_validate(json.loads(json.dumps(asked.options()))) == asked


@pytest.mark.parametrize(
    ("training", "why"),
    [
        ({"epochs": 3}, "write it beside `training`"),
        ({"dropout": 0.1}, "the exported graph has none"),
        ({"bn_images": 100}, "the exported graph has none"),
        ({"mixed_precision": "bf16"}, "it computes in float32"),
        ({"early_stopping": 2}, "needs images to judge epochs on"),
        ({"momentum": 2}, "less than 1"),
    ],
)
def test_settings_that_do_nothing_are_refused(training: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Qat.model_validate({"training": training})


def test_a_share_of_an_epoch_is_a_share_of_the_images(digits: tuple[ImageSet, ImageSet]) -> None:
    training, _ = digits
    images = training.take(100)
    assert [len(part_of(images, epochs, seed=0)) for epochs in (0.25, 1.0, 2.0, 2.5, 1e-9)] == [25, 100, 100, 83, 1]
    chosen = part_of(images, 0.25, seed=0)
    assert chosen.digest == part_of(images, 0.25, seed=0).digest != part_of(images, 0.25, seed=1).digest
    rounds = [part_of(images, 1 / 3, seed=0), part_of(images, 2 / 3, after=1 / 3, seed=0)]
    assert sorted(path for part in rounds for path in part.paths) == sorted(images.paths)


def test_without_images_to_train_on_it_says_what_to_give(around, exported: Exported) -> None:
    around.data = replace(around.data, training=None)
    with pytest.raises(InputError) as caught:
        stage().run(exported("onnx"), around.context("qat", "onnx"))
    assert caught.value.code == "no-training-images"


def test_images_without_labels_teach(around, exported: Exported) -> None:
    known = around.data.training
    unlabelled = ImageSet(known.paths[:64], None, preprocessing=known.preprocessing, root=known.root)
    around.data = replace(around.data, training=unlabelled)
    source = exported("onnx")
    made = stage().run(source, around.context("qat", "onnx"))
    before, after = weights(source), weights(made)
    assert before.keys() == after.keys()
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_quantize_takes_the_ranges_that_were_trained_for(around, exported: Exported) -> None:
    made = stage(epochs=0.25, observer="mse").run(exported("onnx"), around.context("qat", "onnx"))
    context = around.context("quantize", "onnx", data=replace(around.data, calibration=Extreme()))
    file = Quantize().run(made, context)
    found, trained = (json.loads((artifact.path.parent / "ranges.json").read_text()) for artifact in (file, made))
    assert found == trained
    assert set(codes(around.told)) <= {"no-vnni", "destroyed-tensor"}  # of such images INT8 leaves little


def test_ranges_of_other_names_are_calibrated_and_told(around, exported: Exported) -> None:
    made = stage(epochs=0.25).run(exported("onnx"), around.context("qat", "onnx"))
    beside = made.path.parent / "ranges.json"
    table = json.loads(beside.read_text())
    dropped = [name for name in table if name.endswith("_out") or "hardswish" in name.lower()][:2] or list(table)[:2]
    held = {f"other.{name}" if name in dropped else name: found for name, found in table.items()}
    beside.write_text(json.dumps(held))
    file = Quantize().run(made, around.context("quantize", "onnx"))
    assert "untrained-ranges" in codes(around.told)
    found = json.loads((file.path.parent / "ranges.json").read_text())
    assert found.keys() == table.keys()
    assert all(found[name] == table[name] for name in table if name not in dropped)


@pytest.mark.parametrize("damage", ["not json", "[]", '{"a": 1}', None])
def test_damaged_ranges_are_no_ranges(around, exported: Exported, damage: str | None) -> None:
    source = replace(exported("onnx"), variant="qat")
    if damage is not None:
        (source.path.parent / "ranges.json").write_text(damage)
        (source.path.parent / "trained.json").write_text('{"weight_bits": 8, "keep_float": []}')
    with pytest.raises(StepError) as caught:
        Quantize().run(source, around.context("quantize", "onnx"))
    assert caught.value.code == "no-ranges"


def test_other_options_than_those_trained_for_are_told(around, exported: Exported) -> None:
    made = stage(epochs=0.25).run(exported("onnx"), around.context("qat", "onnx"))
    Quantize(weight_bits=7, keep_float=("head",)).run(made, around.context("quantize", "onnx"))
    assert codes(around.told).count("not-as-trained") == 2


def test_what_lies_beside_a_plain_file_is_not_read(around, exported: Exported) -> None:
    source = exported("onnx")
    first = Quantize().run(source, around.context("first", "onnx"))
    (source.path.parent / "ranges.json").write_text("not json")
    second = Quantize().run(source, around.context("second", "onnx"))
    assert first.sha256 == second.sha256
    assert first.kind == ("onnx", "int8", "")


def test_tensorrt_trains_on_symmetric_grids(around, exported: Exported) -> None:
    made = stage(epochs=0.25).run(exported("tensorrt"), around.context("qat", "tensorrt"))
    file = Quantize().run(made, around.context("quantize", "tensorrt"))
    graph = ir.load(file.path).graph
    zeros = [v.const_value.numpy() for n, v in graph.initializers.items() if n.endswith("zero_point")]
    assert zeros
    assert all(not array.any() for array in zeros)


def test_a_layer_kept_in_float_is_trained_in_float(around, exported: Exported) -> None:
    from edgecnn.compress.qat.onnx import prepare

    options = stage(keep_float=["head"]).quantizing("onnxruntime")
    network = prepare(exported("onnx"), options=options, context=around.context("qat", "onnx")).network
    grids = {node.name: node.grid for node in network.nodes}
    assert grids["head"] is None
    assert grids["stem.0"] is not None
    assert "head.weight" in dict(network.named_parameters())


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(around, exported: Exported) -> None:
    source, asked = exported("onnx"), stage(epochs=2.0, label_weight=0.5)
    whole = asked.run(source, around.context("whole", "onnx"))

    class Killed(Exception):
        pass

    def die(event: Event) -> None:
        if isinstance(event, Progress) and event.unit == "epoch" and (event.done, event.total) == (1, 2):
            raise Killed

    with pytest.raises(Killed):
        asked.run(source, around.context("killed", "onnx", listener=die))
    resumed = asked.run(source, around.context("killed", "onnx"))
    assert resumed.sha256 == whole.sha256


def test_knowing_the_stage_imports_nothing_heavy() -> None:
    code = "import sys; import edgecnn.compress.qat.stage; print([m for m in ('torch', 'onnx_ir') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
