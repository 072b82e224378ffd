"""Cost of the operators of a TFLite file, and the order in which LiteRT runs them with a delegate."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgecnn.formats.cost import PRECISIONS, Cost, Operator, Tensor, kind_of, times, total
from edgecnn.formats.tflite.flatbuffer import Graph as File
from edgecnn.formats.tflite.flatbuffer import require

CASTS = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
MOVES = CASTS | {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"}
POOLS = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"})
REDUCTIONS = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"})


class TFLiteGraph:
    """The operators of a TFLite file in its order, each with what it costs for one image."""

    def __init__(self, file: File) -> None:
        self._file = file
        schema = require("ai_edge_litert.schema_py_generated")
        self._types = {
            number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)
        }
        self.operators = file.operators
        self.nodes = [self._described(operator) for operator in self.operators]

    @classmethod
    def read(cls, path: Path) -> TFLiteGraph:
        """Raises InputError when the file is not TFLite, MissingError without the extra `tflite`."""
        return cls(File.read(path))

    def order(self, outside: Collection[int]) -> list[int]:
        """Indices of the operators as they run when a delegate takes all but those `outside`.

        LiteRT collects what can run without waiting for the other side, in the file's order, and then changes sides.
        """
        ready = {int(index) for index in self._file.subgraph.inputs}
        waiting, order, side = list(range(len(self.operators))), [], False
        idle = 0
        while waiting and idle < 2:
            left = []
            for index in waiting:
                mine = (index in outside) == side
                if mine and all(self._is_ready(tensor, ready) for tensor in self.operators[index].inputs):
                    ready.update(int(tensor) for tensor in self.operators[index].outputs)
                    order.append(index)
                else:
                    left.append(index)
            idle = idle + 1 if len(left) == len(waiting) else 0
            waiting, side = left, not side
        return order + waiting

    def _is_ready(self, index: int, ready: set[int]) -> bool:
        return index < 0 or index in ready or self._file.is_constant(index)

    def _tensor(self, index: int) -> Tensor:
        tensor = self._file.subgraph.tensors[index]
        shape = () if tensor.shape is None else tuple(max(1, int(side)) for side in tensor.shape)
        return Tensor(self._types.get(tensor.type, "?"), shape)

    def _described(self, operator: Any) -> Operator:
        op = self._file.op(operator)
        used = [int(index) for index in operator.inputs if index >= 0]
        inputs, output = [self._tensor(index) for index in used], self._tensor(int(operator.outputs[0]))
        precision = PRECISIONS.get(inputs[0].dtype, "other") if inputs else "other"
        counted = _macs(op, inputs, output)
        constant = [index for index in used if self._file.is_constant(index)]
        moved = [index for index in {*used, *map(int, operator.outputs)} if index not in constant]
        cost = Cost(
            macs=counted,
            operations=2 * counted if counted else counted if counted is None else self._small(op, operator, inputs),
            weight_bytes=total([self._tensor(index).nbytes for index in constant]),
            activation_bytes=total([self._tensor(index).nbytes for index in moved]),
        )
        return Operator(
            self._file.layer(operator), op, kind_of(precision, moves=op in MOVES), precision, output.shape, cost
        )

    def _small(self, op: str, operator: Any, inputs: list[Tensor]) -> int | None:
        """Operations of what is neither convolution nor product: one for each element computed or compared."""
        output = self._tensor(int(operator.outputs[0]))
        if op in MOVES:
            return output.elements if op in CASTS else 0
        if op in POOLS:
            options = operator.builtinOptions
            return times(output.elements, int(options.filterHeight), int(options.filterWidth))
        return inputs[0].elements if op in REDUCTIONS else output.elements


def _macs(op: str, inputs: list[Tensor], output: Tensor) -> int | None:
    """Weights are (O, H, W, I), of a depthwise convolution (1, H, W, C), of a product (O, I)."""
    weight = inputs[1].shape if len(inputs) > 1 else None
    if op in ("CONV_2D", "CONV_3D", "FULLY_CONNECTED"):
        return times(output.elements, math.prod(weight[1:]) if weight else None)
    if op == "DEPTHWISE_CONV_2D":
        return times(output.elements, math.prod(weight[1:3]) if weight else None)
    if op == "TRANSPOSE_CONV":
        return times(inputs[2].elements if len(inputs) > 2 else None, math.prod(weight[:3]) if weight else None)
    if op == "BATCH_MATMUL":
        return times(output.elements, inputs[0].shape[-1] if inputs[0].shape else None)
    return 0
