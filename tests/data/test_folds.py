"""Every image judges once, each class is spread over the folds, and copies stay together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.data.folds import folds, halves

P = Preprocessing(crop=(4, 4), resize=4)


def made(folder: Path, classes: dict[str, int], *, labels: bool = True) -> ImageSet:
    rng = np.random.default_rng(0)
    paths, known = [], []
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir()
        for number in range(count):
            paths.append(folder / name / f"{number}.png")
            known.append(label)
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(paths[-1])
    return ImageSet(paths, known if labels else None, preprocessing=P, root=folder)


def test_each_image_judges_once_and_classes_are_even(tmp_path: Path) -> None:
    images = made(tmp_path, {"ant": 11, "bee": 7, "cow": 3})
    pairs = folds(images, 3, seed=1)
    judged = [path for _, validation in pairs for path in validation.paths]
    assert sorted(judged) == sorted(images.paths)
    assert {len(validation) for _, validation in pairs} == {7}
    for training, validation in pairs:
        assert set(training.paths) | set(validation.paths) == set(images.paths)
        assert not set(training.paths) & set(validation.paths)
        assert training.preprocessing == images.preprocessing
        counts = Counter(validation.labels or ())
        assert counts[0] in (3, 4)
        assert counts[1] in (2, 3)
        assert counts[2] == 1


@pytest.mark.parametrize("labels", [True, False])
def test_halves_are_disjoint_and_have_their_share_of_a_rare_class(tmp_path: Path, labels: bool) -> None:
    images = made(tmp_path, {"ant": 25, "bee": 4}, labels=labels)
    images.paths[27].write_bytes(images.paths[25].read_bytes())  # a copy
    first, second = halves(images)
    assert sorted([*first, *second]) == list(range(29))
    assert (25 in first) == (27 in first)
    assert abs(len(first) - len(second)) <= 3
    if labels:
        assert all({images.labels[at] for at in half} == {0, 1} for half in (first, second))


def test_the_seed_decides_and_the_order_of_the_images_does_not(tmp_path: Path) -> None:
    images = made(tmp_path, {"ant": 9, "bee": 9})
    backwards = images.select(reversed(range(18)))

    def divided(these: ImageSet, seed: int) -> list[set[Path]]:
        return [set(validation.paths) for _, validation in folds(these, 3, seed=seed)]

    assert divided(images, 4) == divided(backwards, 4)
    assert divided(images, 4) != divided(images, 5)


def test_copies_of_a_file_stay_in_one_fold(tmp_path: Path) -> None:
    images = made(tmp_path, {"ant": 6, "bee": 6})
    content = images.paths[0].read_bytes()
    for path in images.paths[1:3]:
        path.write_bytes(content)
    copies = set(images.paths[:3])
    for seed in range(5):
        assert sorted(len(copies & set(validation.paths)) for _, validation in folds(images, 3, seed=seed)) == [0, 0, 3]


@pytest.mark.parametrize("count", [1, 0, -2])
def test_fewer_than_two_folds_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError) as caught:
        folds(made(tmp_path, {"ant": 3, "bee": 3}), count)
    assert caught.value.code == "bad-folds"
    assert "--folds" in caught.value.hint


def test_more_folds_than_the_smallest_class_has_images_are_refused(tmp_path: Path) -> None:
    images = made(tmp_path, {"ant": 5, "bee": 3, "cow": 1})
    with pytest.raises(InputError, match=r"class 1 \(bee\) has 3") as caught:
        folds(images.take(8), 4)
    assert caught.value.hint.startswith("give --folds 3")
    with pytest.raises(InputError, match=r"class 2 \(cow\) has 1") as caught:
        folds(images, 2)
    assert caught.value.hint.startswith("add images to cow")
    images.paths[6].write_bytes(images.paths[5].read_bytes())
    copied = ImageSet(images.paths[:8], (images.labels or ())[:8], preprocessing=P, root=tmp_path)
    with pytest.raises(InputError, match=r"class 1 \(bee\) has 2"):
        folds(copied, 3)


def test_images_nobody_knows_the_class_of_are_refused(tmp_path: Path) -> None:
    images = made(tmp_path, {"ant": 3, "bee": 3}, labels=False)
    with pytest.raises(InputError) as caught:
        folds(images, 2)
    assert caught.value.code == "no-labels"
    with pytest.raises(InputError) as caught:
        folds(ImageSet([], [], preprocessing=P, root=tmp_path), 2)
    assert caught.value.code == "no-images"
