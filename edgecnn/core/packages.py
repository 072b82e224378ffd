"""The packages edgecnn stands on: which extra brings each, and what to type for one that is missing."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.core.errors import install_hint


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution, the module it brings, and the extra it belongs to (empty: the core)."""

    distribution: str
    module: str
    extra: str = ""

    @property
    def command(self) -> str:
        return install_hint(self.extra) if self.extra else f'pip install "{self.distribution}"'


PACKAGES: tuple[Package, ...] = (
    Package("torch", "torch"),
    Package("torchvision", "torchvision"),
    Package("onnx", "onnx"),
    Package("onnx-ir", "onnx_ir"),
    Package("onnxscript", "onnxscript"),
    Package("onnxruntime", "onnxruntime"),
    Package("numpy", "numpy"),
    Package("scipy", "scipy"),
    Package("pillow", "PIL"),
    Package("safetensors", "safetensors"),
    Package("scikit-learn", "sklearn"),
    Package("matplotlib", "matplotlib"),
    Package("tensorboard", "tensorboard"),
    Package("torchmetrics", "torchmetrics"),
    Package("torch-pruning", "torch_pruning"),
    Package("pydantic", "pydantic"),
    Package("pyyaml", "yaml"),
    Package("rich", "rich"),
    Package("typer", "typer"),
    Package("litert-torch", "litert_torch", "tflite"),
    Package("ai-edge-quantizer", "ai_edge_quantizer", "tflite"),
    Package("ai-edge-litert", "ai_edge_litert", "tflite"),
    Package("tensorrt-rtx-cu13-bindings", "tensorrt_rtx_bindings", "tensorrt"),
    Package("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime_ep_nv_tensorrt_rtx", "tensorrt"),
    Package("timm", "timm", "timm"),
    Package("mlflow-skinny", "mlflow", "mlflow"),
    Package("wandb", "wandb", "wandb"),
)


def package_of(module: str) -> Package | None:
    """The package that brings a module, or None when it is none of ours."""
    top = module.partition(".")[0]
    return next((package for package in PACKAGES if package.module == top), None)
