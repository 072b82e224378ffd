"""Tiny networks: a second thread costs more than it gives, above all beside other work."""

from __future__ import annotations

from collections.abc import Iterator

import colours
import pytest
import torch

from edgecnn.data import ImageSet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Reddish against bluish noise."""
    folder = tmp_path_factory.mktemp("colours")
    colours.write(folder)
    return colours.opened(folder)
