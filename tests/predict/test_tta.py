"""What each view shows, and that answers of views come back to their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.predict import tta
from edgecnn.tasks.classification.task import TASK

P = Preprocessing(crop=(8, 8), resize=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CROPPED = Preprocessing(crop=(8, 8), resize=12, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def images(folder: Path, preprocessing: Preprocessing, count: int = 3, side: int = 8) -> ImageSet:
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / f"{index}.png")
    paths = sorted(folder.glob("*.png"))
    return ImageSet(paths, list(range(count)), preprocessing=preprocessing, root=folder)


def pixels(of: ImageSet | tta.Views, size: int = 64) -> np.ndarray:
    return np.concatenate(list(of.pixels(size)))


@pytest.mark.parametrize(
    ("text", "names", "count"),
    [
        (None, (), 1),
        ("flip", ("flip",), 2),
        ("shift,flip", ("flip", "shift"), 10),
        ("five-crop", ("five-crop",), 5),
        ("flip, five-crop", ("flip", "five-crop"), 10),
    ],
)
def test_names_and_how_many_views(tmp_path: Path, text: str | None, names: tuple[str, ...], count: int) -> None:
    preprocessing = CROPPED if "five-crop" in names else P
    assert tta.parse(text) == names
    found = tta.Views(images(tmp_path, tta.enlarged(names, preprocessing), side=12), names, preprocessing)
    assert (found.per_image, len(found)) == (count, 3 * count)
    assert (f"{count} views" in tta.in_words(names, preprocessing)) is (count > 1)


def test_the_first_view_is_the_image_and_the_second_its_mirror_image(tmp_path: Path) -> None:
    plain = images(tmp_path, P)
    seen = pixels(tta.Views(plain, ("flip",), P)).reshape(3, 2, 8, 8, 3)
    assert np.array_equal(seen[:, 0], pixels(plain)) and np.array_equal(seen[:, 1], pixels(plain)[:, :, ::-1])


def test_a_shift_moves_by_pixels_and_repeats_the_edge(tmp_path: Path) -> None:
    plain = images(tmp_path, P)
    seen = pixels(tta.Views(plain, ("shift",), P)).reshape(3, 5, 8, 8, 3)
    image, right, left, down, up = seen[1]
    assert np.array_equal(right[:, 1:], image[:, :-1]) and np.array_equal(right[:, 0], image[:, 0])
    assert np.array_equal(left[:, :-1], image[:, 1:]) and np.array_equal(left[:, -1], image[:, -1])
    assert np.array_equal(down[1:], image[:-1]) and np.array_equal(up[:-1], image[1:])


def test_five_crops_are_centre_and_corners_of_the_resized_image(tmp_path: Path) -> None:
    whole = images(tmp_path, tta.enlarged(("five-crop",), CROPPED), side=12)
    seen = pixels(tta.Views(whole, ("five-crop",), CROPPED)).reshape(3, 5, 8, 8, 3)
    full = pixels(whole)
    assert full.shape == (3, 12, 12, 3)
    assert np.array_equal(seen[:, 0], pixels(images(tmp_path, CROPPED, side=12))), "the centre is the ordinary crop"
    assert np.array_equal(seen[:, 1], full[:, :8, :8]) and np.array_equal(seen[:, 4], full[:, 4:, 4:])


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_of_any_size_hold_the_same_views(tmp_path: Path, size: int) -> None:
    found = tta.Views(images(tmp_path, P), ("flip", "shift"), P)
    assert all(len(batch) <= size for batch in found.pixels(size))
    assert np.array_equal(pixels(found, size), pixels(found))
    normalised = pixels(found).transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(np.concatenate(list(found.batches(size))), normalised)


def test_the_first_of_the_views(tmp_path: Path) -> None:
    found = tta.Views(images(tmp_path, P), ("flip",), P)
    some = found.take(3)
    assert len(some) == 3 and np.array_equal(pixels(some), pixels(found)[:3])
    assert found.labels == [0, 0, 1, 1, 2, 2] and some.labels == [0, 0, 1]
    assert len({found.digest, some.digest, tta.Views(found.images, ("shift",), P).digest}) == 3


def test_the_mean_belongs_to_the_image() -> None:
    seen = np.float32([[0.2, 0.8], [0.4, 0.6], [1, 0], [0, 1]])
    np.testing.assert_allclose(TASK.merge(seen, 2), [[0.3, 0.7], [0.5, 0.5]], rtol=1e-6)


WRONG = [("flipp", "unknown-tta"), ("shift,five-crop", "bad-option"), (",", "unknown-tta")]
NO_LARGER = [P, Preprocessing(crop=(8, 8), resize=8), Preprocessing(crop=(8, 8), stretch=True)]


@pytest.mark.parametrize(("text", "code"), WRONG)
def test_views_nobody_knows_are_refused(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        tta.parse(text)
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize("preprocessing", NO_LARGER)
def test_nothing_can_be_cropped_of_an_image_that_is_no_larger(preprocessing: Preprocessing) -> None:
    with pytest.raises(InputError, match="larger than") as caught:
        tta.enlarged(("five-crop",), preprocessing)
    assert "--resize 9" in caught.value.hint
