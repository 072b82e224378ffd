"""Batch norms that stand alone, written so that ONNX Runtime has an integer kernel for them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def norms_to_convs(graph: ir.Graph) -> int:
    """Rewrite batch norms of NCHW tensors that no convolution could take in (DenseNet) as depthwise 1x1 convolutions;
    returns how many.

    ONNX Runtime has no integer batch norm, and the ReLU behind one would stay in float with it. Values keep their
    names, so ranges observed on the graph as it was still hold.
    """
    changed = 0
    for node in list(graph):
        if node.op_type != "BatchNormalization" or node.attributes.get_int("training_mode", 0) == 1:
            continue
        source, old = node.inputs[0], node.outputs[0]
        held = [value for value in node.inputs[1:] if value is not None]
        constants = [ir.convenience.get_const_tensor(value) for value in held]
        if source is None or source.shape is None or len(source.shape) != 4 or None in constants:
            continue
        scale, bias, mean, variance = (item.numpy().astype(np.float64) for item in constants if item is not None)
        factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        weight = _constant(graph, f"{old.name}/kernel", factor.reshape(-1, 1, 1, 1))
        shift = _constant(graph, f"{old.name}/shift", bias - mean * factor)
        conv = ir.node("Conv", [source, weight, shift], {"group": len(factor), "kernel_shape": [1, 1]}, name=node.name)
        new = conv.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        ir.convenience.replace_nodes_and_values(graph, node, [node], [conv], [old], [new])
        for value in held:
            if not value.uses():
                graph.initializers.pop(str(value.name), None)
        changed += 1
    return changed


def _constant(graph: ir.Graph, name: str, values: np.ndarray) -> ir.Value:
    tensor = ir.tensor(values.astype(np.float32), name=name)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
