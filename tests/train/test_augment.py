"""Each way of varying images does what its name says, by as much as it was told, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train.augment import Draws, crop_box, draw, erase, jitter, move
from edgecnn.train.decoding import BatchTask, PixelSource
from edgecnn.train.feed import open_feed
from edgecnn.train.mixing import Mix, draw_mix, mix_images, mix_labels
from edgecnn.train.settings import Augment, TrainSettings

P = Preprocessing(crop=(8, 8), resize=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
CPU = torch.device("cpu")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(count: int, size: tuple[int, int] = (8, 8), **fields: Any) -> Draws:
    return draw(Augment(**fields), count, size, rng())


def test_nothing_is_drawn_unless_asked_for() -> None:
    assert drawn(4) == Draws()
    assert draw_mix(Augment(), (8, 8), rng()) is None


def test_shifts_and_mirrors_move_whole_images() -> None:
    image = torch.arange(1, 65, dtype=torch.uint8).view(1, 8, 8, 1).expand(400, 8, 8, 1)
    padded = torch.nn.functional.pad(image[0, :, :, 0], (2, 2, 2, 2))
    shifted = [padded[top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    turned = [padded.flip(1)[top : top + 8, left : left + 8] for top in range(5) for left in range(5)]

    def seen(draws: Draws, reach: int) -> set[tuple[int, ...]]:
        return {tuple(row.flatten().tolist()) for row in move(image, draws, reach=reach)}

    def as_set(crops: list[Tensor]) -> set[tuple[int, ...]]:
        return {tuple(crop.flatten().tolist()) for crop in crops}

    assert seen(drawn(400, crop_padding=2), 2) == as_set(shifted)
    assert seen(drawn(400, flip=True), 0) == as_set([image[0, :, :, 0], image[0, :, :, 0].flip(1)])
    assert seen(drawn(400, crop_padding=2, flip=True), 2) <= as_set(shifted + turned)
    assert torch.equal(image[0], image[1])  # what was given is as it was
    assert image[0, 0, :3, 0].tolist() == [1, 2, 3]


def test_half_of_the_images_are_mirrored() -> None:
    mirrored = drawn(4000, flip=True).mirrored
    assert mirrored is not None
    assert abs(mirrored.mean() - 0.5) < 0.03


@pytest.mark.parametrize("size", [(300, 400), (64, 64), (40, 400), (400, 40), (1, 1), (2, 5)])
@pytest.mark.parametrize("least", [0.08, 1.0])
def test_random_crops_are_inside_and_of_the_area_and_shape_asked_for(size: tuple[int, int], least: float) -> None:
    crops = drawn(300, random_resized_crop=least).crops
    assert crops is not None
    boxes = [crop_box(size, least, one) for one in crops]
    for top, left, height, width in boxes:
        assert 0 <= top <= top + height <= size[0]
        assert 0 <= left <= left + width <= size[1]
        assert height > 0
        assert width > 0
    if size == (300, 400):
        shares = np.array([box[2] * box[3] / (300 * 400) for box in boxes])
        ratios = np.array([box[3] / box[2] for box in boxes])
        assert shares.min() > least - 0.01 if least < 1 else shares.min() > 0.99
        assert ratios.min() > 0.74
        assert ratios.max() < 1.35
        if least < 1:
            assert shares.min() < 0.15
            assert shares.max() > 0.9
            assert len({box[:2] for box in boxes}) > 250


def test_random_resized_crop_is_torchvisions(tmp_path: Path) -> None:
    """Pixel for pixel, from the photograph and not from its centre."""
    photograph = Image.fromarray(rng().integers(0, 256, (50, 70, 3), np.uint8))
    photograph.save(tmp_path / "a.png")
    draws = draw(Augment(random_resized_crop=0.2), 6, (8, 8), rng(1))
    task = BatchTask(np.zeros(6, np.int64), (str(tmp_path / "a.png"),) * 6, draws)
    found = PixelSource(P, Augment(random_resized_crop=0.2)).pixels(task)
    assert draws.crops is not None
    for image, one in zip(found, draws.crops, strict=True):
        wanted = v2.functional.resized_crop(photograph, *crop_box((50, 70), 0.2, one), [8, 8])
        assert np.array_equal(image.numpy(), np.asarray(wanted))


def test_large_jpegs_are_decoded_at_a_fraction_and_look_the_same(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:800, :1000] / 100
    waves = np.stack([np.sin(rows * 2), np.cos(columns * 3), np.sin(rows + columns)], 2)
    photograph = Image.fromarray((127 + 120 * waves).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    photograph.save(tmp_path / "a.jpg", quality=95, exif=exif)
    upright = Image.fromarray(np.rot90(np.asarray(Image.open(tmp_path / "a.jpg")), -1).copy())
    upright.save(tmp_path / "a.png")
    draws = draw(Augment(random_resized_crop=0.3), 8, (16, 16), rng(1))
    source = PixelSource(Preprocessing(crop=(16, 16), resize=16), Augment(random_resized_crop=0.3))
    by_name = [
        source.pixels(BatchTask(np.zeros(8, np.int64), (str(tmp_path / name),) * 8, draws)).float()
        for name in ("a.jpg", "a.png")
    ]
    assert not torch.equal(*by_name)
    assert (by_name[0] - by_name[1]).abs().mean() < 2.0


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_colour_jitter_does_what_torchvisions_does(color: str) -> None:
    x = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    factors = rng(3).uniform(0.6, 1.4, (5, 3))
    apply: list[Callable[[Tensor, float], Tensor]] = [
        v2.functional.adjust_brightness,
        v2.functional.adjust_contrast,
        v2.functional.adjust_saturation,
    ]
    for chosen in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        draws = Draws(jitter=factors, jitter_order=chosen)
        given = x.flip(1) if color == "BGR" else x
        found = jitter(given.permute(0, 2, 3, 1).contiguous(), draws, color=color).permute(0, 3, 1, 2)
        found = found.flip(1) if color == "BGR" else found
        for image, result, by in zip(x, found, factors, strict=True):
            wanted = image
            for which in chosen:
                wanted = apply[which](wanted, float(by[which]))
            assert torch.allclose(result, wanted, atol=2e-3)  # torchvision's luma has four digits


def test_colour_jitter_is_drawn_within_its_strength() -> None:
    draws = drawn(2000, color_jitter=0.4)
    assert draws.jitter is not None
    assert 0.6 <= draws.jitter.min() < 0.62
    assert 1.38 < draws.jitter.max() <= 1.4
    assert sorted(draws.jitter_order) == [0, 1, 2]
    grey = torch.rand(4, 5, 5, 1)
    changed = jitter(grey.clone(), draws.share(0, 500), color="L")
    assert changed.shape == grey.shape
    assert not torch.equal(changed, grey)


def test_random_erasing_takes_a_rectangle_from_its_share_of_images() -> None:
    draws = drawn(2000, (20, 30), random_erasing=0.3)
    x = erase(torch.ones(2000, 3, 20, 30), draws)
    gone = (x == 0).all(1)
    assert torch.equal((x == 0).any(1), gone)
    share = gone.float().mean((1, 2))
    assert abs(float((share > 0).double().mean()) - 0.3) < 0.04
    hit = share[share > 0]
    assert hit.min() > 0.01
    assert hit.max() < 0.36
    assert hit.max() > 0.28
    for image in gone[share > 0][:50]:
        rows, columns = image.any(1).sum(), image.any(0).sum()
        assert int(image.sum()) == int(rows * columns)  # one full rectangle


def test_an_image_too_small_to_lose_a_rectangle_stays_whole() -> None:
    draws = drawn(50, (1, 1), random_erasing=1.0)
    assert torch.equal(erase(torch.ones(50, 3, 1, 1), draws), torch.ones(50, 3, 1, 1))


def test_mixup_blends_neighbours_and_their_targets() -> None:
    x = torch.rand(6, 3, 4, 4)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    blended = mix_images(x.clone(), Mix(0.7))
    targets = mix_labels(labels, 4, Mix(0.7))
    assert torch.allclose(blended[1], 0.7 * x[1] + 0.3 * x[0])
    assert torch.allclose(blended[0], 0.7 * x[0] + 0.3 * x[5])
    assert torch.allclose(targets[1], torch.tensor([0.3, 0.7, 0.0, 0.0]))
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(6))


def test_cutmix_pastes_a_box_and_targets_follow_its_area() -> None:
    for seed in range(50):
        mix = draw_mix(Augment(cutmix=1.0), (10, 20), rng(seed))
        assert mix is not None
        assert mix.box is not None
        first, second = torch.zeros(1, 3, 10, 20), torch.ones(1, 3, 10, 20)
        mixed = mix_images(torch.cat([first, second]), mix)
        assert float(mixed[0].mean()) == pytest.approx(1 - mix.share, abs=1e-6)
        assert float(mixed[1].mean()) == pytest.approx(mix.share, abs=1e-6)
        assert set(mixed[0].unique().tolist()) <= {0.0, 1.0}


def test_mixup_and_cutmix_take_turns_and_alpha_shapes_the_share() -> None:
    both = [draw_mix(Augment(mixup=0.2, cutmix=1.0), (8, 8), rng(seed)) for seed in range(400)]
    cut = sum(mix is not None and mix.box is not None for mix in both)
    assert 150 < cut < 250

    def near_the_middle(alpha: float) -> float:
        shares = [mix.share for seed in range(400) if (mix := draw_mix(Augment(mixup=alpha), (8, 8), rng(seed)))]
        return float(np.mean(np.abs(np.array(shares) - 0.5) < 0.2))

    assert near_the_middle(0.1) < 0.15
    assert near_the_middle(8.0) > 0.85


@pytest.mark.parametrize("color", ["RGB", "BGR", "L"])
def test_random_operations_grow_with_the_magnitude(tmp_path: Path, color: Any) -> None:
    channels = 1 if color == "L" else 3
    prepared = Preprocessing(crop=(16, 16), resize=16, color=color, mean=(0.5,) * channels, std=(0.5,) * channels)
    rows, columns = np.mgrid[:16, :16]
    Image.fromarray(np.stack([rows * 9, columns * 9, rows + columns], 2).astype(np.uint8)).save(tmp_path / "a.png")
    images = ImageSet([tmp_path / "a.png"] * 60, [0] * 60, preprocessing=prepared, root=tmp_path)

    def far(magnitude: int | None) -> float:
        settings = TrainSettings(batch=60, augment=Augment(randaugment=magnitude))
        feed = open_feed(images, settings, device=CPU, seed=0)
        x = next(iter(feed.epoch(1))).x
        plain = next(iter(open_feed(images, TrainSettings(batch=60), device=CPU, seed=0).epoch(1))).x
        return float((x - plain).abs().mean())

    assert far(None) == 0
    assert 0 < far(0) < far(25)


def test_random_operations_of_bgr_are_those_of_rgb(tmp_path: Path) -> None:
    Image.fromarray(rng().integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    found = {}
    for color in ("RGB", "BGR"):
        prepared = Preprocessing(crop=(8, 8), resize=8, color=color, mean=(0.5,) * 3, std=(0.5,) * 3)
        images = ImageSet([tmp_path / "a.png"] * 40, [0] * 40, preprocessing=prepared, root=tmp_path)
        varied = Augment(randaugment=20, random_resized_crop=0.5, color_jitter=0.3, flip=True)
        feed = open_feed(images, TrainSettings(batch=40, augment=varied), device=CPU, seed=0)
        found[color] = next(iter(feed.epoch(1))).x
    assert torch.allclose(found["RGB"], found["BGR"].flip(1), atol=1e-5)
