"""The loop learns, is repeatable, leaves no trace outside the module, and refuses what it cannot learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Progress
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.probe.normalise import normalise
from edgecnn.train import TrainingImages, TrainSettings, feed, fit, measure_accuracy
from edgecnn.train.feed import Feed
from edgecnn.train.loop import one_cycle
from edgecnn.train.resnet_small import resnet_small

P = Preprocessing(crop=(8, 8), resize=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
CPU = torch.device("cpu")


def net(outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, outputs),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Reddish against bluish noise."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths, labels = [], []
    for number in range(70):
        label = number % 2
        noise = rng.integers(0, 120, (8, 8, 3), np.uint8)
        noise[:, :, 2 * label] += 100
        paths.append(folder / f"{number}.png")
        labels.append(label)
        Image.fromarray(noise).save(paths[-1])
    return ImageSet(paths, labels, preprocessing=P, root=folder)


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"epochs": 4, "batch": 16, "learning_rate": 0.02, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.2},
        {"crop_padding": 1, "flip": True, "label_smoothing": 0.1},
        {"clip_norm": None, "batch": 500, "epochs": 25},
    ],
)
def test_it_learns(images: ImageSet, changes: dict[str, Any]) -> None:
    module = net()
    told: list[Event] = []
    pair = TrainingImages(images.take(50), images.select(range(50, 70)))
    history = fit(module, pair, settings=settings(**changes), tell=told.append, seed=3)
    assert history.validation_accuracy == 1.0
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert not module.training
    assert measure_accuracy(module, images) > 0.95
    epochs = settings(**changes).epochs
    assert [event.done for event in told if isinstance(event, Progress)] == list(range(1, epochs + 1))
    assert next(module.parameters()).is_contiguous()


def test_the_same_seed_gives_the_same_weights_and_the_world_is_left_alone(images: ImageSet) -> None:
    def trained(seed: int) -> torch.Tensor:
        module = net()
        fit(module, images, settings=settings(epochs=2, crop_padding=2, flip=True), seed=seed)
        return nn.utils.parameters_to_vector(module.parameters()).detach()

    first = trained(5)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    module = net()
    torch.random.set_rng_state(before)
    fit(module, images, settings=settings(epochs=2, crop_padding=2, flip=True), seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(nn.utils.parameters_to_vector(module.parameters()).detach(), first)
    assert not torch.equal(trained(6), first)


def test_training_without_validation_says_nothing_of_it(images: ImageSet) -> None:
    assert fit(net(), images, settings=settings(epochs=1)).validation_accuracy is None


def test_training_sees_the_pixels_that_judging_sees(images: ImageSet) -> None:
    stream = Feed(images, settings(batch=70), device=CPU, seed=0)
    x, labels = next(iter(stream.epoch()))
    wanted = normalise(np.concatenate(list(images.pixels(70))), P.mean, P.std)
    for row, label in zip(x.numpy(), labels.tolist(), strict=True):
        at = np.flatnonzero((wanted == row).all((1, 2, 3)))
        assert len(at) == 1
        assert images.labels is not None
        assert images.labels[at[0]] == label


def test_shifts_and_mirrors_move_whole_images(images: ImageSet) -> None:
    stream = Feed(images, settings(crop_padding=2, flip=True), device=CPU, seed=0)
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 8, 8, 1).expand(200, 8, 8, 1)
    padded = torch.nn.functional.pad(image[0, :, :, 0], (2, 2, 2, 2))
    possible = {
        tuple(crop.flatten().tolist())
        for top in range(5)
        for left in range(5)
        for crop in (padded[top : top + 8, left : left + 8], padded.flip(1)[top : top + 8, left : left + 8])
    }
    seen = {tuple(row.flatten().tolist()) for row in stream._vary(image)}
    assert seen <= possible
    assert len(seen) > 40


def test_sets_too_large_for_memory_are_streamed(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Feed(images, settings(crop_padding=1), device=CPU, seed=4)
    monkeypatch.setattr(feed, "HELD_IN_MEMORY_BYTES", 0)
    streamed = Feed(images, settings(crop_padding=1), device=CPU, seed=4)
    for (x, y), (again, labels) in zip(held.epoch(), streamed.epoch(), strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, labels)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [one_cycle(step, 100, warmup=0.3) for step in range(100)]
    assert max(rates) == rates[29] == 1.0
    assert rates[:30] == sorted(rates[:30])
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[-1] < 0.001
    assert 0 < one_cycle(0, 1, warmup=0.3) <= 1


def test_what_cannot_be_learnt_from_is_refused(images: ImageSet) -> None:
    unlabelled = ImageSet(images.paths, None, preprocessing=P, root=images.root)
    with pytest.raises(InputError, match="needs labels"):
        fit(net(), unlabelled, settings=settings())
    with pytest.raises(InputError, match="no images"):
        fit(net(), images.take(0), settings=settings())
    with pytest.raises(InputError, match="label 1 is outside the network's 1 outputs"):
        fit(net(1), images, settings=settings())
    with pytest.raises(InputError, match="not \\(images, classes\\)"):
        fit(nn.Conv2d(3, 2, 1), images, settings=settings())


def test_a_loss_that_is_no_number_stops_the_run(images: ImageSet) -> None:
    with pytest.raises(StepError) as caught:
        fit(net(), images, settings=settings(learning_rate=1e30, optimizer="sgd", clip_norm=None))
    assert caught.value.code == "training-diverged"
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 1},
        {"optimizer": "lion"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"warmup": 1.0},
        {"label_smoothing": 1.0},
        {"clip_norm": 0.0},
        {"crop_padding": -1},
    ],
)
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        settings(**wrong)
    assert next(iter(wrong)) in caught.value.why


def test_the_small_resnet_has_widths_in_sixteens() -> None:
    module = resnet_small(7).eval()
    convs = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.out_channels % 16 for layer in convs} == {0}
    assert len([layer for layer in convs if layer.kernel_size == (3, 3)]) == 13
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mixed_precision_on_cuda(images: ImageSet) -> None:
    module = net()
    history = fit(module, images, settings=settings(device="cuda", epochs=8), seed=1)
    assert history.device == "cuda"
    assert next(module.parameters()).device.type == "cpu"
    assert measure_accuracy(module, images) > 0.95


def test_the_folder_of_the_images_is_only_read(images: ImageSet) -> None:
    before = sorted(path.name for path in Path(images.root).iterdir())
    fit(net(), images, settings=settings(epochs=1))
    assert sorted(path.name for path in Path(images.root).iterdir()) == before
