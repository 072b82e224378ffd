"""Decoding of the brightness task's output; travels in the bundle."""

from __future__ import annotations

from typing import Any


def decode(output: Any, labels: list[str]) -> dict[str, Any]:
    return {labels[0]: float(output[0])}


def line(answer: dict[str, Any]) -> str:
    return f"{answer['brightness']:.3f}"
