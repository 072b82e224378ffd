"""Networks that are no function of one image: refused, or announced, with the layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from edgecnn.core.errors import InputError
from edgecnn.core.events import Event, Warned, ignore
from edgecnn.models.one_image import largest_batch, validate_one_image


class Net(nn.Module):
    """A convolution, a place for something odd, a mean and a classifier."""

    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.stem, self.odd, self.head = nn.Conv2d(3, 4, 3), odd, nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.odd(self.stem(x)).mean((2, 3)))


class FunctionalDropout(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, 0.5)


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * torch.randn_like(x)


class BatchMean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


class OneView(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(1, 4, *x.shape[2:])


class OneAsserted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[0] == 1
        return x


class OneLoop(nn.Module):
    """Takes the images apart, which is no fixed batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([image * 2 for image in x])


def model(odd: nn.Module) -> Any:
    torch.manual_seed(0)
    network = Net(odd).eval()
    return SimpleNamespace(name="tests:net", input_shape=(3, 8, 8), module=lambda: network)


@pytest.mark.parametrize("odd", [FunctionalDropout(), Noise()])
def test_an_answer_that_changes_by_itself_is_refused_with_the_layer(odd: nn.Module) -> None:
    with pytest.raises(InputError) as caught:
        validate_one_image(model(odd), listener=ignore)
    assert caught.value.code == "random-network"
    assert "odd (" in caught.value.why and "test_one_image.py line" in caught.value.why


@pytest.mark.parametrize("odd", [nn.BatchNorm2d(4, track_running_stats=False), BatchMean()])
def test_an_answer_that_depends_on_the_other_images_is_refused_with_the_layer(odd: nn.Module) -> None:
    with pytest.raises(InputError) as caught:
        validate_one_image(model(odd), listener=ignore)
    assert caught.value.code == "mixes-images"
    assert "odd (" in caught.value.why


@pytest.mark.parametrize("odd", [OneView(), OneAsserted()])
def test_a_network_for_one_image_at_a_time_is_announced_with_the_layer(odd: nn.Module) -> None:
    told: list[Event] = []
    validate_one_image(model(odd), listener=told.append)
    (warning,) = told
    assert isinstance(warning, Warned) and warning.code == "fixed-batch"
    assert "test_one_image.py line" in warning.message
    assert largest_batch(model(odd).module(), (3, 8, 8), 8) == 1


@pytest.mark.parametrize("odd", [nn.Dropout(0.5), nn.BatchNorm2d(4), nn.InstanceNorm2d(4), OneLoop()])
def test_a_function_of_one_image_is_taken_without_a_word(odd: nn.Module) -> None:
    told: list[Event] = []
    validate_one_image(model(odd), listener=told.append)
    assert told == []
    assert largest_batch(model(odd).module(), (3, 8, 8), 8) == 8


def test_answers_that_are_no_numbers_are_equal_to_themselves() -> None:
    broken = nn.BatchNorm2d(4)
    nn.init.constant_(broken.weight, float("nan"))
    validate_one_image(model(broken), listener=ignore)
