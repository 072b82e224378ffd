"""A checkpoint that is written twice is the same file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import save


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    """safetensors itself writes metadata in an order that differs between calls."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    path, found = tmp_path / "m.safetensors", set()
    for _ in range(12):
        about = {"architecture": "net", "num_classes": 2, "class_names": ["à", "b"]}
        save(path, module, preprocessing=Preprocessing(crop=(8, 8)), history=("distill",), **about)  # type: ignore[arg-type]
        found.add(path.read_bytes())
    assert len(found) == 1
    with safe_open(path, "pt") as opened:  # type: ignore[no-untyped-call]
        assert sorted(opened.metadata()) == ["edgecnn", "format"]
        for name, value in module.state_dict().items():
            assert torch.equal(opened.get_tensor(name), value)
