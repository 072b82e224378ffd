"""The demo's checkpoint: quick to train, accurate, safe to load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import open_data
from edgecnn.data.demo import write_digits
from edgecnn.train import measure_accuracy
from edgecnn.train.demo import train_demo
from edgecnn.train.resnet_small import resnet_small


@pytest.mark.slow
def test_the_demo_reaches_ninety_eight_and_a_half_percent(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    out = train_demo(tmp_path / "digits", tmp_path / "runs" / "digits.pth")

    checkpoint = torch.load(out, weights_only=True)
    preprocessing = Preprocessing.from_dict(checkpoint["preprocessing"])
    assert checkpoint["architecture"] == "edgecnn.train.resnet_small:resnet_small"
    assert checkpoint["class_names"] == [str(digit) for digit in range(10)]
    assert [path.name for path in out.parent.iterdir()] == ["digits.pth"]

    module = resnet_small(checkpoint["num_classes"])
    module.load_state_dict(checkpoint["state_dict"])
    data = open_data(tmp_path / "digits", num_classes=10, preprocessing=preprocessing)
    assert measure_accuracy(module.eval(), data.evaluation) >= 0.985


def test_unusable_data_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        train_demo(tmp_path / "nowhere", tmp_path / "out.pth")


def test_a_disk_that_refuses_is_a_step_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StepError, match="cannot write"):
        write_digits(tmp_path / "file" / "digits")
