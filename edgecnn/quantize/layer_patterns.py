"""Layer patterns: which layers stay in float, by one rule for every format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgecnn.core.errors import InputError, did_you_mean


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
