"""Runtimes that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from profile_networks import macs, onnx_net, tflite_net

__all__ = ["macs", "onnx_net", "tflite_net"]
"""Fixtures that other rooms use too."""


@pytest.fixture
def fake_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`fake_runtime(source)`: in new processes `import onnxruntime` runs `source` instead."""

    def install(source: str) -> None:
        folder = tmp_path / "fake"
        folder.mkdir()
        (folder / "onnxruntime.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return install
