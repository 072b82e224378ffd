"""The best epoch of a training: chosen by the weights that are kept, the later of equal ones, doubted at chance."""

from __future__ import annotations

from dataclasses import replace

from colours import net, settings, split
from torch import nn

from edgecnn.core.events import Event, Warned
from edgecnn.data import ImageSet
from edgecnn.tasks.task import TOP_1
from edgecnn.train import Epoch, fit, measure_accuracy
from edgecnn.train.best_weights import BestWeights
from edgecnn.workflows.train import session


def slow_statistics() -> nn.Module:
    """A network whose batch norm never follows its weights: judged as it is trained, it says nothing."""
    module = net()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0
            nn.init.constant_(layer.running_mean, 1e3)
    return module


def at_chance(told: list[Event]) -> list[Warned]:
    return [event for event in told if isinstance(event, Warned) and event.code == "at-chance"]


def test_the_best_epoch_is_chosen_by_what_is_kept(images: ImageSet) -> None:
    told: list[Event] = []
    pair = split(images)
    without = fit(slow_statistics(), pair, settings=settings(), seed=1, listener=told.append)
    (warned,) = at_chance(told)
    assert "bn_images" in warned.hint
    module = slow_statistics()
    told.clear()
    found = fit(module, pair, settings=settings(bn_images=48), seed=1, listener=told.append)
    accuracies = [epoch.validation_accuracy for epoch in found.epochs]
    assert found.validation_accuracy == max(accuracies) == measure_accuracy(module, pair.validation)
    assert found.validation_accuracy > 0.9 > without.validation_accuracy
    assert not at_chance(told)
    assert [epoch.loss for epoch in found.epochs] == [epoch.loss for epoch in without.epochs], "training is the same"


def test_without_images_to_judge_on_the_last_epoch_is_measured(images: ImageSet) -> None:
    told: list[Event] = []
    module = slow_statistics()
    found = fit(module, images, settings=settings(bn_images=48), seed=1, listener=told.append)
    assert found.best == len(found.epochs)
    assert measure_accuracy(module, images) > 0.9
    assert not at_chance(told)


def test_of_equal_epochs_the_later_is_kept() -> None:
    module = nn.Linear(1, 1)
    best = BestWeights(module, TOP_1)
    epoch = Epoch(loss=1.0, train_accuracy=1.0, validation_accuracy=0.5, learning_rate=0.1, seconds=1.0)
    epoch = replace(epoch, validation_loss=2.0)
    assert best.offer(1, epoch, module) and best.offer(2, epoch, module)
    assert not best.offer(3, replace(epoch, validation_accuracy=0.4), module)
    assert not best.offer(4, replace(epoch, validation_loss=2.5), module)
    assert best.number == 2
    assert session._best([epoch, epoch, replace(epoch, validation_loss=2.5)], TOP_1) == 2, "so says the command"
