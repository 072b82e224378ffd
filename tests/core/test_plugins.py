"""What is registered can be named without being imported, and what cannot be imported is left out and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_packages import installed

from edgecnn.core import plugins
from edgecnn.core.device import Deployment
from edgecnn.core.errors import InputError, MissingError
from edgecnn.core.stage import Stage

BROKEN = {
    "import": ("from edgecnn.core import nothing_of_that_name\n", "ImportError: cannot import name"),
    "module": ("import no_such_runtime\n", "ModuleNotFoundError: No module named 'no_such_runtime'"),
    "syntax": ("def FORMAT(:\n", "SyntaxError: invalid syntax"),
    "name": ("format = 1\n", "AttributeError: module 'broken_name' has no attribute 'FORMAT'"),
    "work": ("raise RuntimeError('no device\\x1b[31m')\n", "RuntimeError: no device"),
    "exit": ("import sys\nsys.exit('not on this machine')\n", "SystemExit: not on this machine"),
}


def test_stages_are_known_by_their_word() -> None:
    known = plugins.names("stages")
    assert {"export", "cast", "quantize"} <= set(known)
    for name in known:
        stage = plugins.load("stages", name)
        assert issubclass(stage, Stage)
        assert stage.kind == name


def test_a_misspelt_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        plugins.load("stages", "quantise")
    assert caught.value.code == "unknown-stage"
    assert "'quantize'" in caught.value.hint


@pytest.mark.parametrize("group", plugins.GROUPS)
@pytest.mark.parametrize("way", BROKEN)
def test_a_broken_plugin_is_left_out_and_named(
    way: str, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, says = BROKEN[way]
    (tmp_path / f"broken_{way}.py").write_text(text)
    before = plugins.every(group)
    with installed(tmp_path, "somebodys-thing", {group: {"thing": f"broken_{way}:FORMAT"}}, monkeypatch):
        assert plugins.every(group) == before
        (broken,) = plugins.broken(group)
        with pytest.raises(MissingError) as caught:
            plugins.load(group, "thing")
    assert (broken.name, broken.command) == ("thing", "pip uninstall somebodys-thing")
    assert caught.value.code == "broken-plugin" and "'thing' is installed" in caught.value.message
    assert caught.value.why == broken.why and broken.why.startswith(f"broken_{way}:FORMAT of somebodys-thing: {says}")
    assert "\x1b" not in broken.why and broken.command in caught.value.hint


def test_what_is_missing_of_our_own_is_no_plugin_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_own.py").write_text("import no_such_runtime\n")
    with (
        installed(tmp_path, "edgecnn", {"formats": {"own": "broken_own:FORMAT"}}, monkeypatch),
        pytest.raises(ModuleNotFoundError),
    ):
        plugins.every("formats")


def test_a_device_names_the_plugin_that_its_format_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_device.py").write_text("import no_such_runtime\n")
    with installed(tmp_path, "somebodys-thing", {"formats": {"thing": "broken_device:FORMAT"}}, monkeypatch):
        with pytest.raises(ValueError, match="thing cannot be loaded: broken_device:FORMAT of somebodys-thing"):
            Deployment(format="thing", backend="thing", family="thing")
        assert Deployment(format="onnx", backend="onnxruntime", family="onnxruntime").format == "onnx"


@pytest.mark.parametrize("here", [[], ["tflite"]])
def test_a_device_where_few_formats_are_installed(here: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    registered = plugins._registered("formats")
    monkeypatch.setattr(plugins, "_registered", lambda group: {name: registered[name] for name in here})
    with pytest.raises(ValueError, match="has to be 'tflite'" if here else "no format is installed"):
        Deployment(format="onnx", backend="onnxruntime", family="onnxruntime")
