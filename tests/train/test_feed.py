"""What an epoch gives: the pixels that judging sees, in an order and with variations that seed and number decide."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train import feed as feeding
from edgecnn.train.feed import open_feed
from edgecnn.train.settings import Augment, Batch, Feed, TrainSettings

P = Preprocessing(crop=(8, 8), resize=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
CPU = torch.device("cpu")
EVERYTHING = Augment(
    crop_padding=1,
    flip=True,
    random_resized_crop=0.3,
    color_jitter=0.3,
    randaugment=9,
    mixup=0.4,
    cutmix=1.0,
    random_erasing=0.4,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Of several sizes, so that resizing and cropping matter."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(22)]
    for number, path in enumerate(paths):
        size = (10 + number % 3, 12 + number % 5, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(path)
    return ImageSet(paths, [number % 3 for number in range(22)], preprocessing=P, root=folder)


def opened(images: ImageSet, *, seed: int = 0, rank: int = 0, world: int = 1, **changes: Any) -> Feed:
    settings = TrainSettings(**{"batch": 8, "workers": 0, **changes})
    return open_feed(images, settings, device=CPU, seed=seed, rank=rank, world=world)


def same(left: list[Batch], right: list[Batch]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(
        torch.equal(one.x, other.x)
        and torch.equal(one.indices, other.indices)
        and (one.targets is other.targets or torch.equal(one.targets, other.targets))
        for one, other in pairs
    )


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"color": "BGR"},
        {"color": "L", "mean": (0.4,), "std": (0.3,)},
        {"crop": (6, 9), "resize": 11, "interpolation": "bicubic"},
        {"crop": (7, 5), "resize": None, "stretch": True},
        {"crop": (30, 4), "resize": None},
    ],
)
def test_with_everything_off_training_sees_exactly_what_judging_sees(
    images: ImageSet, changes: dict[str, Any], cache: str
) -> None:
    prepared = Preprocessing(**{**P.to_dict(), "crop": (8, 8), "mean": P.mean, "std": P.std, **changes})
    these = ImageSet(images.paths, images.labels, preprocessing=prepared, root=images.root)
    wanted = torch.from_numpy(np.concatenate(list(these.batches(22))))
    batches = list(opened(these, cache=cache, batch=11).epoch(1))
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(22))
    for batch in batches:
        assert torch.equal(batch.x, wanted[batch.indices])
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels is not None
        assert batch.labels.tolist() == [index % 3 for index in batch.indices.tolist()]
        assert batch.targets is batch.labels


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("augment", [Augment(), EVERYTHING])
def test_an_epoch_is_decided_by_seed_and_number_alone(images: ImageSet, augment: Augment, cache: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    stream = opened(images, cache=cache, augment=augment)
    first, second = list(stream.epoch(1)), list(stream.epoch(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(list(opened(images, cache=cache, augment=augment).epoch(2)), second)
    assert same(list(stream.epoch(1)), first)
    assert not same(first, second)
    assert not same(first, list(opened(images, cache=cache, augment=augment, seed=1).epoch(1)))


def test_the_cache_changes_nothing(images: ImageSet) -> None:
    held, streamed = (list(opened(images, cache=cache, augment=EVERYTHING).epoch(3)) for cache in ("on", "off"))
    assert same(held, streamed)
    assert len(held) == 2


def test_the_cache_is_in_memory_and_auto_holds_what_fits(images: ImageSet, tmp_path: Path, monkeypatch: Any) -> None:
    paths = [tmp_path / path.name for path in images.paths]
    for path, original in zip(paths, images.paths, strict=True):
        path.write_bytes(original.read_bytes())
    copy = ImageSet(paths, images.labels, preprocessing=P, root=tmp_path)
    part = Augment(random_resized_crop=0.5)
    monkeypatch.setattr(feeding, "HELD_IN_MEMORY_BYTES", 22 * 8 * 8 * 3)  # the photographs take more than their centres
    inside = [opened(copy, cache="auto"), opened(copy, cache="on", augment=part)]
    outside = [opened(copy, cache="off"), opened(copy, cache="auto", augment=part)]
    for path in paths:
        path.unlink()
    for stream in inside:
        assert len(list(stream.epoch(1))) == 2
    for stream in outside:
        with pytest.raises(InputError) as caught:
            list(stream.epoch(1))
        assert caught.value.code == "broken-image"
        assert str(tmp_path) in caught.value.message


def test_a_sample_of_headers_shows_that_photographs_do_not_fit(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("edgecnn.train.decoding.SAMPLED_SIZES", 2)
    monkeypatch.setattr(feeding, "HELD_IN_MEMORY_BYTES", 4 * 20 * 20 * 3)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.new("RGB", (20, 20)).save(path)
    paths[1].write_bytes(b"of no interest yet")
    stream = opened(
        ImageSet(paths, None, preprocessing=P, root=tmp_path), cache="auto", augment=Augment(random_resized_crop=0.5)
    )
    with pytest.raises(InputError, match=r"1\.png"):
        list(stream.epoch(1))


def test_an_incomplete_last_batch_is_left_out_unless_it_is_the_only_one(images: ImageSet) -> None:
    assert [len(batch.x) for batch in opened(images).epoch(1)] == [8, 8]
    assert len(opened(images)) == 2
    whole = opened(images, batch=500)
    assert len(whole) == 1
    assert [len(batch.x) for batch in whole.epoch(1)] == [22]
    assert [len(batch.x) for batch in opened(images.take(1)).epoch(1)] == [1]


@pytest.mark.parametrize("sampling", ["shuffled", "weighted", "balanced"])
@pytest.mark.parametrize("augment", [Augment(), Augment(crop_padding=2, flip=True, random_erasing=0.5, randaugment=5)])
def test_processes_share_the_batches_of_one(images: ImageSet, sampling: str, augment: Augment) -> None:
    alone = list(opened(images, batch=8, sampling=sampling, augment=augment).epoch(1))
    shared = [
        list(opened(images, batch=4, sampling=sampling, augment=augment, rank=rank, world=2).epoch(1))
        for rank in (0, 1)
    ]
    for whole, first, second in zip(alone, *shared, strict=True):
        assert len(first.x) == len(second.x) == 4
        assert torch.equal(torch.stack([first.indices, second.indices], 1).flatten(), whole.indices)
        assert torch.equal(torch.stack([first.x, second.x], 1).flatten(0, 1), whole.x)


def test_images_nobody_knows_the_class_of_are_fed(images: ImageSet) -> None:
    unlabelled = ImageSet(images.paths, None, preprocessing=P, root=images.root)
    plain = next(iter(opened(unlabelled).epoch(1)))
    assert plain.labels is None
    assert plain.targets is None
    assert torch.equal(plain.x, next(iter(opened(images).epoch(1))).x)
    mixed = next(iter(opened(unlabelled, augment=EVERYTHING).epoch(1)))
    assert mixed.targets is None
    assert torch.equal(mixed.x, next(iter(opened(images, augment=EVERYTHING).epoch(1))).x)
    with pytest.raises(InputError) as caught:
        opened(unlabelled, sampling="balanced")
    assert caught.value.code == "no-labels"


def test_mixed_images_have_soft_targets(images: ImageSet) -> None:
    settings = TrainSettings(batch=8, workers=0, augment=Augment(mixup=1.0))
    batch = next(iter(open_feed(images, settings, device=CPU, seed=0, classes=5).epoch(1)))
    assert batch.targets is not None
    assert batch.labels is not None
    assert batch.targets.shape == (8, 5)
    assert batch.targets.dtype == torch.float32
    assert torch.allclose(batch.targets.sum(1), torch.ones(8))
    own = batch.targets.gather(1, batch.labels.view(-1, 1))
    assert (own > 0).all()


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("augment", [Augment(), Augment(random_resized_crop=0.4, randaugment=9, flip=True)])
@pytest.mark.parametrize("color", ["RGB", "L"])
def test_files_of_every_kind_become_batches(tmp_path: Path, augment: Augment, cache: str, color: Any) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (12, 10, 3), np.uint8)
    grey = rng.integers(0, 1 << 16, (12, 10), np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(base).convert("CMYK").save(tmp_path / "a.jpg")
    Image.fromarray(base).convert("L").save(tmp_path / "b.jpg", exif=exif)
    Image.fromarray(grey).save(tmp_path / "c.png")
    Image.fromarray(base).convert("P").save(tmp_path / "d.gif")
    Image.fromarray(np.dstack([base, base[:, :, :1]])).save(tmp_path / "e.png", exif=exif)
    Image.fromarray(base).convert("1").save(tmp_path / "f.bmp")
    channels = 1 if color == "L" else 3
    prepared = Preprocessing(crop=(8, 8), resize=9, color=color, mean=(0.5,) * channels, std=(0.5,) * channels)
    images = ImageSet(sorted(tmp_path.iterdir()), None, preprocessing=prepared, root=tmp_path)
    batch = next(iter(opened(images, cache=cache, augment=augment).epoch(1)))
    assert batch.x.shape == (6, channels, 8, 8)
    assert batch.x.isfinite().all()
    if augment == Augment():
        assert torch.equal(batch.x, torch.from_numpy(next(images.batches(6)))[batch.indices])


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("augment", [Augment(), Augment(random_resized_crop=0.4)])
@pytest.mark.parametrize("content", [b"", b"no image", "truncated"])
def test_a_broken_image_is_named(images: ImageSet, tmp_path: Path, augment: Augment, cache: str, content: Any) -> None:
    broken = tmp_path / "broken.jpg"
    if content == "truncated":
        Image.effect_noise((60, 60), 80).save(broken, quality=95)
        content = broken.read_bytes()[:900]
    broken.write_bytes(content)
    these = ImageSet([*images.paths[:5], broken], None, preprocessing=P, root=tmp_path)
    with pytest.raises(InputError) as caught:
        list(opened(these, cache=cache, augment=augment).epoch(1))
    assert caught.value.code == "broken-image"
    assert str(broken) in caught.value.message
    assert caught.value.hint


def test_too_few_images_are_refused(images: ImageSet) -> None:
    with pytest.raises(InputError) as caught:
        opened(images.take(0))
    assert caught.value.code == "no-images"
    with pytest.raises(InputError) as caught:
        opened(images.take(2), world=3, rank=0)
    assert caught.value.code == "too-few-images"
    one_of_each = images.take(3)
    for sampling in ("shuffled", "weighted", "balanced"):
        batch = next(iter(opened(one_of_each, sampling=sampling, augment=EVERYTHING).epoch(1)))
        assert batch.x.shape == (3, 3, 8, 8)


def test_waiting_is_what_the_loop_waits_and_not_what_it_works(images: ImageSet) -> None:
    stream = opened(images, cache="off")
    began = time.perf_counter()
    for _ in stream.epoch(1):
        time.sleep(0.2)
    took = time.perf_counter() - began
    assert 0 < stream.waited_s <= took - 0.4
    next(iter(stream.epoch(2)))
    assert stream.waited_s > 0


def test_an_epoch_left_early_leaves_no_thread_and_the_next_is_whole(images: ImageSet) -> None:
    stream = opened(images, cache="off")
    whole = list(stream.epoch(2))
    begun = stream.epoch(1)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert same(list(stream.epoch(2)), whole)
    stream.close()
