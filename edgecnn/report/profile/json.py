"""A layer profile as JSON. `edgecnn.profile/1` names its shape."""

from __future__ import annotations

import json

from edgecnn.measure.layer_profile import LayerProfile


def render(profile: LayerProfile) -> str:
    """One JSON document that ends in a newline."""
    return json.dumps(profile.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
