"""Operands: an operator's inputs and attributes, read with their defaults."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgecnn.compress.qat.fake_quantize import quantize_activation
from edgecnn.compress.qat.network import Attributes, NodeInputs, OperatorFunction
from edgecnn.core.errors import StepError


def required(inputs: NodeInputs, index: int) -> Tensor:
    """An input that must be there."""
    value = inputs[index]
    assert value is not None
    return value


def optional(inputs: NodeInputs, index: int) -> Tensor | None:
    return inputs[index] if index < len(inputs) else None


def integers(value: Tensor | None) -> list[int] | None:
    return None if value is None else [int(item) for item in value.reshape(-1).tolist()]


def unsupported(what: str) -> StepError:
    return StepError(
        "unknown-operator",
        f"{what} cannot be trained here",
        hint="leave `qat` out for this network, or replace the operator",
    )


def axes_of(inputs: NodeInputs, attributes: Attributes, index: int = 1) -> list[int] | None:
    """Axes as an input (opset 13 and later) or as an attribute."""
    axes = integers(optional(inputs, index))
    return axes if axes is not None else (list(attributes["axes"]) if "axes" in attributes else None)


def unary(run: Callable[[Tensor], Tensor]) -> OperatorFunction:
    """An operator of one input."""
    return lambda inputs, _: run(required(inputs, 0))


def prelu(inputs: NodeInputs, _: Attributes) -> Tensor:
    x, slope = required(inputs, 0), required(inputs, 1)
    return torch.where(x < 0, x * slope, x)


def fake_quantize(inputs: NodeInputs, attributes: Attributes) -> Tensor:
    return quantize_activation(required(inputs, 0), attributes["grid"])
