"""A run that was killed, interrupted or refused by the disk goes on where it was, and ends where it would have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import colours
import pytest
import torch
from colours import Dawdling, net, settings, split
from torch import Tensor, nn

from edgecnn.core.errors import EdgecnnError, InputError, StepError
from edgecnn.data import ImageSet
from edgecnn.train import TrainSettings, fit
from edgecnn.train.settings import Batch, Epoch, History
from edgecnn.train.state import LAST

EVERYTHING = {"epochs": 5, "batch": 4, "ema": 0.9, "accumulate": 2, "augment": {"flip": True}}
"""Twelve batches and six steps an epoch: dropout, batch norm, momenta and an average all have to come back."""


def whole(images: ImageSet, scratch: Path | None, chosen: TrainSettings, objective: Any = None) -> tuple[Any, History]:
    module = net()
    history = fit(module, split(images), settings=chosen, objective=objective or Dawdling(), scratch=scratch, seed=7)
    return module.state_dict(), history


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(value, second[name]) for name, value in first.items())


def stopped(images: ImageSet, scratch: Path, chosen: TrainSettings, *, after: str, by: Sequence[int]) -> int:
    """Train in another process that gets the signals `by` once it has said `after`; how it ended."""
    command = [sys.executable, colours.__file__, str(images.root), str(scratch / "out.pt"), "--scratch", str(scratch)]
    command += ["--settings", chosen.model_dump_json(), "--pause", "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == after:
                for number in by:
                    process.send_signal(number)
                break
        process.communicate(timeout=60)
    assert not (scratch / "out.pt").exists()
    return process.returncode


@pytest.mark.parametrize(
    ("changes", "after"),
    [({}, "batch 29"), ({"optimizer": "sgd", "learning_rate": 0.2, "mixed_precision": "bf16"}, "batch 41")],
)
def test_a_killed_run_ends_with_the_same_weights(
    images: ImageSet, tmp_path: Path, changes: dict[str, Any], after: str
) -> None:
    chosen = settings(**{**EVERYTHING, **changes})
    expected, history = whole(images, None, chosen)
    assert stopped(images, tmp_path, chosen, after=after, by=[signal.SIGKILL]) == -signal.SIGKILL
    objective = Dawdling()
    weights, resumed = whole(images, tmp_path, chosen, objective)
    assert 12 <= objective.seen < 60
    assert same(weights, expected)
    assert [epoch.loss for epoch in resumed.epochs] == [epoch.loss for epoch in history.epochs]
    assert (resumed.best, resumed.stopped) == (history.best, history.stopped)


def test_ctrl_c_saves_in_the_middle_of_an_epoch(images: ImageSet, tmp_path: Path) -> None:
    chosen = settings(**EVERYTHING)
    expected, history = whole(images, None, chosen)
    assert stopped(images, tmp_path, chosen, after="batch 16", by=[signal.SIGINT]) in (1, -signal.SIGINT)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert len(state["epochs"]) == 1
    assert state["done"] in (4, 6)
    objective = Dawdling()
    weights, resumed = whole(images, tmp_path, chosen, objective)
    assert objective.seen == 60 - 12 - state["done"]
    assert same(weights, expected)
    assert [epoch.loss for epoch in resumed.epochs] == [epoch.loss for epoch in history.epochs]


class Interrupting:
    """Sends itself a signal `times` at its first batch."""

    needs_labels = True

    def __init__(self, times: int, number: signal.Signals) -> None:
        self.left, self.asked, self.number = times, 0, number

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        while self.left:
            self.left -= 1
            signal.raise_signal(self.number)
            self.asked += 1
        logits: Tensor = module(batch.x)
        return logits.square().mean(), logits

    def to(self, device: str) -> None:
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_second_ctrl_c_ends_at_once(number: signal.Signals, images: ImageSet, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    once, twice = Interrupting(1, number), Interrupting(2, number)
    with pytest.raises(KeyboardInterrupt) as caught:
        fit(net(), images, settings=settings(), objective=once, scratch=tmp_path / "once")
    assert once.asked == 1
    assert caught.value.args == (number,)
    assert torch.load(tmp_path / "once" / LAST, weights_only=True)["done"] == 1
    with pytest.raises(KeyboardInterrupt):
        fit(net(), images, settings=settings(), objective=twice, scratch=tmp_path / "twice")
    assert twice.asked == 1
    assert not (tmp_path / "twice" / LAST).exists()
    assert signal.getsignal(number) is before


def test_ctrl_c_while_the_last_epoch_is_judged_is_not_lost(images: ImageSet, tmp_path: Path) -> None:
    def press(number: int, epoch: Epoch, module: nn.Module) -> None:
        signal.raise_signal(signal.SIGINT)

    module = net()
    with pytest.raises(KeyboardInterrupt):
        fit(module, images, settings=settings(epochs=1), scratch=tmp_path, watch=press)
    again = net()
    assert len(fit(again, images, settings=settings(epochs=1), scratch=tmp_path).epochs) == 1


def test_a_finished_run_is_only_read(images: ImageSet, tmp_path: Path) -> None:
    expected, history = whole(images, tmp_path, settings())
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"best-{history.best:04}.pt", LAST]
    idle = Dawdling()
    weights, again = whole(images, tmp_path, settings(), idle)
    assert idle.seen == 0
    assert same(weights, expected)
    assert again == history


def test_best_and_last_can_be_read_without_trust(images: ImageSet, tmp_path: Path) -> None:
    weights, history = whole(images, tmp_path, settings())
    assert same(torch.load(tmp_path / f"best-{history.best:04}.pt", weights_only=True), weights)
    last = torch.load(tmp_path / LAST, weights_only=True)
    assert set(last["stepper"]) == {"taken", "rate", "weights", "optimizer", "scaler", "average"}
    assert last["stepper"]["taken"] == 4 * 3


def test_the_state_of_another_run_is_refused(images: ImageSet, tmp_path: Path) -> None:
    whole(images, tmp_path, settings(epochs=1))

    def refusal(module: nn.Module, given: ImageSet, *, seed: int = 7, **changes: Any) -> InputError:
        with pytest.raises(InputError) as caught:
            fit(
                module,
                split(given),
                settings=settings(**{"epochs": 1, **changes}),
                objective=Dawdling(),
                scratch=tmp_path,
                seed=seed,
            )
        assert str(tmp_path) in caught.value.message
        assert str(tmp_path) in caught.value.hint
        return caught.value

    assert refusal(net(plain=True), images).code == "resume-architecture"
    assert refusal(net(), images.take(69)).code == "resume-data"
    assert refusal(net(), images, seed=8).why == "was 7, is now 8"
    other = refusal(net(), images, epochs=2, learning_rate=0.01)
    assert other.code == "resume-settings"
    assert other.why == "epochs was 1, is now 2, learning_rate was 0.02, is now 0.01"
    assert refusal(net(), images, mixed_precision="bf16").code == "resume-settings"
    fit(
        net(),
        split(images),
        settings=settings(epochs=1, cache="off"),
        objective=Dawdling(),
        scratch=tmp_path,
        seed=7,
    )


def test_a_damaged_state_is_called_so(images: ImageSet, tmp_path: Path) -> None:
    _, history = whole(images, tmp_path, settings(epochs=1))
    best = tmp_path / f"best-{history.best:04}.pt"
    for path in (best, tmp_path / LAST):
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(StepError) as caught:
            whole(images, tmp_path, settings(epochs=1))
        assert caught.value.code == "damaged-state"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """128 KiB, where this process may mount a file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "edgecnn-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if sys.platform == "linux" else None
    if done is None or done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip() if done else sys.platform}")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607


def test_a_full_disk_leaves_the_state_before_it(images: ImageSet, small_disk: Path) -> None:
    chosen = settings(**EVERYTHING)
    expected, _ = whole(images, None, chosen)
    filler = small_disk / "filler"

    def fill(number: int, epoch: Epoch, module: nn.Module) -> None:
        if number == 3:
            left = os.statvfs(small_disk)
            filler.write_bytes(bytes(left.f_bavail * left.f_frsize))

    with pytest.raises(EdgecnnError) as caught:
        fit(net(), split(images), settings=chosen, objective=Dawdling(), scratch=small_disk, seed=7, watch=fill)
    assert caught.value.code == "cannot-write"
    assert len(torch.load(small_disk / LAST, weights_only=True)["epochs"]) == 2
    filler.unlink()
    weights, _ = whole(images, small_disk, chosen)
    assert same(weights, expected)
