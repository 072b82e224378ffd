"""Names of architectures: known, misspelt and unknown ones, before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgecnn.core.errors import InputError
from edgecnn.models import library_names
from edgecnn.models.library_names import is_known, require_known


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("resnet8", "resnet18"),
        ("torchvision:squeezenet1_3", "squeezenet1_1"),
        ("efficentnet_b0", "efficientnet_b0"),
        ("nothing_of_the_kind_at_all", "file.py:factory"),
    ],
)
def test_a_misspelt_name_is_corrected(text: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        require_known(text)
    assert caught.value.code == "unknown-architecture"
    assert meant in caught.value.hint


@pytest.mark.parametrize(
    "text", ["resnet18", "torchvision:resnet18", "net.py:net", "a/net.py:Net(width=3)", "package.module:net"]
)
def test_what_is_known_or_code_passes(text: str) -> None:
    require_known(text)


def test_timms_names_with_a_tag_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    require_known("timm:resnet50.a1_in1k")
    with pytest.raises(InputError):
        require_known("timm:resnet5O.a1_in1k")


def test_without_timm_its_names_are_left_to_the_error_that_says_so(without_timm: None) -> None:
    assert is_known("timm", "resnet50") is False
    require_known("timm:anything")


def test_a_catalog_of_another_version_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library_names.read_catalog()["versions"], "torchvision", "0.0")
    assert is_known("torchvision", "resnet8") is None
    assert is_known("torchvision", "resnet18") is True
    require_known("torchvision:resnet8")


@pytest.mark.parametrize("command", ["train", "optimize", "evaluate"])
def test_a_misspelt_name_imports_nothing_heavy(command: str) -> None:
    option = "--arch" if command == "train" else "--model"
    arguments = ["nowhere"] if command == "train" else ["c.pth", "--data", "nowhere"]
    code = (
        "import sys; from edgecnn.cli.main import main\n"
        f"sys.argv = ['edgecnn', {command!r}, *{arguments!r}, {option!r}, 'resnet8']\n"
        "try: main()\n"
        "except SystemExit as error: assert error.code == 2, error.code\n"
        "assert not {'torch', 'torchvision', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'resnet18'" in done.stderr
