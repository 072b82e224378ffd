"""Graph surgery: the same function, written so that integer runtimes can fuse it."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript.optimizer import optimize
from onnxscript.rewriter import rewrite

SCOPES = "pkg.torch.onnx.name_scopes"


def operate(model: ir.Model) -> ir.Model:
    """Fold constants, batch norm and padding into convolutions, means over space into GlobalAveragePool; name the nodes
    after their torch modules."""
    model = rewrite(model)
    optimize(model)
    means_to_pooling(model)
    name_after_modules(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)
    passes.ClearMetadataAndDocStringPass()(model)
    return model


def means_to_pooling(model: ir.Model) -> int:
    """Rewrite ReduceMean over both spatial axes of an NCHW tensor; returns how many.

    `AdaptiveAvgPool2d(1)` is exported as ReduceMean, for which ONNX Runtime has no integer kernel.
    """
    graph = model.graph
    changed = 0
    for node in list(graph):
        if node.op_type != "ReduceMean" or not _over_space(node):
            continue
        source, old = node.inputs[0], node.outputs[0]
        pool = ir.node("GlobalAveragePool", [source], name=node.name)
        pool.metadata_props.update(node.metadata_props)
        made = [pool]
        keep = node.attributes.get("keepdims")
        if keep is not None and keep.as_int() == 0:
            made.append(ir.node("Flatten", [pool.outputs[0]], {"axis": 1}, name=f"{node.name}_flatten"))
            pool.outputs[0].name = f"{old.name}_pooled"
            pool.outputs[0].type = old.type
        new = made[-1].outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        ir.convenience.replace_nodes_and_values(graph, node, [node], made, [old], [new])
        changed += 1
    return changed


def _over_space(node: ir.Node) -> bool:
    source = node.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        return False
    axes = None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        constant = ir.convenience.get_const_tensor(node.inputs[1])
        axes = None if constant is None else constant.numpy().tolist()
    elif "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    return axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]


def name_after_modules(model: ir.Model) -> None:
    """Name nodes as their torch module (`layer1.0.conv1`), made unique; values keep their names."""
    paths = [_module_of_weight(node) or _module_of_scope(node) or node.name or node.op_type for node in model.graph]
    taken, seen = set(paths), set[str]()
    for node, path in zip(model.graph, paths, strict=True):
        name, count = path, 0
        while name in (seen if count == 0 else taken):
            count += 1
            name = f"{path}.{node.op_type.lower()}{count}"
        node.name = name
        taken.add(name)
        seen.add(name)


def _module_of_weight(node: ir.Node) -> str:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.name is None or not weight.is_initializer() or "." not in weight.name:
        return ""
    return weight.name.rpartition(".")[0] if ".weight" in weight.name else ""


def _module_of_scope(node: ir.Node) -> str:
    """The module path in a scope list such as `['', 'layer1', 'layer1.0.relu', 'relu_3']`, whose last entry is the
    op."""
    scopes = [part.strip().strip("'") for part in node.metadata_props.get(SCOPES, "").strip("[]").split(",")]
    return scopes[-2] if len(scopes) >= 2 else ""
