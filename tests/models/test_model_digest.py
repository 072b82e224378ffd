"""The digest of a network: of weights, architecture and code, not of the file or its place."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from checkpoints import stored, tv, user_module
from torch import nn

from edgecnn.models import open_model, save


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
    monkeypatch.setattr("edgecnn.models.sources.version", lambda name: f"{name} of tomorrow")
    assert open_model(path, architecture=reference).sha256 != first.sha256
