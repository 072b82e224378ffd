"""Reading weights: every form people keep them in, and every file that is refused."""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.models import read_weights


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def write(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def same(state: dict[str, torch.Tensor], module: nn.Module) -> bool:
    wanted = module.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(state[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    "name", ["model_state_dict", "state_dict", "model", "ema", "model_ema", "state_dict_ema", "net"]
)
def test_a_state_dict_in_a_dict(tmp_path: Path, name: str) -> None:
    weights = read_weights(
        write(tmp_path / "c.pth", {name: small().state_dict(), "epoch": 3, "class_names": ["a", "b", "c"]})
    )
    assert same(weights.state, small())
    assert weights.form == f"dict with '{name}'"
    assert weights.metadata == {"epoch": 3, "class_names": ["a", "b", "c"]}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_bare_state_dict_under_a_misleading_suffix(tmp_path: Path, zipped: bool) -> None:
    path = write(tmp_path / "weights.onnx", small().state_dict(), _use_new_zipfile_serialization=zipped)
    weights = read_weights(path)
    assert same(weights.state, small())
    assert weights.form == "state_dict"
    assert weights.notes == ()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_prefix_on_every_key_is_taken_off(tmp_path: Path, prefix: str) -> None:
    state = {prefix + key: value for key, value in small().state_dict().items()}
    weights = read_weights(write(tmp_path / "c.ckpt", {"state_dict": state}))
    assert same(weights.state, small())
    assert weights.prefix == prefix


def test_a_prefix_on_some_keys_is_part_of_their_names(tmp_path: Path) -> None:
    state = {"model.0.weight": torch.ones(2), "head.weight": torch.ones(2)}
    assert set(read_weights(write(tmp_path / "c.pth", state)).state) == set(state)


def averaged() -> dict[str, torch.Tensor]:
    return {key: torch.zeros_like(value) for key, value in small().state_dict().items()}


@pytest.mark.parametrize(
    ("plain", "average", "takes_average"),
    [("state_dict", "state_dict_ema", True), ("model", "model_ema", True), ("model", "ema", False)],
    ids=["timm", "torchvision", "other"],
)
def test_of_weights_and_their_average_those_timm_reads_are_taken_and_it_says_so(
    tmp_path: Path, plain: str, average: str, takes_average: bool
) -> None:
    path = write(tmp_path / "c.pth", {plain: small().state_dict(), average: averaged()})
    weights = read_weights(path)
    assert same(weights.state, small()) is not takes_average
    assert f"under '{plain if takes_average else average}'" in weights.notes[0]
    assert "--weights NAME" in weights.notes[0]
    assert same(read_weights(path, name=plain).state, small())
    named = read_weights(path, name="ema")
    assert not any(value.any() for value in named.state.values())
    assert named.notes == ()


def test_weights_may_be_named_by_what_their_keys_begin_with(tmp_path: Path) -> None:
    both = {f"teacher.{key}": value for key, value in averaged().items()}
    both |= {f"student.{key}": value for key, value in small().state_dict().items()}
    path = write(tmp_path / "c.ckpt", {"state_dict": both})
    weights = read_weights(path, name="student")
    assert {key.removeprefix("student.") for key in weights.state} == set(small().state_dict())


@pytest.mark.parametrize("content", [{"state_dict": small().state_dict()}, small().state_dict()], ids=["dict", "bare"])
def test_weights_that_are_not_there_are_refused_with_what_is(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError) as caught:
        read_weights(write(tmp_path / "c.pth", content), name="ema")
    assert caught.value.code == "no-such-weights"
    assert caught.value.hint


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_versions_of_the_state_are_kept_under_the_names_of_the_tensors(tmp_path: Path, prefix: str) -> None:
    state = small().state_dict(prefix=prefix)
    versions = read_weights(write(tmp_path / "c.pth", state)).versions
    assert versions["1"] == {"version": 2}
    assert versions[""] == {"version": 1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_with_a_note(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = read_weights(write(tmp_path / "c.pth", small().to(dtype).state_dict()))
    assert {value.dtype for value in weights.state.values()} == {torch.float32, torch.int64}
    assert weights.dtype in weights.notes[0]


def test_arguments_and_numpy_numbers_beside_the_weights_are_read(tmp_path: Path) -> None:
    content = {
        "state_dict": small().state_dict(),
        "args": argparse.Namespace(arch="resnet18", lr=0.1),
        "best": np.float64(0.5),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
    }
    weights = read_weights(write(tmp_path / "c.pth", content))
    assert weights.metadata["arch"] == "resnet18"
    assert "optimizer" not in weights.metadata


def test_safetensors_with_metadata(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(small().state_dict(), tmp_path / "c.bin", metadata={"arch": "resnet18"})
    weights = read_weights(tmp_path / "c.bin")
    assert (weights.form, weights.metadata) == ("safetensors", {"arch": "resnet18"})
    assert same(weights.state, small())


def exported(path: Path) -> Path:
    program = torch.export.export(small().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, path)
    return path


def test_a_torch_export_archive(tmp_path: Path) -> None:
    weights = read_weights(exported(tmp_path / "c.pt2"))
    assert weights.form == "pt2"
    assert same(weights.state, small())
    assert weights.metadata["input_size"] == (3, 8, 8)


@pytest.mark.parametrize("graph", [b"", b"[]", b'{"graph_module": {"graph": {"nodes": 3}}}', b"[" * 100_000])
def test_an_archive_whose_graph_cannot_be_read_still_has_its_weights(tmp_path: Path, graph: bytes) -> None:
    source, path = exported(tmp_path / "c.pt2"), tmp_path / "odd.pt2"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, graph if name.endswith("models/model.json") else old.read(name))
    weights = read_weights(path)
    assert same(weights.state, small())
    assert (weights.graph, weights.metadata) == (None, {})


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = write(tmp_path / "c.pth", {"state_dict": small().state_dict(), "x": Bomb(tmp_path / "ran")})
    with pytest.raises(InputError) as caught:
        read_weights(path)
    assert caught.value.code == "unsafe-file"
    assert "state_dict()" in caught.value.hint
    assert not (tmp_path / "ran").exists()


def test_a_plain_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "c.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    with pytest.raises(InputError):
        read_weights(tmp_path / "c.pth")
    assert not (tmp_path / "ran").exists()


def test_code_hidden_in_an_export_archive_is_not_run(tmp_path: Path) -> None:
    source, path = exported(tmp_path / "c.pt2"), tmp_path / "bomb.pt2"
    hidden = io.BytesIO()
    torch.save(Bomb(tmp_path / "ran"), hidden)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("weight_0"):
                content = hidden.getvalue()
            if name.endswith("_weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            new.writestr(name, content)
    with pytest.raises(InputError) as caught:
        read_weights(path)
    assert caught.value.code == "unsafe-file"
    assert not (tmp_path / "ran").exists()


def test_a_whole_module_is_refused_with_how_to_save_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_weights(write(tmp_path / "c.pth", small()))
    assert caught.value.code == "unsafe-file"
    assert "Sequential" in caught.value.why
    assert "torch.save(model.state_dict()" in caught.value.hint


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.trace(small().eval(), torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "c.pt"))
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "c.pt")
    assert caught.value.code == "torchscript"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zipped_half(path: Path) -> None:
    cut(write(path, small().state_dict()))


def legacy_half(path: Path) -> None:
    cut(write(path, small().state_dict(), _use_new_zipfile_serialization=False))


def safetensors_half(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(small().state_dict(), path)
    cut(path)


def pt2_half(path: Path) -> None:
    cut(exported(path))


@pytest.mark.parametrize("make", [zipped_half, legacy_half, safetensors_half, pt2_half])
def test_half_a_file_is_called_incomplete(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "c.pt2"
    make(path)
    with pytest.raises(InputError) as caught:
        read_weights(path)
    assert caught.value.code == "truncated-file"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "not-a-checkpoint"),
        (b"<!DOCTYPE html><html></html>", "not-a-checkpoint"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "not-a-checkpoint"),
        (b"hello, this is a text", "not-a-checkpoint"),
        (b"x", "not-a-checkpoint"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(64), "exported-model"),
        (pickle.dumps([1, 2, 3]), "not-a-checkpoint"),
    ],
)
def test_other_files_are_told_by_content(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "c.pth")
    assert caught.value.code == code
    assert caught.value.hint


def test_an_onnx_file_is_told_by_content(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    onnx.save(helper.make_model(helper.make_graph([], "g", [value], [value])), tmp_path / "c.pth")
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "c.pth")
    assert caught.value.code == "exported-model"
    assert "edgecnn inspect" in caught.value.hint


def test_a_missing_file_names_a_near_one(tmp_path: Path) -> None:
    write(tmp_path / "model_best.pth", small().state_dict())
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "model_bets.pth")
    assert caught.value.code == "no-such-file"
    assert "model_best.pth" in caught.value.hint


def test_a_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path)
    assert caught.value.code == "not-a-file"


@pytest.mark.parametrize("content", [{"epoch": 1, "loss": 0.5}, [1, 2], torch.ones(3), {}, {"state_dict": {}}])
def test_a_file_without_weights(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError) as caught:
        read_weights(write(tmp_path / "c.pth", content))
    assert caught.value.code == "no-weights"


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    state = small().state_dict()
    state["5.bias"][0] = float("nan")
    with pytest.raises(InputError) as caught:
        read_weights(write(tmp_path / "c.pth", state))
    assert caught.value.code == "weights-not-finite"
    assert "5.bias" in caught.value.why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"architecture": "resnet18", "num_cl', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("", "no JSON"),
        ("[1, 2]", "a list, not an object"),
        ("null", "a NoneType, not an object"),
        ('{"num_classes": "four"}', "'num_classes' is 'four'"),
        ('{"num_classes": 0}', "'num_classes' is 0"),
        ('{"num_classes": true}', "'num_classes' is True"),
        ('{"architecture": 18}', "'architecture' is 18"),
    ],
    ids=["cut", "deep", "empty", "list", "null", "word", "none", "truth", "architecture"],
)
def test_damaged_metadata_is_called_so(tmp_path: Path, text: str, says: str) -> None:
    from safetensors.torch import save_file

    save_file(small().state_dict(), tmp_path / "c.safetensors", metadata={"edgecnn": text})
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "c.safetensors")
    assert caught.value.code == "damaged-metadata"
    assert says in caught.value.why
    assert caught.value.hint
