"""A user's file with networks, and a machine without timm."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import USER_MODEL

from edgecnn.models import registry


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(USER_MODEL)
    return path


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        return None if name == "timm" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    registry.names.cache_clear()
    yield
    registry.names.cache_clear()
