"""Images without data: their statistics match the network's, and they satisfy the contract of Images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.events import Event, Progress
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Images
from edgecnn.probe.normalise import normalise
from edgecnn.train import synthesis
from edgecnn.train.synthesis import images_from_batch_norm

P = Preprocessing(crop=(16, 16), resize=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


def net() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    # Smooth images: far from noise, so matching them takes work.
    coarse = torch.rand(256, 3, 2, 2) * 2 - 1
    smooth = nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    for _ in range(60):
        module.train()(smooth)
    return module.eval()


@dataclass
class FakeModel:
    network: nn.Module = field(default_factory=net)
    name: str = "fake"
    num_classes: int = 4
    input_shape: tuple[int, int, int] = (3, 16, 16)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        return self.network


def mismatch(module: nn.Module, x: np.ndarray) -> float:
    layers = synthesis._batch_norms(module)
    with synthesis._watched(layers) as distances, torch.no_grad():
        module(torch.from_numpy(x))
    return float(torch.stack(distances).sum())


def test_statistics_come_closer_than_those_of_noise() -> None:
    model = FakeModel()
    told: list[Event] = []
    images = images_from_batch_norm(model, count=20, preprocessing=P, seed=1, listener=told.append)
    assert len(images) == 20
    made = next(images.batches(20))
    noise = normalise(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8), P.mean, P.std)
    assert mismatch(model.module(), made) < 0.2 * mismatch(model.module(), noise)
    assert [event.done for event in told if isinstance(event, Progress)] == [10, 20]
    assert "20 images made in 40 steps from the statistics of 2 batch-norm layers" in images.notes


def test_they_are_images() -> None:
    images: Images = images_from_batch_norm(FakeModel(), count=5, preprocessing=P)
    assert images.labels is None
    assert len(images.take(2)) == 2
    for pixels, batch in zip(images.pixels(2), images.batches(2), strict=True):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == (16, 16, 3)
        assert np.array_equal(batch, normalise(pixels, P.mean, P.std))
    with pytest.raises(ValueError, match="at least one"):
        next(images.pixels(0))


def test_the_digest_follows_the_seed_and_covers_the_bytes() -> None:
    def digest(seed: int) -> str:
        return images_from_batch_norm(FakeModel(), count=3, preprocessing=P, seed=seed).digest

    state = torch.random.get_rng_state()
    first = images_from_batch_norm(FakeModel(), count=3, preprocessing=P, seed=0)
    assert first.digest == digest(0) != digest(1)
    assert first.take(2).digest != first.digest
    torch.random.set_rng_state(state)


def test_neither_the_network_nor_the_random_state_changes() -> None:
    model = FakeModel()
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    state = torch.random.get_rng_state()
    images_from_batch_norm(model, count=2, preprocessing=P)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in model.network.modules())


def test_a_network_without_statistics_gets_noise_and_is_told() -> None:
    model = FakeModel(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 4)))
    images = images_from_batch_norm(model, count=3, preprocessing=P)
    assert len(images) == 3
    assert "Gaussian noise" in images.notes[0]
    assert 20 < next(images.pixels(3)).std() < 80


def test_large_networks_get_fewer_images_and_steps() -> None:
    assert synthesis._plan(200, 1e6) == (200, 40)
    assert synthesis._plan(200, 4e7) == (125, 40)
    images, steps = synthesis._plan(200, 1.8e9)
    assert images * steps * 1.8e9 * 3 <= 6.5e11
    assert (images, steps) == (9, 12)
    assert synthesis._plan(200, 1e12) == (8, 12)
    assert synthesis._plan(1, 1e12) == (1, 12)


def test_the_clock_ends_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "LIMIT_S", -1.0)
    images = images_from_batch_norm(FakeModel(), count=40, preprocessing=P)
    assert 0 < len(images) < 40
    assert any("stopped by the clock" in note for note in images.notes)


def test_no_images_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        images_from_batch_norm(FakeModel(), count=0, preprocessing=P)
