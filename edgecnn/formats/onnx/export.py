"""torch → ONNX: the dynamo exporter, then graph surgery for what runtimes cannot fuse."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import torch

from edgecnn.core.artifact import Artifact, FormatName, Precision, TensorSpec, sha256_of
from edgecnn.core.errors import StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Model
from edgecnn.core.third_party import quiet
from edgecnn.formats.export_errors import explain
from edgecnn.formats.inspect import METADATA_KEY, described
from edgecnn.formats.onnx.surgery import operate
from edgecnn.models.one_image import largest_batch
from edgecnn.tasks.task import DEFAULT

OPSET = 18
LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")


def export(model: Model, out: Path, *, preprocessing: Preprocessing, task: str = DEFAULT) -> Artifact:
    """Write `model` as ONNX opset 18: input `input` (batch, C, H, W) float32, output `logits` (batch, classes),
    batch free, or 1 where the network takes one image at a time.

    Preprocessing and task travel in the file's metadata under `edgecnn`. Raises StepError when the exporter cannot
    trace it.
    """
    module = model.module()
    batch = largest_batch(module, model.input_shape, 2)
    free = None if batch == 1 else ({0: torch.export.Dim("batch")},)
    try:
        with quiet(*LOGGERS):
            program = torch.onnx.export(
                module,
                (torch.zeros(batch, *model.input_shape),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=free,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever the traced model or the compiler raised
        explained = explain(error, "ONNX", module, model.input_shape)
        raise StepError(
            "cannot-export",
            f"{model.name} cannot be exported to ONNX",
            why=explained.why,
            hint=explained.hint,
        ) from error
    assert program is not None
    graph = operate(program.model)
    graph.producer_name = "edgecnn"
    graph.metadata_props[METADATA_KEY] = json.dumps(described(model, preprocessing, task))
    ir.save(graph, out)
    return describe(out, format="onnx", precision="fp32", history=("export",))


def describe(path: Path, *, format: FormatName, precision: Precision, history: tuple[str, ...]) -> Artifact:
    """An ONNX file on disk as an Artifact. Four-dimensional tensors are NCHW."""
    graph = ir.load(path).graph
    return Artifact(
        path=path,
        format=format,
        precision=precision,
        inputs=tuple(_spec(value) for value in graph.inputs),
        outputs=tuple(_spec(value) for value in graph.outputs),
        sha256=sha256_of(path),
        history=history,
    )


def _spec(value: ir.Value) -> TensorSpec:
    shape = () if value.shape is None else tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    dtype = "" if value.dtype is None else value.dtype.numpy().name
    return TensorSpec(str(value.name), shape, dtype, "NCHW" if len(shape) == 4 else None)
