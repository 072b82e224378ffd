"""Averages of weights and of statistics, and random numbers that come again."""

from __future__ import annotations

import pytest
import torch
from colours import net
from torch import nn

from edgecnn.data import ImageSet
from edgecnn.train.averaging import WeightAverage
from edgecnn.train.norms import reestimate
from edgecnn.train.randomness import Randomness, restored

CPU = torch.device("cpu")


def test_the_average_follows_and_goes_back() -> None:
    module = nn.BatchNorm1d(2)
    average = WeightAverage(module, 0.5)
    expected = 0.0
    for step in range(1, 12):
        with torch.no_grad():
            module.weight.fill_(float(step))
            module.running_mean.fill_(float(-step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * (1.0 if step == 1 else expected) + (1 - decay) * step
    with average.applied():
        assert module.weight.tolist() == pytest.approx([expected] * 2)
        assert float(module.running_mean[0]) == pytest.approx(-expected, abs=0.2)
    assert module.weight.tolist() == [11.0, 11.0]
    copied = WeightAverage(nn.BatchNorm1d(2), 0.5)
    copied.load_state_dict(average.state_dict())
    assert copied.state_dict()["steps"] == 11
    assert torch.equal(copied.state_dict()["kept"][0], average.state_dict()["kept"][0])


def test_statistics_are_those_of_the_images(images: ImageSet) -> None:
    module = net().eval()
    weights = [value.clone() for value in module.parameters()]
    assert reestimate(module, images, count=70, batch=70) == 1
    x = torch.from_numpy(next(images.batches(70)))
    seen = module[0](x)
    torch.testing.assert_close(module[1].running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module[1].running_var, seen.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert not any(part.training for part in module.modules())
    assert module[1].momentum == 0.1
    assert all(torch.equal(now, then) for now, then in zip(module.parameters(), weights, strict=True))


def test_few_batches_come_close_and_what_is_kept_stays(images: ImageSet) -> None:
    exact, close = net(), net()
    reestimate(exact, images, count=70, batch=70)
    reestimate(close, images, count=65, batch=16, seed=3)
    torch.testing.assert_close(exact[1].running_var, close[1].running_var, rtol=0.3, atol=0.01)
    assert int(close[1].num_batches_tracked) == 4
    still = net()
    assert reestimate(still, images, count=64, keep=[still[1]]) == 0
    assert torch.equal(still[1].running_mean, torch.zeros(8))
    assert reestimate(net(plain=True), images, count=64) == 0


def test_random_numbers_depend_on_where_one_is() -> None:
    def drawn(seed: int, rank: int, epoch: int, batch: int) -> float:
        Randomness(seed, rank, CPU).set(epoch, batch)
        return float(torch.rand(()))

    before = torch.random.get_rng_state()
    with restored(CPU):
        assert torch.backends.cudnn.deterministic
        assert drawn(1, 0, 2, 3) == drawn(1, 0, 2, 3)
        places = [(s, r, e, b) for s in (0, 1, -1) for r in (0, 1) for e in (1, 2) for b in (0, 1)]
        assert len({drawn(*place) for place in places}) == len(places)
    assert torch.equal(torch.random.get_rng_state(), before)
