"""One image file to the pixels the network sees: torchvision's geometry, every kind of file, every kind of damage."""

from __future__ import annotations

import ast
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import functional as F
from torchvision.transforms import v2

from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import pixels
from edgecnn.probe.normalise import normalise

MODES = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "lanczos": v2.InterpolationMode.LANCZOS,
}
PLAIN = Preprocessing(crop=(8, 8), resize=None, interpolation="nearest").to_dict()


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def one_colour(path: Path, color: str = "RGB") -> list[int]:
    found = pixels.load(path, {**PLAIN, "color": color})
    assert (found == found[0, 0]).all()
    return found[0, 0].tolist()


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((100, 75), 64, (56, 56)),
        ((75, 101), 64, (57, 49)),
        ((33, 500), 40, (32, 31)),
        ((64, 64), 64, (64, 64)),
        ((20, 30), 64, (61, 64)),
        ((30, 20), None, (16, 17)),
        ((13, 40), None, (24, 24)),
        ((40, 13), None, (15, 50)),
        ((9, 7), None, (20, 13)),
    ],
)
def test_resize_and_crop_are_those_of_torchvision(
    tmp_path: Path, interpolation: str, size: tuple[int, int], resize: int | None, crop: tuple[int, int]
) -> None:
    image = picture(*size)
    steps = [v2.CenterCrop(list(crop))]
    if resize is not None:
        steps.insert(0, v2.Resize(resize, interpolation=MODES[interpolation]))
    wanted = np.asarray(v2.Compose(steps)(image))

    settings = {**PLAIN, "crop": list(crop), "resize": resize, "interpolation": interpolation}
    found = pixels.load(saved(image, tmp_path / "a.png"), settings)

    assert found.dtype == np.uint8
    assert np.array_equal(found, wanted)


def test_the_longer_edge_is_rounded_as_torchvision_does_for_every_shape() -> None:
    for width in range(1, 60, 7):
        for height in range(1, 60, 5):
            image = Image.new("L", (width, height))
            for edge in (1, 7, 32):
                assert pixels.resize_shorter_edge(image, edge, 0).size == v2.Resize(edge)(image).size


@pytest.mark.parametrize("interpolation", MODES)
def test_stretch_ignores_the_aspect_ratio(tmp_path: Path, interpolation: str) -> None:
    image = picture(50, 31)
    wanted = np.asarray(v2.Resize((20, 24), interpolation=MODES[interpolation])(image))
    settings = {**PLAIN, "crop": [20, 24], "resize": 5, "stretch": True, "interpolation": interpolation}
    assert np.array_equal(pixels.load(saved(image, tmp_path / "a.png"), settings), wanted)


def test_normalising_is_bit_identical_to_torchvision(tmp_path: Path) -> None:
    image = picture(37, 29)
    p = Preprocessing(crop=(24, 24), resize=26)
    wanted = F.normalize(F.to_tensor(v2.CenterCrop(24)(v2.Resize(26)(image))), list(p.mean), list(p.std))
    found = normalise(pixels.load(saved(image, tmp_path / "a.png"), p.to_dict())[None], p.mean, p.std)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert torch.equal(torch.from_numpy(found)[0], wanted)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(picture(12, 9), tmp_path / f"a{suffix}", exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    found = pixels.load(path, {**PLAIN, "crop": wanted.shape[:2]})
    assert np.array_equal(found, wanted)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning:PIL")
def test_broken_exif_does_not_lose_the_image(tmp_path: Path) -> None:
    path = saved(picture(8, 8), tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert pixels.load(path, PLAIN).shape == (8, 8, 3)


def test_grey_and_palette_and_one_bit_become_rgb(tmp_path: Path) -> None:
    assert one_colour(saved(Image.new("L", (8, 8), 77), tmp_path / "l.png")) == [77, 77, 77]
    assert one_colour(saved(Image.new("1", (8, 8), 1), tmp_path / "1.png")) == [255, 255, 255]
    palette = Image.new("RGB", (8, 8), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert one_colour(saved(palette, tmp_path / "p.png")) == [10, 200, 30]


@pytest.mark.parametrize(("mode", "fill"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_what_is_transparent_is_white_whatever_lies_beneath(tmp_path: Path, mode: str, fill: Any) -> None:
    assert one_colour(saved(Image.new(mode, (8, 8), fill), tmp_path / "a.png")) == [255, 255, 255]


def test_half_transparent_is_blended_and_opaque_is_kept(tmp_path: Path) -> None:
    half = saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), tmp_path / "half.png")
    assert one_colour(half) == [127, 127, 127]
    assert one_colour(half, "L") == [127]
    assert one_colour(saved(Image.new("RGBA", (8, 8), (9, 8, 7, 255)), tmp_path / "opaque.png")) == [9, 8, 7]


def test_a_transparent_colour_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert one_colour(saved(image, tmp_path / "a.gif", transparency=1)) == [255, 255, 255]
    assert one_colour(saved(image, tmp_path / "b.png", transparency=b"\xff\x00")) == [255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), tmp_path / "a.jpg", quality=100)
    red, green, blue = one_colour(path)
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize(("value", "wanted"), [(0, 0), (65535, 255), (32768, 128), (257, 1), (300, 1), (128, 0)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, value: int, wanted: int, suffix: str) -> None:
    path = saved(Image.fromarray(np.full((8, 8), value, np.uint16)), tmp_path / f"a{suffix}")
    assert one_colour(path) == [wanted] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, dtype: type) -> None:
    path = saved(Image.fromarray(np.full((8, 8), 70000, dtype)), tmp_path / "a.tif")
    with pytest.raises(ValueError, match="no defined range"):
        pixels.load(path, PLAIN)


def test_the_order_of_channels_follows_color(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (8, 8), (10, 20, 30)), tmp_path / "a.png")
    assert one_colour(path, "RGB") == [10, 20, 30]
    assert one_colour(path, "BGR") == [30, 20, 10]
    assert one_colour(path, "L") == [Image.new("RGB", (1, 1), (10, 20, 30)).convert("L").getpixel((0, 0))]
    assert pixels.load(path, {**PLAIN, "color": "L"}).shape == (8, 8, 1)


def png_of(width: int, height: int) -> bytes:
    """A file of a few bytes that claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(60000, 60000))
    for look in (lambda: pixels.load(path, PLAIN), lambda: pixels.verify(path)):
        with pytest.raises(ValueError, match="decompression bomb"):
            look()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "photo.jpg"),
        (b"SIMPLE  =                    T" + b" " * 50, "photo.png"),
        (b"8BPS\0\1" + bytes(100), "photo.tif"),
        (b"\x00\x00\x01\x00\x01\x00\x08\x08" + bytes(100), "photo.bmp"),
    ],
    ids=["PostScript", "FITS", "Photoshop", "icon"],
)
def test_a_kind_that_is_not_decoded_is_refused_whatever_its_name_says(
    tmp_path: Path, content: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for look in (lambda: pixels.load(tmp_path / name, PLAIN), lambda: pixels.verify(tmp_path / name)):
        with pytest.raises(OSError, match="cannot identify"):
            look()


def test_more_pixels_than_are_decoded_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(picture(20, 10), tmp_path / "large.png")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 199)
    with pytest.raises(ValueError, match="20 x 10 are more"):
        pixels.load(path, PLAIN)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="no regular file"):
        pixels.load(tmp_path / "photo.png", PLAIN)


def test_a_strip_that_would_grow_huge_is_refused(tmp_path: Path) -> None:
    path = saved(Image.new("L", (1, 20000)), tmp_path / "strip.png")
    with pytest.raises(ValueError, match="too elongated"):
        pixels.load(path, {**PLAIN, "resize": 256})


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of damaged TIFF tags before it gives up
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".tif", ".bmp"])
def test_damage_anywhere_is_a_value_error_or_an_os_error(tmp_path: Path, suffix: str) -> None:
    whole = saved(picture(24, 24), tmp_path / f"whole{suffix}").read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / f"damaged{suffix}"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        hurt = bytearray(whole[:length])
        for at in rng.integers(0, max(length, 1), 3) if length else ():
            hurt[at] ^= 0xFF
        path.write_bytes(hurt)
        try:
            assert pixels.load(path, PLAIN).shape == (8, 8, 3)
        except (ValueError, OSError):
            continue


def test_a_truncated_photograph_is_refused(tmp_path: Path) -> None:
    path = saved(picture(64, 64), tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OSError, match="truncated"):
        pixels.load(path, PLAIN)


def test_the_file_stands_alone_on_python_3_8(tmp_path: Path) -> None:
    for module in (Path(pixels.__file__), Path(sys.modules[normalise.__module__].__file__ or "")):
        source = module.read_text()
        ast.parse(source, feature_version=(3, 8))
        assert "edgecnn" not in source
        (tmp_path / module.name).write_text(source)
    saved(picture(9, 9), tmp_path / "a.png")
    code = f"import sys, pixels, normalise\nprint(pixels.load('a.png', {PLAIN!r}).shape, 'edgecnn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(8, 8, 3) False"
