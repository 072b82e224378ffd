"""A plan of kept channels: written, read, refused when it makes no sense, and the network it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from prunable_networks import network
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.models import open_model, reopen, save
from edgecnn.models.pruned import Channels, PruningPlan, narrowed, skeleton
from edgecnn.models.weights import METADATA_KEY

HALF = tuple(range(0, 32, 2))
PLAN = PruningPlan(
    {
        "body.0.0": Channels(HALF),
        "body.0.1": Channels(HALF),
        "body.1.0": Channels(None, HALF),
    }
)
FACTORY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.second, self.head = nn.Conv2d(32, 32, 3, 2, 1), nn.Linear(32, num_classes)

    def forward(self, x):
        return self.head(self.second(torch.relu(self.norm(self.first(x)))).mean((2, 3)))


def net(num_classes=10):
    return Net(num_classes)
"""
NET_PLAN = PruningPlan({"first": Channels(HALF), "norm": Channels(HALF), "second": Channels(None, HALF)})


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(FACTORY)
    return f"{tmp_path / 'net.py'}:net"


def pruned_net(factory: str, **options: Any) -> nn.Module:
    from edgecnn.models import reference

    wanted = reference.parse(factory)
    assert isinstance(wanted, reference.Factory)
    return narrowed(reference.make(wanted, **options), NET_PLAN)


def test_a_plan_is_what_it_was_after_json() -> None:
    plan = PruningPlan({**PLAN.kept, "scale": Channels((0, 1, 2, 5), None, 0)})
    written = json.loads(json.dumps(plan.to_dict()))
    assert PruningPlan.from_dict(written) == plan
    assert written["kept"]["scale"] == {"dim": 0, "out": "0-2,5"}


def test_channels_are_taken_from_weights_statistics_and_counts() -> None:
    whole = network("plain")
    smaller = narrowed(whole, PLAN)
    convolution, norm, reader = (smaller.get_submodule(path) for path in ("body.0.0", "body.0.1", "body.1.0"))
    assert torch.equal(convolution.weight, whole.get_submodule("body.0.0").weight[list(HALF)])
    assert torch.equal(norm.running_var, whole.get_submodule("body.0.1").running_var[list(HALF)])
    assert torch.equal(reader.weight, whole.get_submodule("body.1.0").weight[:, list(HALF)])
    assert (convolution.out_channels, norm.num_features, reader.in_channels) == (16, 16, 16)
    assert convolution.weight.requires_grad
    assert whole.get_submodule("body.0.0").out_channels == 32


def test_a_plan_of_a_pruned_network_is_told_as_one_of_the_whole() -> None:
    whole = network("plain")
    first = narrowed(whole, PLAN)
    left = (1, 3, 15)
    later = PruningPlan(
        {
            "body.0.0": Channels(left),
            "body.0.1": Channels(left),
            "body.1.0": Channels((0, 7), left),
        }
    )
    later = PruningPlan({**later.kept, "body.1.1": Channels((0, 7)), "body.2.0": Channels(None, (0, 7))})
    both = later.after(PLAN)
    assert both.kept["body.0.0"] == Channels((2, 6, 30))
    assert both.kept["body.1.0"] == Channels((0, 7), (2, 6, 30))
    once, twice = narrowed(whole, both).state_dict(), narrowed(first, later).state_dict()
    assert all(torch.equal(once[key], value) for key, value in twice.items())


def test_a_skeleton_has_shapes_and_no_weights() -> None:
    bare = skeleton(network("plain"))
    assert all(item.is_meta for item in (*bare.parameters(), *bare.buffers()))
    assert bare(torch.zeros(1, 3, 32, 32, device="meta")).shape == (1, 5)


HOSTILE: dict[str, Any] = {
    "no mapping": ["version", 1],
    "another version": {"version": 2, "kept": {}},
    "no channels": {"version": 1},
    "a list": {"version": 1, "kept": {"first": {"out": [0, 1]}}},
    "unknown words": {"version": 1, "kept": {"first": {"out": "0-3", "run": "rm"}}},
    "nothing": {"version": 1, "kept": {"first": {}}},
    "billions": {"version": 1, "kept": {"first": {"out": "0-9999999"}}},
    "digits without end": {"version": 1, "kept": {"first": {"out": "9" * 10_000}}},
    "backwards": {"version": 1, "kept": {"first": {"out": "7-3"}}},
    "twice": {"version": 1, "kept": {"first": {"out": "0-3,3"}}},
    "negative": {"version": 1, "kept": {"first": {"out": "-1"}}},
    "a dimension that is a truth value": {"version": 1, "kept": {"first.weight": {"out": "0", "dim": True}}},
    "a dimension far away": {"version": 1, "kept": {"first.weight": {"out": "0", "dim": 4_000}}},
}
WRONG: dict[str, Any] = {
    "no such module": {"third": {"out": "0-3"}},
    "a private attribute": {"__class__": {"out": "0"}},
    "no such channel": {"first": {"out": "0-40"}},
    "no channels in it": {"": {"out": "0-3"}},
    "no such parameter": {"first.gain": {"out": "0", "dim": 0}},
    "no such dimension": {"first.weight": {"out": "0", "dim": 5}},
    "weights that are not those": {"first": {"out": "0-14"}, "norm": {"out": "0-14"}, "second": {"in": "0-14"}},
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_plan_that_makes_no_sense_is_refused(raw: Any) -> None:
    with pytest.raises(InputError) as raised:
        PruningPlan.from_dict(raw)
    assert raised.value.code == "bad-plan"


@pytest.mark.parametrize("kept", WRONG.values(), ids=WRONG)
def test_a_file_whose_plan_does_not_fit_is_refused(kept: Any, factory: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with_plan(path, pruned_net(factory), {"version": 1, "kept": kept}, architecture=factory)
    with pytest.raises(InputError) as raised:
        open_model(path, architecture=factory)
    assert raised.value.code == "bad-plan"
    assert "--model" not in raised.value.hint


def test_a_plan_that_keeps_fewer_channels_than_the_weights_have(factory: str, tmp_path: Path) -> None:
    """Whatever the architecture: the file contradicts itself."""
    path, kept = tmp_path / "net.safetensors", {key: {"out": "0-4"} for key in ("first", "norm")}
    with_plan(path, pruned_net(factory), {"version": 1, "kept": kept}, architecture=factory)
    for architecture in (factory, "resnet18", f"{factory}(4)"):
        with pytest.raises(InputError) as raised:
            open_model(path, architecture=architecture)
        assert raised.value.code == "bad-plan"
        assert raised.value.why == "it keeps 5 channels of 'first', and the weights have 16"


def test_another_network_than_it_was_pruned_from(factory: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with_plan(path, pruned_net(factory), NET_PLAN.to_dict(), architecture=factory)
    with pytest.raises(InputError) as raised:
        open_model(path, architecture="torchvision:resnet18")
    assert raised.value.code == "architecture-mismatch"
    assert raised.value.hint == f"name that one: --model {factory}"
    with_plan(path, pruned_net(factory), NET_PLAN.to_dict(), architecture="")
    with pytest.raises(InputError) as raised:
        open_model(path, architecture="torchvision:resnet18")
    assert raised.value.code == "architecture-mismatch"


def test_a_pruned_file_that_miscounts_its_classes(factory: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, pruned_net(factory, num_classes=4), architecture=factory, num_classes=9, plan=NET_PLAN)
    with pytest.raises(InputError) as raised:
        open_model(path, architecture=factory)
    assert raised.value.code == "damaged-metadata"
    assert raised.value.why == "it says 9 classes, and the weights have 4"


def with_plan(path: Path, module: nn.Module, plan: Any, *, architecture: str) -> None:
    """A file as an attacker may write it."""
    from safetensors.torch import save_file

    about = {"architecture": architecture, "num_classes": 10, "edgecnn_plan": plan}
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path, {METADATA_KEY: json.dumps(about)})


def test_groups_of_a_convolution_have_to_stay_equal() -> None:
    left = tuple(range(12))
    with pytest.raises(InputError, match="cannot be used") as raised:
        narrowed(network("grouped"), PruningPlan({"body.1.0": Channels(left)}))
    assert "4 groups" in raised.value.why


def test_a_network_of_the_users_own_comes_back_bit_for_bit(factory: str, tmp_path: Path) -> None:
    module, path = pruned_net(factory), tmp_path / "net.safetensors"
    save(path, module, architecture=factory, num_classes=10, plan=NET_PLAN, history=("prune",))
    with pytest.raises(InputError) as raised:
        open_model(path)
    assert raised.value.code == "architecture-is-code"
    opened = open_model(path, architecture=factory)
    assert opened.plan == NET_PLAN
    assert opened.form == "safetensors, pruned"
    assert any("1 of the 3 layers" in note for note in opened.notes)
    assert_equal(opened.module(), module)


def test_what_this_program_wrote_itself_is_reopened_with_its_code(factory: str, tmp_path: Path) -> None:
    module, path = pruned_net(factory, num_classes=7), tmp_path / "net.safetensors"
    save(path, module, architecture=factory, num_classes=7, plan=NET_PLAN)
    opened = reopen(path, near=("resnet18", factory))
    assert (opened.num_classes, opened.name) == (7, factory)
    assert_equal(opened.module(), module)


def test_code_that_lies_elsewhere_by_now_is_found_where_the_user_says(factory: str, tmp_path: Path) -> None:
    module, path = pruned_net(factory), tmp_path / "net.safetensors"
    save(path, module, architecture="gone/net.py:net", plan=NET_PLAN)
    assert_equal(reopen(path, near=(factory,)).module(), module)
    for near in ((), (factory.replace(":net", ":Net"),), ("resnet18",), ("not a name",)):
        with pytest.raises(InputError) as raised:
            reopen(path, near=near)
        assert raised.value.code == "architecture-is-code"


def test_code_that_only_the_file_names_is_not_run(factory: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('run')")
    path = tmp_path / "net.safetensors"
    save(path, pruned_net(factory), architecture=f"{tmp_path / 'planted.py'}:net", plan=NET_PLAN)
    with pytest.raises(InputError) as raised:
        reopen(path)
    assert raised.value.code == "architecture-is-code"


def test_a_registered_network_comes_back_bit_for_bit(tmp_path: Path) -> None:
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = torchvision.models.squeezenet1_1(weights=None, num_classes=6).eval()
    left = tuple(range(0, 64, 4))
    plan = PruningPlan(
        {
            "features.3.expand1x1": Channels(left),
            "features.4.squeeze": Channels(None, (*left, *range(64, 128))),
        }
    )
    module, path = narrowed(whole, plan), tmp_path / "squeeze.safetensors"
    save(path, module, architecture="torchvision:squeezenet1_1", plan=plan)
    for opened in (open_model(path), open_model(path, architecture="squeezenet1_1"), reopen(path)):
        assert (opened.num_classes, opened.plan) == (6, plan)
        assert_equal(opened.module(), module)
    with pytest.raises(InputError):
        open_model(path, architecture="resnet18")


def test_a_pruned_timm_network_comes_back_bit_for_bit(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = timm.create_model("test_resnet", num_classes=6, in_chans=1).eval()
    path = next(name for name, item in whole.named_modules() if name.endswith("layer1.0.conv1"))
    width = whole.get_submodule(path).out_channels
    left, norm, reader = tuple(range(width // 2)), path.replace("conv1", "bn1"), path.replace("conv1", "conv2")
    plan = PruningPlan({path: Channels(left), norm: Channels(left), reader: Channels(None, left)})
    module, file = narrowed(whole, plan), tmp_path / "net.safetensors"
    save(file, module, architecture="timm:test_resnet", plan=plan)
    opened = open_model(file)
    assert (opened.num_classes, opened.input_shape[0]) == (6, 1)
    assert_equal(opened.module(), module)


def test_a_pruned_file_has_to_say_of_which_network(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with_plan(path, network("plain"), PLAN.to_dict(), architecture="")
    with pytest.raises(InputError) as raised:
        open_model(path)
    assert raised.value.code == "architecture-unknown"


def assert_equal(found: nn.Module, wanted: nn.Module) -> None:
    found_state, wanted_state = found.state_dict(), wanted.state_dict()
    assert list(found_state) == list(wanted_state)
    assert all(torch.equal(found_state[key], value) for key, value in wanted_state.items())
