"""Layer patterns: which layers stay in float, by one rule for every format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgecnn.core.errors import InputError, StepError, did_you_mean


def kept(patterns: Sequence[str], layers: Mapping[str, str]) -> list[str]:
    """The layers whose whole name a pattern matches, in the order of the patterns.

    `layers` leads from each name a layer answers to, which is its path in the torch module where it has weights, to
    the name it has in the file. A pattern is a regular expression; a plain name matches itself. Raises InputError when
    one matches nothing.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [name for word, name in layers.items() if word == pattern or re.fullmatch(pattern, word)]
        if not matches:
            hint = did_you_mean(pattern, sorted(layers))
            raise InputError("unknown-layer", f"keep_float names no layer: {pattern}", hint=hint)
        found.update(dict.fromkeys(matches))
    return list(found)


def require_integer_layer(quantized: bool, patterns: Sequence[str], *, why: str = "") -> None:
    """Raise StepError unless a layer with weights is `quantized`: a file without one is not INT8, whatever else is in
    it. `why` says what was found in place of such a layer."""
    if quantized:
        return
    kept_float = f"every layer with weights stays in float (keep_float: {', '.join(patterns)})"
    raise StepError(
        "nothing-quantized",
        "no layer with weights became INT8",
        why=why or (kept_float if patterns else "no layer with weights is one that this format can quantize"),
        hint="name fewer layers in `keep_float`" if patterns and not why else "ship the fp32 or the fp16 file",
    )
