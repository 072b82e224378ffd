"""PyTorch programs (`.pt2`): run and measured as they are, never made by a recipe."""

from __future__ import annotations

from edgecnn.formats.registry import Format

FORMAT = Format(
    name="torch",
    title="PyTorch",
    suffix=".pt2",
    backend="torch",
    family="",
    runtime="PyTorch",
    rank=40,
    precisions=("fp32",),
    board_packages=("torch",),
)
