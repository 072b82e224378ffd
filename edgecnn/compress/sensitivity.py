"""Sensitivity of layers to INT8: each is quantized alone, and the answers compared with the float network's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgecnn.compress.qat.onnx import floating, quantized
from edgecnn.core.events import Progress
from edgecnn.core.stage import Context
from edgecnn.formats.onnx.export import export
from edgecnn.formats.onnx.placement import DEFAULT, FAMILIES, Places, place
from edgecnn.formats.onnx.quantize import calibrate, chosen, opened
from edgecnn.formats.quantize_stage import Quantize

BATCH = 32
STEP = "rank layers"


def rank_layers(context: Context, *, count: int) -> dict[str, float]:
    """Mean squared error of the logits by layer, largest first, when that layer alone is INT8, on the first `count`
    calibration images.

    Layers are those with weights, by their paths in the torch module. What joins branches is quantized in each case or
    in none; LiteRT's layers are ranked on ONNX Runtime's grid, which is the same. Raises StepError for a network that
    cannot be exported, or has an operator that is unknown here.
    """
    artifact = export(context.model, context.workdir / "ranked.onnx", preprocessing=context.data.preprocessing)
    deployment = context.target.deployment(context.format)
    placement = FAMILIES.get(deployment.family if deployment else "", DEFAULT)
    options = Quantize()
    model = opened(artifact.path, placement)
    names = frozenset(str(node.name) for node in model.graph)
    places = chosen(model, placement, options)
    layers = [str(node.name) for node in places.weighted]
    # A layer alone reads tensors that lie inside an integer region when all layers are quantized.
    alone = [place(model.graph, placement, keep_float=names - {layer}) for layer in layers]
    read = Places({source: source for one in (places, *alone) for source in one.points.values()})
    ranges = calibrate(artifact, read, placement=placement, options=options, context=context)
    images = [torch.from_numpy(batch) for batch in context.data.calibration.take(count).batches(BATCH)]
    expected = _answers(floating(artifact.path), images)
    errors: dict[str, float] = {}
    for number, layer in enumerate(layers, start=1):
        network = quantized(artifact.path, placement, ranges, bits=8, keep_float=names - {layer})
        errors[layer] = float((_answers(network, images) - expected).square().mean())
        context.listener(Progress(STEP, number, len(layers), "layers"))
    return dict(sorted(errors.items(), key=lambda item: -item[1]))


@torch.inference_mode()
def _answers(network: nn.Module, images: list[Tensor]) -> Tensor:
    network.eval()
    return torch.cat([network(batch) for batch in images])
