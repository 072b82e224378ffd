"""Mixed precision: the number format of the forward pass in training. Weights and optimizer stay in float32."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from edgecnn.core.errors import InputError

PAYING = ("avx512_bf16", "amx_bf16", "amx_tile")


def choose(wanted: str, module: nn.Module, device: torch.device) -> torch.dtype | None:
    """The reduced format for `mixed_precision: wanted`, or None for float32 throughout.

    auto is fp16 on CUDA, where `torch.amp.GradScaler` keeps small gradients alive, and bf16 on a CPU that multiplies
    it in hardware. There it halves the time of dense convolutions (ResNet-56: 1.7 times as fast, forward and backward)
    but depthwise ones have no bf16 kernel and become slower (MobileNetV2: 0.7 times), so networks with those stay in
    float32. Raises InputError for fp16 where nothing computes in it.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise InputError(
            "fp16-without-cuda",
            f"training in fp16 needs CUDA, and this runs on '{device}'",
            hint="set mixed_precision to bf16, or to auto",
        )
    if wanted == "auto":
        if device.type == "cuda":
            return torch.float16
        wanted = "bf16" if device.type == "cpu" and _multiplies_bf16() and not _is_depthwise(module) else "off"
    return {"fp16": torch.float16, "bf16": torch.bfloat16, "off": None}[wanted]


def name_of(dtype: torch.dtype | None) -> str:
    return {torch.float16: "fp16", torch.bfloat16: "bf16", None: "fp32"}[dtype]


def _multiplies_bf16() -> bool:
    """Old releases of torch do not say what the processor has; there float32 is the safe answer."""
    ask = getattr(torch.cpu, "get_capabilities", dict)
    has: Mapping[str, object] = ask()
    return any(has.get(feature) for feature in PAYING)


def _is_depthwise(module: nn.Module) -> bool:
    return any(isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 for layer in module.modules())
