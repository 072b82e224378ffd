"""Pixels: from an image file to what the network sees. Pillow, numpy and Python 3.8 only, for it travels in the bundle.

The geometry is that of torchvision's `Resize` and `CenterCrop` on PIL images, pixel for pixel. What files hold beyond
8-bit RGB is settled here once: EXIF orientation is applied; transparency is composited on white; 16-bit grey is scaled
(65535 becomes 255), not clipped; palette, CMYK, 1-bit and the like become RGB; of an animation the first frame counts.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow's numbers: the names moved between the versions found on boards, the numbers did not.
RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
MAX_RESIZED_PIXELS = 1 << 27
MAX_PIXELS = 1 << 27
# The kinds that are decoded, whatever a file's name says. Pillow knows more: some hand the file to another program, as
# PostScript, or to a parser that few have tried.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
ORIENTATION_TAG = 0x0112
# EXIF orientation to Pillow's transposition: mirror, turn by 180 degrees, flip, transpose, 270, transverse, 90.
UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
# What Pillow's decoders let through on damaged files, besides OSError and ValueError.
DAMAGED = (SyntaxError, EOFError, LookupError, ArithmeticError, TypeError, AttributeError, struct.error, zlib.error)


def load(path: str | Path, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Decode one image file, resize and crop it: uint8 HWC, channels in the order of `preprocessing["color"]`.

    `preprocessing` holds `crop` (height, width), `resize` (shorter edge in pixels, or None), `stretch`, `interpolation`
    and `color`. Raises ValueError or OSError when the file is no image, damaged, or too large to be decoded safely.
    """
    with opened(path) as image:
        image.load()
        return fit(upright(image), preprocessing)


def from_array(frame: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """The same for a picture in memory: uint8, (height, width, 3) in RGB or (height, width) in grey.

    Raises ValueError for any other array.
    """
    if frame.dtype != np.uint8 or not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        raise ValueError(
            f"a picture is uint8 of (height, width, 3) or (height, width), not {frame.dtype} {frame.shape}"
        )
    return fit(Image.fromarray(np.ascontiguousarray(frame)), preprocessing)


def verify(path: str | Path) -> None:
    """Check that a file looks like a whole image, without decoding it.

    Raises ValueError or OSError. A photograph cut short may pass: only decoding finds that.
    """
    with opened(path) as image:
        image.verify()


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file whose pixels are not decoded yet.

    Raises ValueError or OSError for whatever is wrong with the file, also when that shows only inside the `with`.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - text or Path
        raise ValueError("it is no regular file")
    try:
        with Image.open(path, formats=FORMATS) as image:
            require_size(image)
            yield image
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except UnidentifiedImageError as error:
        if kind := other_kind(path):
            raise ValueError(f"it is {kind}, which is not read: turn it into JPEG or PNG") from error
        raise
    except DAMAGED as error:
        raise ValueError(f"damaged image: {error or type(error).__name__}") from error


def other_kind(path: str | Path) -> str:
    """AVIF or HEIC, whatever the file is called; empty for anything else. Both are ISO base media files, which begin
    with a box `ftyp` that names the brand (ISO/IEC 14496-12)."""
    with open(path, "rb") as file:  # noqa: PTH123 - text or Path
        head = file.read(12)
    if head[4:8] != b"ftyp":
        return ""
    return {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF"}.get(head[8:12], "")


def require_size(image: Image.Image) -> None:
    """Raises ValueError for more pixels than are decoded: a small file can hold any number of equal ones."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} are more than the {MAX_PIXELS >> 20} million pixels that are decoded")


def fit(image: Image.Image, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Bring an upright image to the network's colours and size: uint8 HWC."""
    color = preprocessing["color"]
    height, width = preprocessing["crop"]
    image = to_eight_bit(image, "L" if color == "L" else "RGB")
    resampling = RESAMPLING[preprocessing["interpolation"]]
    if preprocessing["stretch"]:
        image = image.resize((width, height), resampling)
    elif preprocessing["resize"] is not None:
        image = resize_shorter_edge(image, preprocessing["resize"], resampling)
    pixels = np.asarray(crop_centre(image, height, width))
    if color == "L":
        return pixels[:, :, None]
    return np.ascontiguousarray(pixels[:, :, ::-1]) if color == "BGR" else pixels


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; unreadable EXIF counts as none."""
    turn: Any = UPRIGHT.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; 5 to 8 lie on their side."""
    try:
        orientation_tag: int = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # Pillow documents no error here, and without EXIF the image is as good
        return 1
    return orientation_tag


def to_eight_bit(image: Image.Image, mode: str) -> Image.Image:
    """Convert any mode to `mode`, RGB or L. Raises ValueError where the range of the values is unknown."""
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no defined range; save the image with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_sixteen_bit(image)
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _from_sixteen_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("32-bit integer pixels have no defined range; save the image with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def resize_shorter_edge(image: Image.Image, edge: int, resampling: Any) -> Image.Image:
    """torchvision's `Resize(edge)`: the longer edge is truncated, not rounded."""
    width, height = image.size
    longer = int(edge * max(width, height) / min(width, height))
    if edge * longer > MAX_RESIZED_PIXELS:
        raise ValueError(f"too elongated: the shorter edge of {width} x {height} at {edge} makes the longer {longer}")
    size = (edge, longer) if width <= height else (longer, edge)
    return image if size == image.size else image.resize(size, resampling)


def crop_centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """torchvision's `CenterCrop`: half pixels round to even; an image smaller than the crop is framed in black."""
    left, top = _offset(image.size[0], width), _offset(image.size[1], height)
    return image.crop((left, top, left + width, top + height))


def _offset(size: int, wanted: int) -> int:
    return -((wanted - size) // 2) if wanted > size else round((size - wanted) / 2.0)
