"""From a checkpoint to its network: found, given; and back to a file."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from checkpoints import equal, stored, tv

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import open_model, save


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_a_bare_state_dict_is_recognised(tmp_path: Path, name: str) -> None:
    network = tv(name, 7)
    model = open_model(stored(tmp_path, network))
    assert (model.name, model.num_classes, model.input_shape) == (f"torchvision:{name}", 7, (3, 224, 224))
    assert model.preprocessing_source == "torchvision"
    assert model.preprocessing == Preprocessing()
    assert model.parameters == sum(item.numel() for item in network.parameters())
    assert equal(model.module(), network)


def test_every_module_is_fresh(tmp_path: Path) -> None:
    model = open_model(stored(tmp_path, tv("squeezenet1_1", 2)))
    first, second = model.module(), model.module()
    assert not first.training
    assert all(item.requires_grad for item in first.parameters())
    next(first.parameters()).data.zero_()
    assert next(second.parameters()).abs().sum() > 0


def test_old_checkpoints_without_batch_counters_fit(tmp_path: Path) -> None:
    network = tv("mobilenet_v3_small", 3)
    state = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "c.pth")
    assert equal(open_model(tmp_path / "c.pth").module(), network)


def test_the_architecture_the_file_states_is_taken(tmp_path: Path) -> None:
    path = stored(tmp_path, tv("resnet18", 4), arch="resnet18", class_names=["a", "b", "c", "d"], input_size=64)
    model = open_model(path)
    assert (model.name, model.input_shape, model.class_names) == (
        "torchvision:resnet18",
        (3, 64, 64),
        ("a", "b", "c", "d"),
    )
    assert model.preprocessing is not None
    assert model.preprocessing.crop == (64, 64)


def test_a_stated_architecture_that_does_not_fit_gives_way_with_a_note(tmp_path: Path) -> None:
    model = open_model(stored(tmp_path, tv("squeezenet1_1", 4), arch="resnet18"))
    assert model.name == "torchvision:squeezenet1_1"
    assert "'resnet18', which does not fit" in model.notes[0]


def test_class_names_of_another_number_are_left_aside_with_a_note(tmp_path: Path) -> None:
    model = open_model(stored(tmp_path, tv("squeezenet1_1", 4), classes=["a", "b"]))
    assert model.class_names is None
    assert "2 names for 4 outputs" in model.notes[0]


def test_code_named_by_a_file_is_not_run(tmp_path: Path, user_file: Path) -> None:
    marker = tmp_path / "ran"
    user_file.write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, tv("squeezenet1_1", 2), architecture=f"{user_file}:Net"))
    assert caught.value.code == "architecture-is-code"
    assert not marker.exists()


def test_what_a_file_says_is_no_shell_command(tmp_path: Path) -> None:
    text = "a.b:f'; touch ran #"
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, tv("squeezenet1_1", 2), architecture=text))
    assert shlex.split(caught.value.hint)[-2:] == ["--model", text]


def test_a_file_may_name_the_network_of_this_package(tmp_path: Path) -> None:
    from edgecnn.train.resnet_small import resnet_small

    own = "edgecnn.train.resnet_small:resnet_small"
    save(tmp_path / "c.safetensors", resnet_small(num_classes=4), architecture=own)
    model = open_model(tmp_path / "c.safetensors")
    assert (model.name, model.num_classes) == (own, 4)


def test_what_is_saved_opens_bit_for_bit(tmp_path: Path) -> None:
    network, prepared = tv("resnet18", 3), Preprocessing(crop=(32, 32), resize=None, mean=(0.5,) * 3, std=(0.25,) * 3)
    path = tmp_path / "c.safetensors"
    save(
        path,
        network,
        architecture="torchvision:resnet18",
        num_classes=3,
        preprocessing=prepared,
        class_names=["x", "y", "z"],
    )
    model = open_model(path)
    assert (model.name, model.form, model.class_names) == ("torchvision:resnet18", "safetensors", ("x", "y", "z"))
    assert (model.preprocessing, model.preprocessing_source) == (prepared, "checkpoint")
    assert model.input_shape == (3, 32, 32)
    opened = model.module().state_dict()
    assert all(torch.equal(value, opened[key]) for key, value in network.state_dict().items())


def test_other_preprocessing_changes_the_input(tmp_path: Path) -> None:
    model = open_model(stored(tmp_path, tv("squeezenet1_1", 3)))
    assert model.with_preprocessing(Preprocessing(crop=(96, 64), resize=96)).input_shape == (3, 96, 64)
    with pytest.raises(InputError) as caught:
        model.with_preprocessing(Preprocessing(color="L", mean=(0.5,), std=(0.5,)))
    assert caught.value.code == "channels-differ"
    with pytest.raises(StepError) as failed:
        model.with_preprocessing(Preprocessing(crop=(4, 4), resize=None))
    assert failed.value.code == "forward-failed"
