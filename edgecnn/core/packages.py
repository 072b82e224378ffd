"""Packages that edgecnn needs: which extra brings each, and the command that installs a missing one."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.core import plugins
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


CORE: tuple[Package, ...] = (
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
)
EXTRAS: tuple[Package, ...] = (
    Package("timm", "timm", "timm"),
    Package("mlflow-skinny", "mlflow", "mlflow"),
    Package("wandb", "wandb", "wandb"),
)


def packages() -> tuple[Package, ...]:
    """Those of the core, of each format, and of the other extras."""
    formats = sorted(plugins.every("formats"), key=lambda item: item.rank)
    return (*CORE, *(package for item in formats for package in item.packages), *EXTRAS)


def package_of(module: str) -> Package | None:
    """The package that brings a module, or None when it is none of ours."""
    top = module.partition(".")[0]
    return next((package for package in packages() if package.module == top), None)
