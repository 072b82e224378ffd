"""The rounding in training is the rounding of the writers, and lets gradients through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecnn.compress.qat.fake_quantize import WeightGrid, quantize_activation, quantize_bias, quantize_weight
from edgecnn.compress.qat.network import GraphNode, Network, Values
from edgecnn.compress.qat.onnx_operators import OPERATORS
from edgecnn.formats.onnx.qdq import INT32_ROOM
from edgecnn.formats.onnx.qdq import quantize_weight as written_weight
from edgecnn.quantize.ranges import Range, asymmetric, symmetric


@pytest.mark.parametrize("grid", [asymmetric(Range(-0.4, 5.6), signed=False), symmetric(Range(-3.0, 2.0))])
def test_activations_lie_on_the_grid_and_gradients_pass_within_its_ends(grid) -> None:
    x = torch.linspace(-8, 8, 401, requires_grad=True)
    found = quantize_activation(x, grid)
    codes = found.detach().double() / grid.scale + grid.zero_point
    assert torch.allclose(codes, codes.round(), atol=1e-4)
    low, high = (grid.scale * (code - grid.zero_point) for code in (grid.low_code, grid.high_code))
    assert float(found.detach().min()) == pytest.approx(low)
    assert float(found.detach().max()) == pytest.approx(high)
    found.sum().backward()
    inside = (x.detach() > low - grid.scale / 2) & (x.detach() < high + grid.scale / 2)
    assert torch.equal(x.grad, inside.float())


@pytest.mark.parametrize(("bits", "axis"), [(8, 0), (7, 0), (8, 1)])
def test_weights_get_the_codes_of_the_writer(bits: int, axis: int) -> None:
    weight = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    weight.select(axis, 2).mul_(1e-9)
    bias = torch.ones(weight.shape[axis])
    room, scale = INT32_ROOM, 0.02
    found, scales = quantize_weight(weight, bias, WeightGrid(axis, 2 ** (bits - 1) - 1, scale, room))
    floor = np.ones(weight.shape[axis]) / (scale * room)
    codes, expected = written_weight(weight.numpy(), axis=axis, bits=bits, floor=floor)
    assert np.array_equal(scales.numpy(), expected)
    shape = [-1 if index == axis else 1 for index in range(4)]
    assert np.array_equal(found.numpy(), codes * expected.reshape(shape))
    assert not found.select(axis, 2).any(), "a dead channel keeps its bias, and rounds its weights away"
    assert float(quantize_bias(bias, scales.double() * scale)[2]) == pytest.approx(1.0)


def test_gradients_reach_weight_and_bias_through_the_rounding() -> None:
    values = Values({"a.weight": torch.randn(4, 3, 1, 1), "a.bias": torch.randn(4)}, {}, {})
    node = GraphNode(
        "a", OPERATORS["Conv"], ("x", "a.weight", "a.bias"), ("y",), {}, WeightGrid(0, 127, 0.01, INT32_ROOM)
    )
    network = Network([node], values, input="x", output="y")
    images = torch.randn(2, 3, 5, 5)
    network(images).square().sum().backward()
    rounded = dict(network.named_parameters())
    plain = Network([GraphNode("a", node.operator, node.inputs, node.outputs)], values, input="x", output="y")
    plain(images).square().sum().backward()
    for name, parameter in plain.named_parameters():
        assert rounded[name].grad.abs().min() > 0
        assert torch.allclose(
            rounded[name].grad, parameter.grad, rtol=0.05, atol=0.05 * float(parameter.grad.abs().max())
        )


def test_half_precision_does_not_reach_the_grids() -> None:
    values = Values({"weight": torch.randn(4, 3, 1, 1)}, {}, {})
    network = Network([GraphNode("a", OPERATORS["Conv"], ("x", "weight"), ("y",))], values, input="x", output="y")
    images = torch.randn(2, 3, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(images), network(images.float()))
        assert network(images).dtype == torch.float32


def test_names_that_cannot_be_modules_still_hold_weights() -> None:
    names = ["conv.weight", "conv", "conv.weight.folded", "val_3", "a..b"]
    values = Values({name: torch.full((2,), float(index)) for index, name in enumerate(names)}, {}, {})
    network = Network([], values, input="x", output="x")
    assert {name: float(tensor[0]) for name, tensor in network.weights().items()} == {
        name: float(index) for index, name in enumerate(names)
    }
    assert len(list(network.parameters())) == len(names)
