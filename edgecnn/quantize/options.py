"""Options of quantization: how ranges are found, and which layers stay in float."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Observer = Literal["minmax", "percentile", "mse", "entropy"]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"write a layer's name or a regular expression: {error}") from None
    return text


LayerPattern = Annotated[str, AfterValidator(_pattern)]


class QuantizeOptions(BaseModel):
    """What the writers of INT8 files are told; the recipe's stage `quantize` is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    observer: Observer = "minmax"
    percentile: float = Field(default=99.99, gt=50, le=100)
    io: Literal["float", "int8"] = "float"
    """Inputs and outputs of a TFLite file; the other formats take and give float32."""
    weight_bits: Literal[7, 8] = 8
    """7 is for ONNX Runtime on x86-64 without VNNI; the other formats have 8."""
    keep_float: tuple[LayerPattern, ...] = ()
    """Layers by their paths in the torch module, or regular expressions that match whole paths."""
