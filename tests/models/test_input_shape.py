"""Input shape of a network: what is said of it, what it declares, and what it accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.models import input_shape, open_model


class Flat(nn.Module):
    """Takes images of one size alone."""

    def __init__(self, edge: int = 52, channels: int = 3) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * (edge // 2) ** 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.a(x).flatten(1))  # type: ignore[no-any-return]


class HeadFirst(nn.Module):
    """The last convolution is registered before the first."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.last = nn.Conv2d(6, 5, 1)
        self.a = nn.Conv2d(channels, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.a(x)).mean((2, 3))  # type: ignore[no-any-return]


class Coordinates(nn.Module):
    """Two planes are appended to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(5, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(torch.cat([x, torch.zeros_like(x[:, :2])], 1)).mean((2, 3))  # type: ignore[no-any-return]


class SpaceToDepth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(48, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(nn.functional.pixel_unshuffle(x, 4)).mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (HeadFirst(), 3),
        (HeadFirst(1), 1),
        (HeadFirst(4), 4),
        (Coordinates(), 3),
        (SpaceToDepth(), 3),
        (Flat(32, channels=1), 1),
        (Flat(48), 3),
    ],
)
def test_channels_are_tried_and_not_read_from_the_first_layer(network: nn.Module, channels: int) -> None:
    (found, *_), outputs = input_shape.settle(network)
    assert found == channels
    assert outputs in (5, 6)


def test_an_input_that_is_said_is_the_first_to_be_tried() -> None:
    class Repeats(HeadFirst):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, :1].expand(-1, 3, -1, -1))

    assert input_shape.settle(Repeats())[0][0] == 3
    assert input_shape.settle(Repeats(), channels=[1], size=(20, 24))[0] == (1, 20, 24)


def test_the_refusal_is_that_of_the_channels_the_first_layer_takes() -> None:
    with pytest.raises(StepError) as caught:
        input_shape.settle(Flat(50, channels=1))
    assert "expected input" not in caught.value.why


@pytest.mark.parametrize("edge", [52, 50, 36])
def test_a_crop_is_heard_before_the_network_is_run(tmp_path: Path, edge: int) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        f"def net(): return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * {edge} * {edge}, 5))\n"
    )
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * edge * edge, 5))
    torch.save(network.state_dict(), tmp_path / "c.pth")
    with pytest.raises(StepError) as caught:
        open_model(tmp_path / "c.pth", architecture=f"{tmp_path}/net.py:net")
    assert "--crop" in caught.value.hint
    model = open_model(tmp_path / "c.pth", architecture=f"{tmp_path}/net.py:net", size=(edge, edge))
    assert (model.input_shape, model.num_classes) == ((3, edge, edge), 5)
    assert not any("assumed" in note for note in model.notes)


def test_a_network_without_convolutions_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        input_shape.settle(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    assert caught.value.code == "not-a-cnn"
