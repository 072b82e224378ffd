"""An answer of a device is believed when it has passed; a hostile one ends as an error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import StepError
from edgecnn.measure.wire.answers import MOST_LAYERS, LayerAnswer
from edgecnn.measure.wire.arrays import read_bytes
from edgecnn.measure.wire.fields import LONGEST_NAME

ROW = {
    "name": "stem",
    "op": "Conv",
    "inputs": [["float", [1, 3, 8, 8]]],
    "outputs": [["float", [1, 8, 8, 8]]],
    "median_ns": 1000.0,
    "q1_ns": 900.0,
    "q3_ns": 1100.0,
}
ANSWER: dict[str, Any] = {
    "method": "onnxruntime-profiler",
    "resolution_ns": 1000,
    "layers": [ROW],
    "whole_ns": [1500, 1600],
    "profiled_ns": [1700],
    "sums_ns": [1000],
    "facts": {"cpu": "a CPU"},
}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.npy"
    np.save(path, np.frombuffer(b"a graph", np.uint8))
    return path


def test_a_good_answer(graph: Path) -> None:
    times = LayerAnswer.read(ANSWER, device="pi")
    assert times.whole_ns == (1500.0, 1600.0) and read_bytes(graph, "pi") == b"a graph"
    assert times.layers[0].inputs == [("float", (1, 3, 8, 8))]
    assert times.layers[0].node == -1 and times.layers[0].delegated is False


def test_no_graph_is_no_error(tmp_path: Path) -> None:
    assert read_bytes(tmp_path / "absent.npy", "pi") == b""


def test_names_are_one_printable_line() -> None:
    answer = copy.deepcopy(ANSWER)
    answer["layers"][0]["name"] = "\x1b[31mred\x1b[0m\n| <b> \u202e" + "x" * 5000
    name = LayerAnswer.read(answer, device="pi").layers[0].name
    assert name.startswith("red | <b> x") and len(name) <= LONGEST_NAME
    assert name.isprintable()


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ANSWER), **fields}


def of_row(**fields: Any) -> dict[str, Any]:
    return changed(layers=[{**ROW, **fields}])


@pytest.mark.parametrize(
    "answer",
    [
        {},
        changed(method="magic"),
        changed(method=None),
        changed(layers=[]),
        changed(layers=[5]),
        changed(layers={"a": 1}),
        changed(layers=[ROW] * (MOST_LAYERS + 1)),
        changed(whole_ns=[]),
        changed(whole_ns=[-1]),
        changed(whole_ns=["1"]),
        changed(whole_ns=[float("nan")]),
        changed(whole_ns=[float("inf")]),
        changed(whole_ns=[True]),
        changed(sums_ns=[1] * 100_001),
        changed(facts=[]),
        changed(resolution_ns="fine"),
        of_row(name=7),
        of_row(name=None),
        of_row(op=["Conv"]),
        of_row(median_ns=None),
        of_row(median_ns=1e300),
        of_row(q1_ns="x"),
        of_row(inputs="none"),
        of_row(inputs=[["float", [-1]]]),
        of_row(inputs=[["float", [1] * 99]]),
        of_row(inputs=[["float", [1 << 70]]]),
        of_row(inputs=[["float"]]),
        of_row(inputs=[["float", [1]]] * 65),
        of_row(outputs=[[3, [1]]]),
        of_row(weights=-5),
        of_row(node="five"),
        of_row(details=[1]),
        of_row(details={"a": 5}),
    ],
)
def test_a_hostile_answer_ends_as_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(StepError) as error:
        LayerAnswer.read(answer, device="pi")
    assert error.value.code == "bad-answer"
    assert "pi" in error.value.message


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no array"),
        lambda path: np.save(path, np.zeros(4, np.float64)),
        lambda path: np.save(path, np.zeros((2, 2), np.uint8)),
        lambda path: np.save(path, np.array([{"a": 1}], object), allow_pickle=True),
    ],
)
def test_a_hostile_graph_is_not_read(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "graph.npy"
    write(path)
    with pytest.raises(StepError) as error:
        read_bytes(path, "pi")
    assert error.value.code == "bad-answer"


def test_a_huge_graph_is_not_even_opened(tmp_path: Path) -> None:
    path = tmp_path / "graph.npy"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(StepError, match="too big"):
        read_bytes(path, "pi")
