"""A user's file with networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import USER_MODEL


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(USER_MODEL)
    return path
