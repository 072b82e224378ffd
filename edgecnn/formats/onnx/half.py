"""FP32 ONNX → FP16 ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgecnn.core.artifact import Artifact
from edgecnn.core.errors import StepError
from edgecnn.formats.onnx.export import describe

LARGEST = float(np.finfo(np.float16).max)


def to_half(source: Artifact, out: Path) -> Artifact:
    """Cast every weight and activation to FP16; inputs and outputs stay FP32.

    Raises StepError when a weight does not fit into half precision: clipping it would change the network silently.
    """
    model = onnx.load(source.path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(tensor)).max(initial=0.0))
            if largest > LARGEST:
                raise StepError(
                    "does-not-fit-half",
                    f"the weight '{tensor.name}' does not fit into FP16",
                    why=f"its largest magnitude is {largest:.3g}, FP16 ends at {LARGEST:.0f}",
                    hint="take the `cast` stage out of the recipe, or rescale the layer",
                )
    halved = convert_float_to_float16(model, keep_io_types=True, min_positive_val=1e-7, max_finite_val=LARGEST)
    graph = ir.from_proto(halved)
    graph.graph.sort()  # the converter appends the casts of the inputs at the end
    ir.save(graph, out)
    return describe(out, format=source.format, precision="fp16", history=(*source.history, "cast"))
