"""What is said of a file that was looked at, and which files look the same."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from edgecnn.core.events import Event, Progress, ignore
from edgecnn.data.audit import copies
from edgecnn.data.audit.classes import balance, oddities, sizes
from edgecnn.data.audit.copies import Copies, exact_copies, near_copies
from edgecnn.data.audit.images import ImageScan, ScannedImages, look_at
from edgecnn.data.listing import Sample


def photograph(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Smooth random colours: as a photograph, most of it is in low frequencies."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def looked(*paths: Path) -> ScannedImages:
    return look_at([Sample(path, "a") for path in paths], listener=ignore, step="look")


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    raw = io.BytesIO()
    image.save(raw, "JPEG", quality=quality)
    return Image.open(raw)


def test_sizes_modes_and_what_is_odd(tmp_path: Path) -> None:
    image = photograph(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray((np.arange(64 * 96).reshape(64, 96) * 10).astype(np.uint16))
    paths = [
        saved(image, tmp_path / "plain.jpg"),
        saved(image.convert("CMYK"), tmp_path / "cmyk.jpg"),
        saved(image.convert("RGBA"), tmp_path / "alpha.png"),
        saved(image.convert("P"), tmp_path / "palette.png"),
        saved(image.convert("L"), tmp_path / "grey.png"),
        saved(deep, tmp_path / "deep.png"),
        saved(image, tmp_path / "turned.jpg", exif=turned),
        saved(image, tmp_path / "moving.gif", save_all=True, append_images=[photograph(1)]),
    ]
    found = looked(*paths).looks
    assert [look.error for look in found] == [""] * 8 and {(look.width, look.height) for look in found} == {(96, 64)}
    odd = {name: [paths[place].stem for place in places] for name, places in oddities(found).items()}
    assert odd.pop("palette") == ["palette", "moving"] or odd
    assert odd["CMYK"] == ["cmyk"] and odd["alpha"] == ["alpha"] and odd["16 bit"] == ["deep"]
    assert odd["EXIF rotation"] == ["turned"] and odd["animation"] == ["moving"]
    assert odd["grey among colour"] == ["grey", "deep"]
    assert "grey among colour" not in oddities([found[4], found[5]])


def test_a_file_that_cannot_be_used_is_said_to_be_so(tmp_path: Path) -> None:
    whole = saved(photograph(0, (400, 300)), tmp_path / "whole.jpg", quality=95)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no image")
    cut_png = tmp_path / "cut.png"
    photograph(0).save(cut_png)
    cut_png.write_bytes(cut_png.read_bytes()[:200])
    floats = saved(Image.new("F", (8, 8)), tmp_path / "floats.tiff")
    gone = tmp_path / "gone.jpg"
    found = looked(whole, cut, tmp_path / "empty.jpg", tmp_path / "text.png", cut_png, floats, gone)
    says = [look.error for look in found.looks]
    assert says[0] == "" and "truncated" in says[1] and says[2] == "the file is empty"
    assert "no image" in says[3] and says[4] and "float" in says[5] and "No such file" in says[6]
    assert found.whole == [0] and not found.hashes[1:].any() and not found.thumbs[1:].any()


def test_progress_is_told_to_the_last_image(tmp_path: Path) -> None:
    path = saved(photograph(0), tmp_path / "a.png")
    events: list[Event] = []
    look_at([Sample(path, "a")] * 300, listener=events.append, step="look")
    assert [event.done for event in events if isinstance(event, Progress)] == [256, 300]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 60),
        lambda image: image.resize((48, 32), Image.Resampling.BICUBIC),
        lambda image: image.resize((300, 200), Image.Resampling.LANCZOS),
        lambda image: ImageEnhance.Brightness(image).enhance(1.05),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ],
    ids=["jpeg", "half", "larger", "brighter", "mirrored"],
)
def test_a_changed_copy_is_found_among_others(tmp_path: Path, change: object) -> None:
    others = [saved(photograph(seed), tmp_path / f"{seed:02}.png") for seed in range(20)]
    copy = saved(change(photograph(7)).convert("RGB"), tmp_path / "copy.png")  # type: ignore[operator]
    found = near_copies(looked(*others, copy))
    assert [group.places for group in found] == [(7, 20)] and not found[0].exact
    mirrored = np.array_equal(np.asarray(Image.open(copy)), np.asarray(photograph(7))[:, ::-1])
    assert found[0].mirrored is mirrored


def test_files_with_the_same_bytes_are_one_group_and_no_near_copies(tmp_path: Path) -> None:
    first = saved(photograph(0), tmp_path / "a.png")
    paths = [first, saved(photograph(1), tmp_path / "b.png")]
    for name in ("c.png", "d.png"):
        (tmp_path / name).write_bytes(first.read_bytes())
        paths.append(tmp_path / name)
    found = looked(*paths)
    assert exact_copies(found) == [Copies((0, 2, 3), exact=True)] and near_copies(found) == []


def test_an_image_that_is_its_own_mirror_image_is_no_mirrored_copy(tmp_path: Path) -> None:
    half = np.asarray(photograph(3, (32, 64)))
    whole = Image.fromarray(np.concatenate([half, half[:, ::-1]], 1))
    found = near_copies(looked(saved(whole, tmp_path / "a.png"), saved(jpeg(whole, 80), tmp_path / "b.jpg")))
    assert found == [Copies((0, 1), exact=False, mirrored=False)]


def test_hashes_that_are_close_are_all_found() -> None:
    """Every pair of random hashes at most five bits apart, against the quadratic way."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 1 << 63, 300, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in rng.choice(63, rng.integers(0, 9), replace=False)) for _ in base]
    hashes = np.concatenate([base, base ^ np.array(flips, np.uint64)])
    distance = np.array([[bin(int(a ^ b)).count("1") for b in hashes] for a in hashes])
    expected = {(a, b) for a, b in np.argwhere(distance <= copies.DISTANCE).tolist() if a < b}
    found = {
        tuple(sorted(pair))
        for left, right in copies._candidates(hashes, np.zeros(len(hashes)))
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    }
    assert found == expected and len(expected) > 100


def test_many_images_that_look_alike_do_not_take_for_ever() -> None:
    """Twenty thousand: with every pair compared it would be 200 million."""
    rng = np.random.default_rng(0)
    count = 20_000
    hashes = np.full(count, 0x2AAA, np.uint64)
    looks = tuple(ImageScan(index.to_bytes(4, "big"), 32, 32, "RGB") for index in range(count))
    thumbs = rng.integers(0, 4, (count, 8, 8, 3), np.uint8)
    samples = tuple(Sample(Path(str(index)), "a") for index in range(count))
    started = time.process_time()
    found = near_copies(ScannedImages(samples, looks, hashes, rng.integers(0, 1 << 62, count, dtype=np.uint64), thumbs))
    assert [len(group.places) for group in found] == [count]
    assert time.process_time() - started < 10


def test_the_balance_of_classes_and_parts() -> None:
    found = balance(["a", "a", "a", "b", "a"], ["train", "train", "train", "train", "val"], known=["a", "b", "c"])
    assert found.counts == {"a": {"train": 3, "val": 1}, "b": {"train": 1, "val": 0}, "c": {"train": 0, "val": 0}}
    assert found.parts == ("train", "val") and found.missing("val") == ["b", "c"]
    assert found.ratio("train") == 3.0 and found.ratio("val") == 1.0
    assert balance([], [], known=["a"]).totals() == {"a": 0}


def test_the_spread_of_sizes() -> None:
    looks = [ImageScan(width=w, height=h) for w, h in ((100, 50), (100, 50), (8, 200), (300, 40))] + [
        ImageScan(error="broken")
    ]
    found = sizes(looks)
    assert found is not None
    assert (found.images, found.different, found.usual, found.usual_images) == (4, 3, (100, 50), 2)
    assert (found.smallest, found.largest, found.elongated, found.tiny) == ((8, 200), (300, 40), 2, 1)
    assert found.shorter_quartiles[1] == 45.0
    assert sizes([ImageScan(error="broken")]) is None
