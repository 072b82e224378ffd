"""Telemetry of the libraries we call: the switches that turn it off. Nothing leaves the machine unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

TELEMETRY_SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}
"""ONNX Runtime's wheels report since 1.29 which model is loaded, and read the switch when they are imported; the others
are read by huggingface_hub (timm), MLflow and Weights & Biases."""


def disable_telemetry(environ: MutableMapping[str, str]) -> None:
    """Set every switch that is not set already: what a user has chosen stays."""
    for name, value in TELEMETRY_SWITCHES.items():
        environ.setdefault(name, value)
