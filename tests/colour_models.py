"""Images of one colour each, and ONNX files that tell the colours apart: a planted regression is exact.

Image number i of a class has its own channel at 130 + i and the others at 128. The true network answers the brightest
channel; one that favours green by k levels takes the k - 2 palest of the others for green.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from PIL import Image

CLASSES = ("blue", "green", "red")
CHANNEL = {"red": 0, "green": 1, "blue": 2}
SIDE = 8
PREPROCESSING = {"resize": "none", "crop": SIDE, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def write_colours(folder: Path, count: int, *, classes: tuple[str, ...] = CLASSES) -> Path:
    """`count` images of each class, at most 120, in a folder per class."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            colour = [128, 128, 128]
            colour[CHANNEL[name]] = 130 + number
            Image.new("RGB", (SIDE, SIDE), tuple(colour)).save(folder / name / f"{number:03}.png")
    return folder


def write_model(
    path: Path, *, favour_green: float = 0.0, scale: float = 100.0, classes: tuple[str, ...] = CLASSES
) -> Path:
    """An ONNX file (N, 3, 8, 8) -> (N, classes), a free batch; `favour_green` in levels of 255."""
    weights = np.zeros((3, len(classes)), np.float32)
    for place, name in enumerate(classes):
        weights[CHANNEL.get(name, 0), place] = scale
    bias = np.array([favour_green / 255 * scale * (name == "green") for name in classes], np.float32)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", kind, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", kind, ["n", len(classes)])],
        [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
