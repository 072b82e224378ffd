"""Network of operators as a torch module: what is trained is the exported graph, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn.compress.qat.fake_quantize import WeightGrid, quantize_bias, quantize_weight

NodeInputs = Sequence[Tensor | None]
Attributes = Mapping[str, Any]
OperatorFunction = Callable[[NodeInputs, Attributes], "Tensor | Sequence[Tensor]"]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One operator: `inputs` and `outputs` are names of values, an absent input is empty. With `grid` inputs 1 and 2
    are a weight and a bias that are quantized before use."""

    name: str
    operator: OperatorFunction
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes = field(default_factory=dict)
    grid: WeightGrid | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """What a graph holds beside its operators: what is trained, other float constants, and integers, which are shapes
    and indices and stay on the CPU."""

    trained: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    integers: Mapping[str, Tensor]


class Network(nn.Module):
    """Runs `nodes` in order, on float32 (N, C, H, W), and gives the value `output`.

    Weights are parameters under their names in the file (`weight_names` leads to them), below modules called like those
    of the torch network where the file kept their paths. Always computes in float32:
    half precision has fewer steps than the grids.
    """

    def __init__(self, nodes: Sequence[GraphNode], values: Values, *, input: str, output: str) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.input, self.output = input, output
        self.weight_names = {name: _hang(self, name, tensor) for name, tensor in values.trained.items()}
        self._constants = {name: f"constant_{index}" for index, name in enumerate(values.constants)}
        for name, tensor in values.constants.items():
            self.register_buffer(self._constants[name], tensor.clone().float(), persistent=False)
        self._integers = dict(values.integers)
        self._last = {name: index for index, node in enumerate(self.nodes) for name in node.inputs}

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            computed = {self.input: x.float()}
            for index, node in enumerate(self.nodes):
                result = node.operator(self._inputs(node, computed), node.attributes)
                outputs = (result,) if isinstance(result, Tensor) else tuple(result)
                computed.update(zip(node.outputs, outputs, strict=False))
                for name in {*node.inputs} - {self.output}:
                    if self._last[name] == index:
                        computed.pop(name, None)
            return computed[self.output]

    def weights(self) -> dict[str, Tensor]:
        """The trained values by their names in the file, on the CPU."""
        return {name: self.get_parameter(key).detach().cpu().contiguous() for name, key in self.weight_names.items()}

    def _inputs(self, node: GraphNode, computed: Mapping[str, Tensor]) -> list[Tensor | None]:
        inputs = [self._value(name, computed) for name in node.inputs]
        if node.grid is not None:
            weight, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
            assert weight is not None
            inputs[1], scales = quantize_weight(weight, bias, node.grid)
            if bias is not None and node.grid.input_scale is not None:
                inputs[2] = quantize_bias(bias, scales.double() * node.grid.input_scale)
        return inputs

    def _value(self, name: str, computed: Mapping[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in computed:
            return computed[name]
        if name in self.weight_names:
            return self.get_parameter(self.weight_names[name])
        return self._integers[name] if name in self._integers else self.get_buffer(self._constants[name])


def _hang(root: nn.Module, name: str, tensor: Tensor) -> str:
    """Make `tensor` the parameter `name` of `root`, `a.b.weight` below modules `a` and `b`; returns its path."""
    *parents, last = name.split(".")
    place = root
    for parent in parents:
        if not parent or isinstance(getattr(place, parent, None), nn.Parameter):
            place, parents, last = root, [], name.replace(".", "/")
            break
        if parent not in place._modules:
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    while not last or hasattr(place, last):
        last += "_"
    place.register_parameter(last, nn.Parameter(tensor.clone().float()))
    return ".".join([*parents, last])
