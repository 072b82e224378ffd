"""Files that leave sizes free are measured at sizes that were asked for, or at usual ones that are announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgecnn.core.errors import InputError
from edgecnn.core.events import Event, Warned
from edgecnn.formats.files import open_artifact
from edgecnn.measure.shapes import chosen_shapes, shapes_of
from edgecnn.probe.errors import ProbeError
from edgecnn.probe.specs import InputSpec, batched, check_batch
from edgecnn.workflows.benchmark import benchmark
from edgecnn.workflows.profile import profile

Inputs = dict[str, Sequence[Any]]
Make = Callable[[Inputs], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A file whose every input goes through a Relu, or an Identity where it is a scalar of whole numbers."""

    def build(inputs: Inputs, about: str = "") -> Path:
        given, nodes, outputs = [], [], []
        for index, (name, shape) in enumerate(inputs.items()):
            kind = TensorProto.FLOAT if shape else TensorProto.INT64
            given.append(helper.make_tensor_value_info(name, kind, shape))
            outputs.append(helper.make_tensor_value_info(f"y{index}", kind, None))
            nodes.append(helper.make_node("Relu" if shape else "Identity", [name], [f"y{index}"]))
        graph = helper.make_graph(nodes, "g", given, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        if about:
            helper.set_model_props(model, {"edgecnn": about})
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return build


def chosen(path: Path, *asked: str, batch: int = 1) -> tuple[dict[str, list[int]], list[str]]:
    heard: list[Event] = []
    found = chosen_shapes([open_artifact(path)], shapes_of(asked), [batch], listener=heard.append)
    return found[path, batch], [event.message for event in heard if isinstance(event, Warned)]


IMAGE: Inputs = {"input": ("N", 3, "H", "W")}
RECURRENT: Inputs = {"input": ("N", 512), "state": (2, "N", 64), "rate": ()}


@pytest.mark.parametrize(
    ("inputs", "asked", "shapes"),
    [
        ({"input": ("N", 3, 32, 32)}, (), {}),
        (IMAGE, (), {"input": [1, 3, 224, 224]}),
        (IMAGE, ("input:1x3x320x256",), {"input": [1, 3, 320, 256]}),
        ({"input": (None, None, None, None)}, (), {"input": [1, 3, 224, 224]}),
        ({"input": (1, -1, -1, 3)}, (), {"input": [1, 224, 224, 3]}),
        (RECURRENT, (), {"input": [1, 512], "state": [2, 1, 64], "rate": []}),
        (RECURRENT, ("input:3x512",), {"input": [3, 512], "state": [2, 3, 64], "rate": []}),
        ({"input:0": ("N", "T", 40)}, ("input:0:1x16x40",), {"input:0": [1, 16, 40]}),
        ({"text": ("N", "T")}, (), {"text": [1, 1]}),
    ],
)
def test_sizes(make: Make, inputs: Inputs, asked: tuple[str, ...], shapes: dict[str, list[int]]) -> None:
    found, said = chosen(make(inputs), *asked)
    assert found == shapes
    assert bool(said) == bool(shapes.keys() - set(shapes_of(asked)) - {"rate"})


def test_a_single_input_needs_no_name(make: Make) -> None:
    assert chosen(make(IMAGE), "1x3x320x256") == ({"input": [1, 3, 320, 256]}, [])


def test_a_free_size_takes_the_batch(make: Make) -> None:
    assert chosen(make(RECURRENT), batch=4)[0]["state"] == [2, 4, 64]


def test_what_was_chosen_is_said_with_how_to_choose_otherwise(make: Make) -> None:
    assert chosen(make(IMAGE))[1] == ["m.onnx leaves sizes free: 'input' Nx3xHxW as 1x3x224x224"]


def test_the_size_that_the_metadata_state(make: Callable[..., Path]) -> None:
    assert chosen(make(IMAGE, '{"preprocessing": {"crop": [96, 128]}}'))[0] == {"input": [1, 3, 96, 128]}
    assert chosen(make(IMAGE, '{"preprocessing": {"crop": "large"}}'))[0] == {"input": [1, 3, 224, 224]}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("input:1x4x32x32", "wrong-shape"),
        ("input:1x3x32", "wrong-shape"),
        ("input:8x3x32x32", "wrong-shape"),
        ("inputs:1x3x32x32", "no-such-input"),
        ("input:1x3x-1x32", "bad-option"),
        ("input:1x3x0x32", "bad-option"),
        ("input", "bad-option"),
        ("input:999999x999999x3x3", "bad-option"),
    ],
)
def test_mistakes_are_named(make: Make, asked: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(make(IMAGE), asked)
    assert caught.value.code == code


def test_measured_and_profiled(make: Make) -> None:
    path = make({**IMAGE, **{"state": (2, "N", 64)}})
    found = benchmark(path, profile="smoke", threads=1, shape="input:1x3x16x24")
    assert not found.failures and found.samples("m.onnx").size
    assert profile(path, threads=1, runs=2, shape=["input:1x3x16x24"]).layers
    assert benchmark(path, profile="smoke", threads=1).exit_code == 0


def spec(name: str, *shape: int | str) -> InputSpec:
    return InputSpec(name, shape, "float32", "NCHW" if len(shape) == 4 else None)


def test_a_first_axis_is_not_always_a_batch() -> None:
    state, sound, image = spec("state", 2, 1, 64), spec("sound", "N", 512), spec("image", 1, 3, 8, 8)
    assert batched([sound, state]) == [sound]
    assert batched([state, image]) == [image]
    assert batched([spec("a", 1, 4), spec("b", 2, 4)]) == []
    check_batch([state, image, sound], 1)
    for specs in ([state, image], [spec("a", 1, 4), spec("b", 2, 4)]):
        with pytest.raises(ProbeError) as caught:
            check_batch(specs, 8)
        assert caught.value.code == "fixed-batch"
