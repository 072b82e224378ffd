"""The small network of the workbench and its images, for calls in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from workbench import Workbench, make_workbench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Forty images to calibrate on, sixty to judge on, and a small CNN that tells them apart."""
    return make_workbench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def source(bench: Workbench) -> dict[str, object]:
    """Checkpoint, network and preprocessing, as arguments."""
    return {
        "checkpoint": bench.checkpoint,
        "model": bench.model,
        "resize": "none",
        "crop": 32,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
