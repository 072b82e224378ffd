"""From a checkpoint to its network: found, given, refused; and back to a file."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from edgecnn.checkpoint import open_model, save
from edgecnn.checkpoint import registry as registry_module
from edgecnn.checkpoint.registry import Entry, Form, build_empty
from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.preprocessing import Preprocessing

USER_MODEL = """
from torch import nn  # noqa: TID253

print("noise on stdout")

class Net(nn.Module):
    def __init__(self, num_classes=10, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

    @classmethod
    def named(cls, name, **options):
        return cls(width={"small": 4, "large": 8}[name], **options)

class Two(Net):
    def forward(self, x):
        return super().forward(x), x

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Net()

    def forward(self, x):
        return self.model(x)

def broken():
    raise RuntimeError("no such luck")

def number():
    return 3
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(USER_MODEL)
    return path


def user_module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("net_under_test", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tv(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes)
    return module.eval()


def stored(tmp_path: Path, module: nn.Module, **facts: Any) -> Path:
    path = tmp_path / "c.pth"
    torch.save({"state_dict": module.state_dict(), **facts} if facts else module.state_dict(), path)
    return path


def equal(one: nn.Module, other: nn.Module, size: int = 64) -> bool:
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        return torch.equal(one.eval()(image), other.eval()(image))


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


def test_the_digest_follows_weights_and_architecture_not_the_file(tmp_path: Path) -> None:
    network = tv("squeezenet1_1", 3)
    first = open_model(stored(tmp_path, network)).sha256
    save(tmp_path / "c.safetensors", network, architecture="squeezenet1_1")
    assert open_model(tmp_path / "c.safetensors").sha256 == first
    next(network.parameters()).data.add_(1)
    assert open_model(stored(tmp_path, network)).sha256 != first


SIBLINGS = {
    "acts.py": "from .settings import SLOPE\nfrom torch.nn import functional\n\n"
    "def act(x):\n    return functional.leaky_relu(x, SLOPE)\n",
    "settings.py": "SLOPE = 0.1\n",
    "unrelated.py": "NAME = 'nobody imports this'\n",
}
NET_BESIDE = """
from torch import nn
try:
    from .acts import act
except ImportError:  # loaded by its path
    from netpkg.acts import act

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return act(self.conv(x)).mean((2, 3))
"""


@pytest.fixture
def fresh_process() -> Iterator[Callable[[], None]]:
    """Forget the modules of the tests' own networks, as a new process would."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith(("netpkg", "edgecnn_model_"))]:
            del sys.modules[name]
        importlib.invalidate_caches()

    yield forget
    forget()


@pytest.mark.parametrize("form", ["package", "file"])
@pytest.mark.parametrize(
    ("edited", "changes"), [("net.py", True), ("acts.py", True), ("settings.py", True), ("unrelated.py", False)]
)
def test_the_digest_follows_the_code_that_the_network_imports(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh_process: Callable[[], None],
    form: str,
    edited: str,
    changes: bool,
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "netpkg").mkdir()
    (tmp_path / "netpkg" / "__init__.py").touch()
    for name, text in SIBLINGS.items():
        (tmp_path / "netpkg" / name).write_text(text)
    net = tmp_path / "netpkg" / "net.py"
    net.write_text(NET_BESIDE)
    reference = "netpkg.net:Net" if form == "package" else f"{net}:Net"
    path = stored(tmp_path, nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3)}))

    first = open_model(path, architecture=reference)
    shown = dict(first.source_files)
    assert shown["netpkg.net" if form == "package" else "net.py"] == sha256(net.read_bytes()).hexdigest()
    assert {"netpkg.acts", "netpkg.settings"} <= set(shown) and "netpkg.unrelated" not in shown
    assert not [name for name in shown if name.startswith(("torch", "edgecnn"))]
    file = tmp_path / "netpkg" / edited
    file.write_text(file.read_text().replace("0.1", "0.2") + "# edited\n")
    fresh_process()
    assert (open_model(path, architecture=reference).sha256 != first.sha256) is changes


def test_the_digest_does_not_follow_the_place_of_the_code(tmp_path: Path, user_file: Path) -> None:
    path = stored(tmp_path, user_module(user_file).Net())
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "net.py"
    moved.write_bytes(user_file.read_bytes())
    here, there = (open_model(path, architecture=f"{file}:Net") for file in (user_file, moved))
    assert (here.sha256, here.source_files) == (there.sha256, there.source_files)


@pytest.mark.parametrize("reference", ["squeezenet1_1", "torchvision.models:squeezenet1_1"])
def test_the_digest_follows_the_version_of_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    path = stored(tmp_path, tv("squeezenet1_1", 3))
    first = open_model(path, architecture=reference)
    assert first.source_files == ()
    monkeypatch.setattr("edgecnn.checkpoint.sources.version", lambda name: f"{name} of tomorrow")
    assert open_model(path, architecture=reference).sha256 != first.sha256


def test_other_preprocessing_changes_the_input(tmp_path: Path) -> None:
    model = open_model(stored(tmp_path, tv("squeezenet1_1", 3)))
    assert model.with_preprocessing(Preprocessing(crop=(96, 64), resize=96)).input_shape == (3, 96, 64)
    with pytest.raises(InputError) as caught:
        model.with_preprocessing(Preprocessing(color="L", mean=(0.5,), std=(0.5,)))
    assert caught.value.code == "channels-differ"
    with pytest.raises(StepError) as failed:
        model.with_preprocessing(Preprocessing(crop=(4, 4), resize=None))
    assert failed.value.code == "forward-failed"


def test_a_wrong_architecture_says_what_differs_and_what_fits(tmp_path: Path) -> None:
    path = stored(tmp_path, tv("squeezenet1_1", 3))
    with pytest.raises(InputError) as caught:
        open_model(path, architecture="squeezenet1_0")
    assert caught.value.code == "architecture-mismatch"
    assert "features.0.weight 64x3x3x3, the network has 96x3x7x7" in caught.value.why
    assert "torchvision:squeezenet1_1" in caught.value.hint


def test_nothing_fits_names_the_nearest_and_what_differs(tmp_path: Path) -> None:
    network = tv("squeezenet1_1", 3)
    network.extra = nn.Linear(2, 2)
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, network))
    assert caught.value.code == "unknown-architecture"
    assert "torchvision:squeezenet1_1: 2 not in the network: extra.weight, extra.bias" in caught.value.why
    assert "file.py:factory" in caught.value.hint


def test_weights_like_no_known_network(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, nn.ModuleDict({"peculiar": nn.Conv2d(3, 4, 3)})))
    assert "no known architecture has keys like peculiar.weight" in caught.value.why


def test_an_unknown_name_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_model(stored(tmp_path, tv("squeezenet1_1", 3)), architecture="torchvision:squeezenet1_3")
    assert caught.value.code == "unknown-architecture"
    assert "squeezenet1_1" in caught.value.hint


@pytest.mark.parametrize("there", [True, False])
def test_training_heads_may_be_there_or_not(tmp_path: Path, there: bool) -> None:
    network = build_empty(Entry("torchvision", "googlenet"), Form(3, training_heads=there))
    for item in network.parameters():
        item.data.zero_()
    model = open_model(stored(tmp_path, network))
    assert (model.name, model.num_classes) == ("torchvision:googlenet", 3)
    assert any("transform_input" in note for note in model.notes)


@pytest.mark.parametrize(
    ("call", "width", "classes"),
    [("Net", 4, 10), ("Net(5, width=8)", 8, 5), ("Net.named('large', num_classes=6)", 8, 6)],
)
def test_a_factory_in_a_file(
    tmp_path: Path, user_file: Path, call: str, width: int, classes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    network = user_module(user_file).Net(num_classes=classes, width=width)
    capsys.readouterr()
    model = open_model(stored(tmp_path, network), architecture=f"{user_file}:{call}")
    assert (model.name, model.num_classes) == (f"{user_file}:{call}", classes)
    assert any("224x224 was assumed" in note for note in model.notes)
    assert equal(model.module(), network)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("call", ["Net", "Net.named('small')"])
def test_a_factory_is_asked_for_the_classes_of_the_checkpoint(tmp_path: Path, user_file: Path, call: str) -> None:
    network = user_module(user_file).Net(num_classes=17)
    assert open_model(stored(tmp_path, network), architecture=f"{user_file}:{call}").num_classes == 17


def test_a_factory_whose_own_keys_look_like_a_prefix(tmp_path: Path, user_file: Path) -> None:
    network = user_module(user_file).Wrapped()
    assert equal(open_model(stored(tmp_path, network), architecture=f"{user_file}:Wrapped").module(), network)


def test_a_factory_in_a_package(tmp_path: Path) -> None:
    network = torchvision.models.squeezenet1_1(num_classes=4)
    model = open_model(stored(tmp_path, network), architecture="torchvision.models:squeezenet1_1")
    assert model.num_classes == 4


@pytest.mark.parametrize(
    ("reference", "code", "says"),
    [
        ("{file}:Nett", "no-such-factory", "did you mean 'Net'"),
        ("{file}:broken", "model-code-failed", "RuntimeError: no such luck (net.py, line"),
        ("{file}:number", "not-a-module", "int"),
        ("{file}:Net(width=wide)", "bad-model-reference", "literal"),
        ("{file}:Net(__import__('os'))", "bad-model-reference", "literal"),
        ("{file}", "bad-model-reference", ":FUNCTION"),
        ("{file}:Net(5, width=8)", "architecture-mismatch", "features.0.weight"),
        ("{file}:Two", "not-a-classifier", "tuple"),
        ("/nowhere/net.py:Net", "no-such-file", "/nowhere/net.py"),
        ("no_such_package_at_all:Net", "no-such-module", "PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_a_factory(tmp_path: Path, user_file: Path, reference: str, code: str, says: str) -> None:
    path = stored(tmp_path, user_module(user_file).Net())
    with pytest.raises((InputError, StepError)) as caught:
        open_model(path, architecture=reference.format(file=user_file))
    assert caught.value.code == code
    assert says in str(caught.value)


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(registry_module.importlib.util, "find_spec", lambda name: None)
    registry_module.names.cache_clear()
    yield
    registry_module.names.cache_clear()


def test_timm_weights_without_timm_say_what_to_install(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    timm = pytest.importorskip("timm")
    path = stored(tmp_path, timm.create_model("mobilenetv3_small_050", num_classes=3))
    request.getfixturevalue("without_timm")
    for architecture in (None, "timm:mobilenetv3_small_050"):
        with pytest.raises(MissingError) as caught:
            open_model(path, architecture=architecture)
        assert caught.value.hint == install_hint("timm")


def test_torchvision_weights_without_timm_name_what_was_not_compared(tmp_path: Path, without_timm: None) -> None:
    model = open_model(stored(tmp_path, tv("resnet18", 3)))
    assert model.name == "torchvision:resnet18"
    assert any("timm:resnet18" in note and "not installed" in note for note in model.notes)


def test_a_timm_network_with_one_channel(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("mobilenetv3_small_050", num_classes=3, in_chans=1)
    model = open_model(stored(tmp_path, network))
    assert (model.name, model.input_shape) == ("timm:mobilenetv3_small_050", (1, 224, 224))
    assert model.preprocessing is None


def test_a_timm_network_brings_its_preprocessing(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    path = stored(tmp_path, timm.create_model("tf_efficientnet_lite0", num_classes=3))
    model = open_model(path, architecture="timm:tf_efficientnet_lite0")
    assert model.preprocessing_source == "timm"
    assert model.preprocessing == Preprocessing(interpolation="bicubic", resize=256, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_equal_networks_of_two_libraries_are_one(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = open_model(stored(tmp_path, tv("resnet34", 3)))
    assert model.name == "torchvision:resnet34"
    assert any("timm:resnet34 computes the same" in note for note in model.notes)


def test_equal_weights_of_different_networks_are_ambiguous(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    path = stored(tmp_path, tv("resnet18", 3))
    with pytest.raises(InputError) as caught:
        open_model(path)
    assert caught.value.code == "ambiguous-architecture"
    assert "torchvision:resnet18 = timm:resnet18, timm:resnetblur18" in caught.value.why
    assert "--model torchvision:resnet18 or --model timm:resnetblur18" in caught.value.hint
    assert open_model(path, architecture="resnet18").name == "torchvision:resnet18"


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
def test_recorded_statistics_tell_networks_with_equal_weights_apart(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm")
    from sklearn.datasets import load_sample_image

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    image = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).float() / 255
    views = torch.stack([image[:, top : top + 160, left : left + 160] for top in (0, 250) for left in (0, 200, 400)])
    with torch.no_grad():
        network.train()((views - 0.5) / 0.5)
    model = open_model(stored(tmp_path, network))
    assert model.name.endswith(f":{name}")
    assert any("batch-norm statistics" in note for note in model.notes)
