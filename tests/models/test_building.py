"""A network to train: which weights of a file it takes, where its head starts anew, which rates it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.models import open_model, save
from edgecnn.models.building import build, with_training_flags
from edgecnn.models.cost import smallest_feature_map
from edgecnn.models.pruned import Channels, PruningPlan, narrowed

OWN = "edgecnn.train.resnet_small:resnet_small"
NAMES = ("ant", "bee", "cat")
SMALL = Preprocessing(crop=(32, 32), resize=None)
# The smallest of each library.
TORCHVISION, TIMM = "squeezenet1_1", "timm:lcnet_035"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "three.safetensors"
    module = build(OWN, num_classes=3).module
    with torch.no_grad():
        module.get_parameter("fc.bias").fill_(7)
    save(path, module, architecture=OWN, num_classes=3, preprocessing=SMALL, class_names=NAMES)
    return path


@pytest.mark.parametrize(
    ("architecture", "name", "code"),
    [(TORCHVISION, f"torchvision:{TORCHVISION}", False), (TIMM, TIMM, False), (OWN, OWN, False)],
)
def test_fresh_networks_have_the_classes_asked_for(architecture: str, name: str, code: bool) -> None:
    built = build(architecture, num_classes=5)
    assert (built.architecture, built.needs_model, built.taken) == (name, code, None)
    assert built.module(torch.zeros(1, *built.input_shape)).shape == (1, 5)
    assert all(parameter.requires_grad for parameter in built.module.parameters())


def test_a_factory_of_the_users_is_named_as_code(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes=2, width=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(width, num_classes))\n"
    )
    built = build(f"{tmp_path}/net.py:net(width=6)", num_classes=9)
    assert built.needs_model
    assert built.module.get_parameter("0.weight").shape[0] == 6
    assert built.module.get_parameter("3.weight").shape == (9, 6)
    assert [digest for _, digest in built.source_files]


def test_googlenet_is_built_without_the_heads_that_only_training_has() -> None:
    module = build("googlenet", num_classes=3).module.train()
    assert isinstance(module(torch.zeros(2, 3, 64, 64)), torch.Tensor)


def test_the_same_seed_gives_the_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(OWN, num_classes=4).module.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_all_weights_are_taken_where_the_classes_are_the_same(file: Path) -> None:
    built = build(OWN, num_classes=3, class_names=("cat", "ant", "bee"), pretrained=file)
    assert built.taken is not None
    assert built.taken.fresh == ()
    assert built.taken.class_names == NAMES
    assert (built.preprocessing, built.preprocessing_source) == (SMALL, "checkpoint")
    assert torch.equal(built.module.get_parameter("fc.bias"), torch.full((3,), 7.0))
    original = open_model(file).module().state_dict()
    assert all(torch.equal(original[key], value) for key, value in built.module.state_dict().items())


@pytest.mark.parametrize(
    ("num_classes", "names", "why"),
    [
        (5, None, "3 classes there, 5 here"),
        (3, ("ant", "bee", "dog"), "other classes there: cat"),
    ],
)
def test_the_head_starts_anew_for_other_classes(
    num_classes: int, names: tuple[str, ...] | None, why: str, file: Path
) -> None:
    built = build(OWN, num_classes=num_classes, class_names=names, pretrained=file)
    assert built.taken is not None
    assert built.taken.fresh == ("fc.weight", "fc.bias")
    assert why in str(built.taken)
    assert not (built.module.get_parameter("fc.bias") == 7).any()
    assert torch.equal(
        built.module.get_parameter("conv1.weight"), open_model(file).module().get_parameter("conv1.weight")
    )


def test_a_file_without_a_head_gives_the_body(file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    body = {key: value for key, value in load_file(file).items() if not key.startswith("fc.")}
    save_file(body, tmp_path / "body.safetensors")
    taken = build(OWN, num_classes=3, pretrained=tmp_path / "body.safetensors").taken
    assert taken is not None
    assert (taken.fresh, taken.why) == (("fc.weight", "fc.bias"), "the file has no such head")


def test_weights_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(TORCHVISION, num_classes=3, pretrained=file)
    assert caught.value.code == "architecture-mismatch"
    assert "--model" not in str(with_training_flags(caught.value))


def test_the_file_says_which_network_where_nothing_else_does(file: Path) -> None:
    assert build(None, num_classes=3, pretrained=file).architecture == OWN


def test_rates_are_set_where_the_network_has_them() -> None:
    module = build("efficientnet_b0", num_classes=3, dropout=0.4, stochastic_depth=0.3).module
    assert [item.p for item in module.modules() if isinstance(item, nn.Dropout)] == [0.4]
    depths = [item.p for item in module.modules() if type(item).__name__ == "StochasticDepth"]
    assert depths == sorted(depths)
    assert depths[0] == pytest.approx(0.3 / len(depths))
    assert depths[-1] == pytest.approx(0.3)
    made = build("timm:resnet10t", num_classes=3, dropout=0.4, stochastic_depth=0.3).module
    assert made.drop_rate == 0.4
    assert max(item.drop_prob for item in made.modules() if type(item).__name__ == "DropPath") == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("architecture", "rate", "code"),
    [
        ("resnet18", "dropout", "no-dropout"),
        ("convnext_tiny", "dropout", "no-dropout"),  # its constructor takes the word, and does nothing with it
        ("resnet18", "stochastic_depth", "no-stochastic-depth"),
        ("timm:vgg11", "stochastic_depth", "no-stochastic-depth"),
    ],
)
def test_a_rate_of_nothing_is_refused(architecture: str, rate: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        build(architecture, num_classes=3, **{rate: 0.2})  # type: ignore[arg-type]
    assert caught.value.code == code


def test_how_small_images_become() -> None:
    assert smallest_feature_map(build(OWN, num_classes=3).module, (3, 32, 32)) == (8, 8)
    assert (
        smallest_feature_map(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 9, 9))
        is None
    )


FEW = tuple(range(0, 64, 4))
LAST = ("blocks.4.conv2", "blocks.4.bn2", "blocks.4.downsample.0", "blocks.4.downsample.1", "blocks.5.conv2")
PLAN = PruningPlan(
    {
        **dict.fromkeys((*LAST, "blocks.5.bn2"), Channels(FEW)),
        "blocks.5.conv1": Channels(None, FEW),
        "fc": Channels(None, FEW),
    }
)
"""The last stage's width, which the head reads."""


@pytest.fixture
def pruned(file: Path, tmp_path: Path) -> Path:
    path, module = tmp_path / "pruned.safetensors", narrowed(open_model(file).module(), PLAN)
    about: dict[str, Any] = {"preprocessing": SMALL, "class_names": NAMES, "history": ("prune",)}
    save(path, module, architecture=OWN, num_classes=3, plan=PLAN, **about)
    return path


@pytest.mark.parametrize("architecture", [None, OWN])
def test_a_pruned_network_is_taken_as_it_is(architecture: str | None, pruned: Path) -> None:
    built = build(architecture, num_classes=3, class_names=NAMES, pretrained=pruned)
    assert built.taken is not None
    assert (built.architecture, built.plan, built.history) == (OWN, PLAN, ("prune",))
    assert (built.taken.fresh, built.taken.unused) == ((), ())
    original = open_model(pruned).module().state_dict()
    assert all(torch.equal(original[key], value) for key, value in built.module.state_dict().items())


def test_a_pruned_network_gets_a_head_for_other_classes(pruned: Path, tmp_path: Path) -> None:
    built = build(None, num_classes=5, pretrained=pruned)
    assert built.taken is not None
    assert built.taken.fresh == ("fc.weight", "fc.bias")
    assert built.module.get_parameter("fc.weight").shape == (5, len(FEW))
    save(tmp_path / "five.safetensors", built.module, architecture=OWN, num_classes=5, plan=built.plan)
    opened = open_model(tmp_path / "five.safetensors")
    assert (opened.num_classes, opened.plan) == (5, PLAN)
    again = build(None, num_classes=2, pretrained=tmp_path / "five.safetensors")
    assert again.module.get_parameter("fc.weight").shape == (2, len(FEW))


def test_a_plan_that_counts_the_classes_holds_for_a_head_of_others(file: Path, tmp_path: Path) -> None:
    plan, path = PruningPlan({**PLAN.kept, "fc": Channels((0, 1, 2), FEW)}), tmp_path / "pruned.safetensors"
    save(path, narrowed(open_model(file).module(), plan), architecture=OWN, num_classes=3, plan=plan)
    built = build(None, num_classes=5, pretrained=path)
    assert built.plan == PLAN
    assert built.module(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_a_pruned_network_of_the_users_own(tmp_path: Path) -> None:
    """All its keys begin like a wrapper's, which is taken off when they are read."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes=2):\n"
        "        super().__init__()\n"
        "        body = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "        self.model = nn.Sequential(*body, nn.Linear(8, num_classes))\n"
        "    def forward(self, x):\n"
        "        return self.model(x)\n"
    )
    code, path = f"{tmp_path}/net.py:Net", tmp_path / "pruned.safetensors"
    plan = PruningPlan({"model.0": Channels((1, 4)), "model.3": Channels(None, (1, 4))})
    save(path, narrowed(build(code, num_classes=3).module, plan), architecture=code, num_classes=3, plan=plan)
    with pytest.raises(InputError) as caught:
        build(None, num_classes=3, pretrained=path)
    assert caught.value.code == "architecture-is-code"
    same, other = (build(code, num_classes=count, pretrained=path) for count in (3, 7))
    assert same.taken is not None and same.taken.fresh == ()
    assert other.module.get_parameter("model.3.weight").shape == (7, 2)
    assert (other.plan, other.needs_model) == (plan, True)
    assert open_model(path, architecture=code).plan == plan


def pruned_squeezenet(path: Path, architecture: str) -> Path:
    import torchvision

    left = tuple(range(0, 64, 4))
    plan = PruningPlan(
        {
            "features.3.expand1x1": Channels(left),
            "features.4.squeeze": Channels(None, (*left, *range(64, 128))),
        }
    )
    module = narrowed(torchvision.models.squeezenet1_1(weights=None, num_classes=6), plan)
    save(path, module, architecture=architecture, num_classes=6, plan=plan)
    return path


def test_a_pruned_network_of_a_library_under_a_new_head(tmp_path: Path) -> None:
    path = pruned_squeezenet(tmp_path / "s.safetensors", "torchvision:squeezenet1_1")
    built = build("squeezenet1_1", num_classes=4, pretrained=path)
    assert (built.architecture, built.module(torch.zeros(1, 3, 64, 64)).shape) == ("torchvision:squeezenet1_1", (1, 4))
    assert built.plan == open_model(path).plan


@pytest.mark.parametrize("other", [TORCHVISION, TIMM, "torchvision.models:resnet18"])
def test_a_pruned_file_and_another_architecture(other: str, pruned: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(other, num_classes=3, pretrained=pruned)
    error = with_training_flags(caught.value)
    assert (caught.value.code, error.hint) == ("architecture-mismatch", f"name that one: --arch {OWN}")
    assert f"was pruned from {OWN}" in error.message
    assert "plan" in error.why


def test_a_pruned_file_of_another_librarys_network_of_that_name(pruned: Path) -> None:
    """Equal names and shapes are not enough: the file says whose network it is."""
    pytest.importorskip("timm")
    with pytest.raises(InputError) as caught:
        build("timm:resnet18", num_classes=3, pretrained=rewritten(pruned, architecture="torchvision:resnet18"))
    assert caught.value.code == "architecture-mismatch"
    assert caught.value.hint == "name that one: --model torchvision:resnet18"


def rewritten(path: Path, **about: Any) -> Path:
    """The same weights with other metadata of ours."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as opened:  # type: ignore[no-untyped-call]
        found = json.loads(opened.metadata()["edgecnn"])
    save_file(load_file(path), path, {"edgecnn": json.dumps({**found, **about})})
    return path


@pytest.mark.parametrize("architecture", [None, OWN])
def test_a_plan_that_contradicts_the_weights(architecture: str | None, pruned: Path) -> None:
    plan = PruningPlan({**PLAN.kept, "blocks.4.bn2": Channels((0, 1, 2))})
    rewritten(pruned, edgecnn_plan=plan.to_dict())
    with pytest.raises(InputError) as caught:
        build(architecture, num_classes=3, pretrained=pruned)
    assert caught.value.code == "bad-plan"
    assert caught.value.why == "it keeps 3 channels of 'blocks.4.bn2', and the weights have 16"


@pytest.mark.parametrize("architecture", [None, OWN])
def test_classes_that_contradict_the_weights(architecture: str | None, file: Path, pruned: Path) -> None:
    for path in (file, pruned):
        with pytest.raises(InputError) as caught:
            build(architecture, num_classes=3, pretrained=rewritten(path, num_classes=8))
        assert caught.value.code == "damaged-metadata"
        assert caught.value.why == "it says 8 classes, and the weights have 3"
