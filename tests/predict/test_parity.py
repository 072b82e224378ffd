"""Parity figures and the torch side of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.errors import StepError
from edgecnn.core.events import Event, Progress, ignore
from edgecnn.predict.parity import parity
from edgecnn.predict.torch import torch_outputs
from edgecnn.tasks.classification.task import TASK


class FakeImages:
    digest = "fake"
    labels = None
    ids = ()

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def take(self, count: int) -> FakeImages:
        return FakeImages(self.images[:count])

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.images), size):
            yield self.images[start : start + size]


def images(count: int) -> FakeImages:
    return FakeImages(np.random.default_rng(0).standard_normal((count, 3, 4, 4)).astype(np.float32))


def test_equal_logits_have_no_noise() -> None:
    logits = np.array([[1.0, 2.0], [4.0, 3.0]], dtype=np.float32)
    found = parity(logits, logits)
    assert found["max_abs_diff"] == 0.0
    assert found["cosine"] == pytest.approx(1.0)
    assert found["sqnr_db"] is None
    assert found["images"] == 2


def test_the_figures_by_hand() -> None:
    reference = np.array([[3.0, 4.0], [10.0, 0.0]], dtype=np.float32)
    candidate = np.array([[4.0, 3.0], [10.0, 1.0]], dtype=np.float32)
    found = parity(reference, candidate)
    assert found["max_abs_diff"] == 1.0
    assert TASK.agreement(reference, candidate) == 0.5
    assert found["sqnr_db"] == pytest.approx(10 * np.log10(125 / 3))
    assert found["cosine"] == pytest.approx((24 / 25 + 100 / (10 * np.sqrt(101))) / 2)


def test_zero_logits_do_not_divide_by_zero() -> None:
    zeros = np.zeros((2, 3), dtype=np.float32)
    found = parity(zeros, zeros + 1)
    assert found["sqnr_db"] is not None
    assert found["cosine"] == 0.0


def test_the_torch_outputs_of_every_image_in_order() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval()
    told: list[Event] = []
    model = SimpleNamespace(name="tests:linear", input_shape=(3, 4, 4), module=lambda: net)
    found = torch_outputs(model, images(19), listener=told.append)
    with torch.inference_mode():
        expected = net(torch.from_numpy(images(19).images)).numpy()
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-6)
    assert told[-1] == Progress("verify", 19, 19, "images", "PyTorch")


def test_a_network_that_answers_nan_is_refused_by_name() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval()
    nn.init.constant_(net[1].bias, float("nan"))
    model = SimpleNamespace(name="tests:broken", input_shape=(3, 4, 4), module=lambda: net)
    with pytest.raises(StepError) as caught:
        torch_outputs(model, images(2), listener=ignore)
    assert caught.value.code == "not-finite"
    assert "tests:broken" in caught.value.message
