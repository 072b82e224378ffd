"""Images that tests of training share."""

from __future__ import annotations

import colours
import pytest

from edgecnn.data import ImageSet


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Reddish against bluish noise."""
    folder = tmp_path_factory.mktemp("colours")
    colours.write(folder)
    return colours.opened(folder)
