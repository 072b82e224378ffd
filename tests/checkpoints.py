"""Networks with random weights, of torchvision and of a user, and their checkpoint files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

USER_MODEL = """
from torch import nn

print("noise on stdout")

class Net(nn.Module):
    def __init__(self, num_classes=10, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

    @classmethod
    def named(cls, name, **options):
        return cls(width={"small": 4, "large": 8}[name], **options)

class Two(Net):
    def forward(self, x):
        return super().forward(x), x

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Net()

    def forward(self, x):
        return self.model(x)

def broken():
    raise RuntimeError("no such luck")

def number():
    return 3
"""


def user_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("net_under_test", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tv(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    return module.eval()


def stored(tmp_path: Path, module: nn.Module, **facts: Any) -> Path:
    path = tmp_path / "c.pth"
    torch.save({"state_dict": module.state_dict(), **facts} if facts else module.state_dict(), path)
    return path


def equal(one: nn.Module, other: nn.Module, size: int = 64) -> bool:
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        return torch.equal(one.eval()(image), other.eval()(image))
