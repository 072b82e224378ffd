"""Layer times by the paths of torch modules, from the runtime itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.core import plugins
from edgecnn.core.artifact import FormatName
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import MissingError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.formats.registry import format_named
from edgecnn.measure.connection import Connection, this_host
from edgecnn.measure.layer_times import layer_times_on

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),
        Deployment(format="tflite", backend="tflite", family="litert"),
        Deployment(format="tensorrt", backend="tensorrt", family="tensorrt"),
    ),
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.fc(torch.flatten(self.pool(self.body(self.stem(x))), 1))
        return answer


@dataclass
class Small:
    name: str = "small"
    num_classes: int = 4
    input_shape: tuple[int, int, int] = (3, 48, 48)
    sha256: str = "small"

    def module(self) -> nn.Module:
        return Net().eval()


@pytest.mark.parametrize(
    ("format", "needs", "last"), [("onnx", "onnxruntime", "fc"), ("tflite", "litert_torch", "logits")]
)
def test_times_bear_the_names_of_modules(format: FormatName, needs: str, last: str, tmp_path: Path) -> None:
    """What gives the output bears the output's name in a TFLite file."""
    pytest.importorskip(needs)
    file = tmp_path / f"net.{format}"
    plugins.resolve(format_named(format).export)(Small(), file, preprocessing=Preprocessing(crop=(48, 48), resize=None))
    times_of = layer_times_on(this_host(), HOST, threads=1)
    assert times_of is not None
    times = times_of(file, format)
    assert {"stem.0", "body.0", last} <= set(times)
    assert times["stem.0"] > 0 < times["body.0"]  # the last is below what one of the clocks can tell
    assert all(time >= 0 for time in times.values())


def test_an_emulated_board_has_no_table() -> None:
    here = this_host()
    assert layer_times_on(Connection(here.device, {**here.facts, "emulated": True}), HOST, threads=1) is None


def test_a_format_that_cannot_be_timed_here_is_refused(tmp_path: Path) -> None:
    times_of = layer_times_on(this_host(), HOST, threads=1)
    assert times_of is not None
    with pytest.raises(MissingError, match="tensorrt file cannot be timed") as raised:
        times_of(tmp_path / "net.onnx", "tensorrt")
    assert raised.value.hint
