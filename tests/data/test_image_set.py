"""ImageSet: batches in order, errors that name the file, memory that stays flat, a digest of all that matters."""

from __future__ import annotations

import shutil
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.data import images as images_module
from edgecnn.probe.normalise import normalise

P = Preprocessing(crop=(8, 8), resize=8)


def image_set(folder: Path, count: int, preprocessing: Preprocessing = P) -> ImageSet:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (number, 255 - number, 7)).save(path)
    return ImageSet(paths, [n % 3 for n in range(count)], preprocessing=preprocessing, root=folder)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_every_image_comes_once_and_in_order(tmp_path: Path, size: int) -> None:
    images = image_set(tmp_path, 20)
    batches = list(images.pixels(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    whole = np.concatenate(batches)
    assert whole.shape == (20, 8, 8, 3)
    assert whole.dtype == np.uint8
    assert whole[:, 0, 0, 0].tolist() == list(range(20))


def test_batches_are_the_normalised_pixels(tmp_path: Path) -> None:
    images = image_set(tmp_path, 10)
    for pixels, batch in zip(images.pixels(4), images.batches(4), strict=True):
        assert batch.dtype == np.float32
        assert np.array_equal(batch, normalise(pixels, P.mean, P.std))


def test_take_and_select_keep_labels_with_images(tmp_path: Path) -> None:
    images = image_set(tmp_path, 9)
    assert len(images.take(4)) == 4
    assert len(images.take(99)) == 9
    assert list(images.take(0).pixels(4)) == []
    chosen = images.select([5, 1])
    assert chosen.labels == (2, 1)
    assert next(chosen.pixels(2))[:, 0, 0, 0].tolist() == [5, 1]


def test_a_batch_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        next(image_set(tmp_path, 2).pixels(0))
    with pytest.raises(ValueError, match="1 labels"):
        ImageSet([tmp_path / "a", tmp_path / "b"], [1], preprocessing=P, root=tmp_path)


def test_the_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    here = image_set(tmp_path / "here", 5)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = ImageSet(
        [tmp_path / "there" / path.name for path in here.paths], here.labels, preprocessing=P, root=tmp_path / "there"
    )
    assert here.digest == there.digest == here.take(5).digest


def test_the_digest_covers_names_bytes_labels_order_and_preprocessing(tmp_path: Path) -> None:
    first = image_set(tmp_path, 5)
    seen = {first.digest, first.take(4).digest, first.select([1, 0, 2, 3, 4]).digest}
    seen.add(ImageSet(first.paths, [0] * 5, preprocessing=P, root=tmp_path).digest)
    seen.add(ImageSet(first.paths, None, preprocessing=P, root=tmp_path).digest)
    other = P.changed(interpolation="bicubic")
    seen.add(ImageSet(first.paths, first.labels, preprocessing=other, root=tmp_path).digest)
    first.paths[0].rename(tmp_path / "new.png")
    renamed = [tmp_path / "new.png", *first.paths[1:]]
    seen.add(ImageSet(renamed, first.labels, preprocessing=P, root=tmp_path).digest)
    Image.new("RGB", (8, 8)).save(tmp_path / "new.png")
    seen.add(ImageSet(renamed, first.labels, preprocessing=P, root=tmp_path).digest)
    assert len(seen) == 8


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\nhalf"])
def test_a_broken_image_is_named(tmp_path: Path, content: bytes) -> None:
    images = image_set(tmp_path, 6)
    images.paths[3].write_bytes(content)
    for look in (images.check, lambda: list(images.pixels(2))):
        with pytest.raises(InputError, match=r"003\.png") as caught:
            look()
        assert caught.value.code == "broken-image"
        assert caught.value.why
        assert caught.value.hint


def test_a_truncated_image_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    images = image_set(tmp_path, 3)
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:900])
    cut = ImageSet([*images.paths, path], None, preprocessing=P, root=tmp_path)
    cut.check()  # the header alone does not tell
    with pytest.raises(InputError, match=r"cut\.jpg") as caught:
        list(cut.pixels(2))
    assert caught.value.code == "broken-image"


def test_a_vanished_image_is_named(tmp_path: Path) -> None:
    images = image_set(tmp_path, 3)
    images.paths[1].unlink()
    for look in (images.check, images.file_digests, lambda: list(images.pixels(2))):
        with pytest.raises(InputError, match=r"001\.png"):
            look()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    large = Preprocessing(crop=(256, 256), resize=256)
    one = image_set(tmp_path, 1, large).paths[0]

    def peak(count: int) -> int:
        images = ImageSet([one] * count, None, preprocessing=large, root=tmp_path)
        tracemalloc.start()
        for _ in images.batches(4):
            pass
        bytes_held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_held

    few = images_module.LOOK_AHEAD * 2
    assert peak(few * 5) < peak(few) * 1.3


def test_a_reader_that_stops_leaves_no_thread(tmp_path: Path) -> None:
    stream = image_set(tmp_path, 60).batches(2)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgecnn-images")]


def test_files_are_hashed_once(tmp_path: Path) -> None:
    images = image_set(tmp_path, 4)
    digest = images.digest
    for path in images.paths:
        path.unlink()
    assert images.digest == digest
    assert images.take(4).digest == digest
