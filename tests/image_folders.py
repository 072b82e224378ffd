"""Folders of tiny images that all differ, and how they are opened or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageData, open_data

P = Preprocessing(crop=(8, 8), resize=8)
_counter = iter(range(1, 1 << 20))


def add(folder: Path, count: int, *, suffix: str = ".png") -> list[Path]:
    """Images that all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for _ in range(count):
        number = next(_counter)
        path = folder / f"image{number:05}{suffix}"
        Image.new("RGB", (8, 8), (number % 256, number // 256, 5)).save(path)
        made.append(path)
    return made


def tree(root: Path, layout: dict[str, int]) -> Path:
    for name, count in layout.items():
        add(root / name, count)
    return root


def opened(path: Path, **options: object) -> ImageData:
    return open_data(path, **{"num_classes": 2, "preprocessing": P, **options})  # type: ignore[arg-type]


def refusal(path: Path, code: str, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.hint
    return caught.value
