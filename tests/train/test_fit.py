"""The loop learns, is repeatable, leaves no trace outside the module, and refuses what it cannot learn from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from colours import net, settings, split
from pydantic import ValidationError
from torch import Tensor, nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.data import ImageSet
from edgecnn.train import Augment, Epoch, fit, measure, measure_accuracy, progress
from edgecnn.train.feed import FedBatch, ImageFeed
from edgecnn.train.resnet_small import resnet_small
from edgecnn.train.settings import Batch
from edgecnn.train.state import LAST


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.2},
        {"augment": Augment(crop_padding=1, flip=True), "label_smoothing": 0.1},
        {"clip_norm": None, "batch": 500, "epochs": 25},
        {"mixed_precision": "bf16", "schedule": "cosine", "warmup": 0.1},
        {"loss": "focal", "class_weights": "balanced", "schedule": "constant"},
        {"accumulate": 2, "batch": 8, "sampling": "balanced", "augment": {"mixup": 0.2}, "epochs": 8},
    ],
)
def test_it_learns(images: ImageSet, changes: dict[str, Any]) -> None:
    module = net()
    told: list[Event] = []
    history = fit(module, split(images), settings=settings(**changes), listener=told.append, seed=3)
    assert history.validation_accuracy == 1.0
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert not module.training
    assert measure_accuracy(module, images) > 0.95
    epochs = [event for event in told if isinstance(event, Progress) and event.unit == "epoch"]
    assert [event.done for event in epochs] == list(range(1, settings(**changes).epochs + 1))
    assert "validation 100.00%" in epochs[-1].note
    assert "images/s" in epochs[-1].note
    assert next(module.parameters()).is_contiguous()


def test_the_same_seed_gives_the_same_weights_and_the_world_is_left_alone(images: ImageSet) -> None:
    def trained(seed: int) -> torch.Tensor:
        module = net()
        fit(module, images, settings=settings(epochs=2, augment=Augment(crop_padding=2, flip=True)), seed=seed)
        return nn.utils.parameters_to_vector(module.parameters()).detach()

    first = trained(5)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    module = net()
    torch.random.set_rng_state(before)
    fit(module, images, settings=settings(epochs=2, augment=Augment(crop_padding=2, flip=True)), seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(nn.utils.parameters_to_vector(module.parameters()).detach(), first)
    assert not torch.equal(trained(6), first)


def test_training_without_validation_says_nothing_of_it(images: ImageSet) -> None:
    assert fit(net(), images, settings=settings(epochs=1)).validation_accuracy is None


def test_what_cannot_be_learnt_from_is_refused(images: ImageSet) -> None:
    unlabelled = ImageSet(images.paths, None, preprocessing=images.preprocessing, root=images.root)
    with pytest.raises(InputError, match="needs labels"):
        fit(net(), unlabelled, settings=settings())
    with pytest.raises(InputError, match="no images"):
        fit(net(), images.take(0), settings=settings())
    with pytest.raises(InputError, match="label 1 is outside the network's 1 outputs"):
        fit(net(1), images, settings=settings())
    with pytest.raises(InputError, match="not \\(images, classes\\)"):
        fit(nn.Conv2d(3, 2, 1), images, settings=settings())


class Poisoned:
    """Cross-entropy, but from batch `first` on what the loss is multiplied with is no number."""

    needs_labels = True

    def __init__(self, first: int, factor: float = float("nan")) -> None:
        self.first, self.factor, self.seen = first, factor, 0
        self.last: Tensor | None = None

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        self.seen += 1
        logits: Tensor = module(batch.x)
        assert batch.targets is not None
        loss = nn.functional.cross_entropy(logits, batch.targets)
        if self.seen < self.first:
            return loss, logits
        self.last = batch.indices
        return loss * self.factor, logits

    def to(self, device: str) -> None:
        pass


@pytest.mark.parametrize(("factor", "what"), [(float("nan"), "loss"), (float("inf"), "loss"), (1e38, "gradient")])
def test_a_loss_that_is_no_number_stops_the_run(images: ImageSet, tmp_path: Path, factor: float, what: str) -> None:
    good, module = net(), net()
    weights: dict[str, Tensor] = {}

    def remember(number: int, epoch: Epoch, trained: nn.Module) -> None:
        if number == 2:
            weights.update({name: value.clone() for name, value in trained.state_dict().items()})

    poison = Poisoned(2 * 4 + 2, factor)
    with pytest.raises(StepError) as caught:
        # The gradient overflows where 1e38 meets inputs this large.
        chosen = settings(schedule="constant")
        fit(module, images, settings=chosen, objective=poison, scratch=tmp_path, watch=remember)
    assert caught.value.code == "training-diverged"
    assert f"training {what} is no longer a number" in caught.value.message
    assert poison.seen == poison.first
    assert poison.last is not None
    assert str(images.paths[int(poison.last[0])]) in caught.value.why
    assert "in step 10 (epoch 3)" in caught.value.why
    assert "weights of epoch 2 again" in caught.value.why
    assert caught.value.hint
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert len(torch.load(tmp_path / LAST, weights_only=True)["epochs"]) == 2
    assert measure(good, images)[0] > measure(module, images)[0]


def test_a_run_that_diverges_by_itself(images: ImageSet) -> None:
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(StepError, match="of the beginning again"):
        fit(module, images, settings=settings(learning_rate=1e30, optimizer="sgd", clip_norm=None))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("judged", [True, False])
def test_a_last_step_that_ruins_the_network_is_noticed(images: ImageSet, judged: bool) -> None:
    """No loss follows it that would tell."""
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    chosen = settings(epochs=1, batch=len(images), learning_rate=1e30, optimizer="sgd", clip_norm=None)
    with pytest.raises(StepError) as caught:
        fit(module, split(images) if judged else images, settings=chosen)
    assert caught.value.code == "training-diverged"
    assert f"answers {'validation' if judged else 'training'} images with NaN or infinity" in caught.value.why
    assert "of the beginning again" in caught.value.why
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_best_epoch_is_kept_and_patience_ends(images: ImageSet) -> None:
    module = net()
    seen: list[float] = []

    def spoil(number: int, epoch: Epoch, trained: nn.Module) -> None:
        assert epoch.validation_accuracy is not None
        seen.append(epoch.validation_accuracy)
        assert trained is module
        assert measure_accuracy(trained, split(images).validation) == epoch.validation_accuracy
        if number == 3:  # from here on the network cannot be right on both classes
            with torch.no_grad():
                trained[-1].weight.zero_()
                trained[-1].weight.requires_grad_(False)

    chosen = settings(epochs=30, early_stopping=4, schedule="constant", learning_rate=0.01)
    history = fit(module, split(images), settings=chosen, watch=spoil)
    assert history.best in (1, 2, 3)
    assert len(history.epochs) == history.best + 4
    assert history.stopped == "no better validation accuracy for 4 epochs"
    assert history.validation_accuracy == max(seen) == measure_accuracy(module, split(images).validation)
    with pytest.raises(InputError, match="early stopping needs validation images"):
        fit(net(), images, settings=chosen)


def test_the_average_is_judged_and_kept(images: ImageSet) -> None:
    judged: list[dict[str, Tensor]] = []

    def remember(number: int, epoch: Epoch, trained: nn.Module) -> None:
        judged.append({name: value.clone() for name, value in trained.state_dict().items()})

    live, averaged = net(), net()
    fit(live, images, settings=settings(), seed=2)
    fit(averaged, images, settings=settings(ema=0.9), seed=2, watch=remember)
    assert all(torch.equal(value, judged[-1][name]) for name, value in averaged.state_dict().items())
    assert not torch.equal(averaged[0].weight, live[0].weight)
    # The statistics are averaged too: those of the live network belong to other weights.
    assert not torch.equal(averaged[1].running_mean, live[1].running_mean)
    assert averaged[1].num_batches_tracked == live[1].num_batches_tracked
    assert measure_accuracy(averaged, images) > 0.95


def test_what_is_frozen_stays(images: ImageSet) -> None:
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, images, settings=settings(epochs=1, freeze=["0", "[1-3]"]))
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"6.weight", "6.bias"}
    assert all(parameter.requires_grad for parameter in module.parameters())
    with pytest.raises(InputError, match="no module of this network is called 'layer9'"):
        fit(net(), images, settings=settings(freeze=["layer9"]))
    with pytest.raises(InputError, match="no weight of this network is left"):
        fit(net(), images, settings=settings(freeze=[".*"]))


def test_statistics_are_measured_again_before_judging(images: ImageSet) -> None:
    plain, measured = net(), net()
    first = fit(plain, split(images), settings=settings(), seed=1)
    second = fit(measured, split(images), settings=settings(bn_images=48), seed=1)
    assert [epoch.loss for epoch in first.epochs] == [epoch.loss for epoch in second.epochs], "training is the same"
    assert not torch.equal(plain[1].running_mean, measured[1].running_mean)
    pair = split(images)
    assert second.validation_accuracy == measure_accuracy(measured, pair.validation)
    assert second.epochs[second.best - 1].validation_loss == measure(measured, pair.validation)[0]


def test_several_batches_make_one_step(images: ImageSet) -> None:
    """Without batch norm, four batches of four are one of sixteen: both see the same images in the same order."""
    found = []
    for changes in ({"batch": 16}, {"batch": 4, "accumulate": 4}):
        module = net(plain=True)
        fit(module, images.take(64), settings=settings(epochs=2, **changes), seed=5)
        found.append(nn.utils.parameters_to_vector(module.parameters()).detach())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


class Unlabelled:
    """Learns to say nothing: there are no labels to say."""

    needs_labels = False

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.device = ""

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.labels is None
        logits: Tensor = module(batch.x)
        return logits.square().mean(), logits

    def begin_epoch(self, number: int) -> None:
        self.epochs.append(number)

    def to(self, device: str) -> None:
        self.device = device


def test_an_objective_may_need_no_labels(images: ImageSet) -> None:
    unlabelled = ImageSet(images.paths, None, preprocessing=images.preprocessing, root=images.root)
    objective = Unlabelled()
    history = fit(net(), unlabelled, settings=settings(epochs=3), objective=objective)
    assert [epoch.train_accuracy for epoch in history.epochs] == [None] * 3
    assert history.epochs[2].loss < history.epochs[0].loss
    assert (objective.epochs, objective.device) == ([1, 2, 3], "cpu")


@pytest.mark.parametrize("slow", [True, False])
def test_waiting_for_images_is_said_once(images: ImageSet, monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    fed = ImageFeed.epoch

    def epoch(self: ImageFeed, number: int) -> Iterator[FedBatch]:
        yield from fed(self, number)
        self.waited_s = 1e4 if slow else 0.0

    monkeypatch.setattr(ImageFeed, "epoch", epoch)
    monkeypatch.setattr(progress, "TELL_EVERY_S", 0.0)
    told: list[Event] = []
    history = fit(net(), images, settings=settings(), listener=told.append)
    assert history.epochs[1].waited_s == (1e4 if slow else 0.0)
    assert [event.code for event in told if isinstance(event, Warned)] == ["loader-bound"] * slow
    fine = [event for event in told if isinstance(event, Progress) and event.fine]
    assert [(event.done, event.total, event.unit) for event in fine] == [(n, 16, "step") for n in range(1, 17)]
    assert re.fullmatch(r"epoch 4/4, loss \d\.\d{3}, [\d.]+%, \d+/s, \d+ s left", fine[-1].note)


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
        {"augment": {"crop_padding": -1}},
        {"crop_padding": 1},
    ],
)
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        settings(**wrong)


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
    assert history.device == "cuda:0"
    assert next(module.parameters()).device.type == "cpu"
    assert measure_accuracy(module, images) > 0.95


def test_the_folder_of_the_images_is_only_read(images: ImageSet) -> None:
    before = sorted(path.name for path in Path(images.root).iterdir())
    fit(net(), images, settings=settings(epochs=1))
    assert sorted(path.name for path in Path(images.root).iterdir()) == before
