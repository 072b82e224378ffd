"""One emulated board for all tests in this folder, in one worker of pytest-xdist."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.insert(
    0, str(FOLDER)
)  # the modules beside this one are no package, so that one of them can be run as a script

from emulated_board import BoardUnavailable, EmulatedBoard  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that share the board together: with `--dist loadgroup` one worker gets them all."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.path.is_relative_to(FOLDER):
                item.add_marker(pytest.mark.xdist_group("board"))


@pytest.fixture(scope="session")
def board() -> Iterator[EmulatedBoard]:
    """A running Raspberry Pi 5. Without one tests are skipped, unless EDGECNN_REQUIRE_BOARD=1 says it must be there."""
    made = EmulatedBoard()
    try:
        made.start()
    except BoardUnavailable as error:
        if os.environ.get("EDGECNN_REQUIRE_BOARD") == "1":
            pytest.fail(f"no emulated board: {error}", pytrace=False)
        pytest.skip(f"no emulated board: {error}")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that used the board: sensors, host key and listening as at the start."""
    yield
    if "board" in request.fixturenames:
        request.getfixturevalue("board").reset()
