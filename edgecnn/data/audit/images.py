"""Image scan of an audit: whether each file decodes, its size and mode, its digest, its perceptual hash."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgecnn.core.events import Listener, Progress
from edgecnn.core.paths import require_regular
from edgecnn.data import pixels
from edgecnn.data.images import DECODED, over_files
from edgecnn.data.listing import Sample

EDGE = 32
"""An image is brought to this many pixels a side before it is hashed."""
THUMB = 8
"""A side of what near-copies are compared by in the end, in colour."""
LOW = 8
"""Frequencies a side that make up the hash."""
SMALL_ENOUGH = 4 * EDGE
"""JPEG files are decoded at an eighth, a quarter or half of their size where that leaves so many pixels a side."""
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
BIT = np.uint64(1)
LARGEST_FILE = 1 << 29
MARGIN = 0.1
"""Above the median, of the standard deviation of an image's frequencies."""
NOISE = 64.0
"""Four times what white noise of one level makes of a frequency."""


@dataclass(frozen=True, slots=True)
class ImageScan:
    """One file. `error` says why it cannot be used, and then the rest is empty; `oddities` what a loader has to make
    up for: `CMYK`, `alpha`, `16 bit`, `palette`, `EXIF rotation`, `animation`."""

    sha256: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    oddities: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class ScannedImages:
    """All files in their order. `hashes` and `mirrored` are uint64 (N,): of the image, and of its mirror image;
    `thumbs` are uint8 (N, 8, 8, 3). All three are 0 where the file has an error."""

    samples: tuple[Sample, ...]
    looks: tuple[ImageScan, ...]
    hashes: np.ndarray
    mirrored: np.ndarray
    thumbs: np.ndarray

    @property
    def whole(self) -> list[int]:
        """Positions of the files that decode."""
        return [place for place, look in enumerate(self.looks) if not look.error]


def look_at(samples: Sequence[Sample], *, listener: Listener, step: str) -> ScannedImages:
    """Decode every file in a few threads. The hash is the sign of the lowest frequencies of the image's cosine
    transform against their median, 63 bits (C. Zauner, Implementation and benchmarking of perceptual image hash
    functions, 2010)."""
    looks: list[ImageScan] = []
    count = len(samples)
    hashes, mirrored = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    thumbs = np.zeros((count, THUMB, THUMB, 3), np.uint8)
    waiting: list[np.ndarray] = []
    for look, small in over_files(_look, [sample.path for sample in samples]):
        looks.append(look)
        waiting.append(small)
        if len(waiting) == _AT_ONCE or len(looks) == count:
            part = slice(len(looks) - len(waiting), len(looks))
            hashes[part], mirrored[part], thumbs[part] = _summed_up(np.stack(waiting))
            waiting = []
            listener(Progress(step, len(looks), count, "images"))
    for place, look in enumerate(looks):
        if look.error:
            hashes[place] = mirrored[place] = 0
            thumbs[place] = 0
    return ScannedImages(tuple(samples), tuple(looks), hashes, mirrored, thumbs)


_AT_ONCE = 256
_NOTHING = np.zeros((EDGE, EDGE, 3), np.uint8)


def _look(path: Path) -> tuple[ImageScan, np.ndarray]:
    """The facts of one file, and the image at `EDGE` pixels a side in RGB."""
    try:
        require_regular(path)
        if path.stat().st_size > LARGEST_FILE:
            return ImageScan(error=f"the file is larger than {LARGEST_FILE >> 20} MiB"), _NOTHING
        raw = path.read_bytes()
        if not raw:
            return ImageScan(error="the file is empty"), _NOTHING
        with Image.open(io.BytesIO(raw), formats=pixels.FORMATS) as image:
            pixels.require_size(image)
            width, height = image.size
            mode, oddities = image.mode, tuple(_oddities(image))
            image.draft(None, (SMALL_ENOUGH, SMALL_ENOUGH))
            image.load()
            eight_bit = pixels.to_eight_bit(pixels.upright(image), "RGB")
            small = np.asarray(
                eight_bit if eight_bit.size == (EDGE, EDGE) else eight_bit.resize((EDGE, EDGE), Image.Resampling.BOX)
            )
        return ImageScan(hashlib.sha256(raw).digest(), width, height, mode, oddities), small
    except UnidentifiedImageError:
        kind = f"{other} image, which is not read" if (other := pixels.other_kind(path)) else ""
        return ImageScan(error=kind or f"no image of a kind that is decoded: {', '.join(DECODED)}"), _NOTHING
    except (OSError, ValueError, MemoryError, Image.DecompressionBombError, *pixels.DAMAGED) as error:
        return ImageScan(error=getattr(error, "strerror", None) or str(error) or type(error).__name__), _NOTHING


def _oddities(image: Image.Image) -> Iterable[str]:
    if image.mode in ("CMYK", "YCCK"):
        yield "CMYK"
    if image.mode in pixels.WITH_ALPHA or "transparency" in image.info:
        yield "alpha"
    if image.mode == "P":
        yield "palette"
    if image.mode == "I" or image.mode.startswith("I;16") or _deep(image):
        yield "16 bit"
    if getattr(image, "is_animated", False) and image.format != "MPO":
        yield "animation"
    if pixels.orientation(image) in pixels.UPRIGHT:
        yield "EXIF rotation"


def _deep(image: Image.Image) -> bool:
    """A PNG of 16 bits a channel is told by how it is unpacked: Pillow's mode is that of 8."""
    tiles: Any = getattr(image, "tile", None)
    return image.format == "PNG" and bool(tiles) and "16" in str(tiles[0][3])


def _summed_up(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hashes, hashes of the mirror images, thumbnails) of uint8 (N, 32, 32, 3)."""
    block = EDGE // THUMB
    thumbs = images.reshape(-1, THUMB, block, THUMB, block, 3).mean((2, 4), dtype=np.float32)
    grey = images @ np.array([0.299, 0.587, 0.114], np.float32)
    low = _COSINES @ grey @ _COSINES.T
    # In a mirror image the odd horizontal frequencies have the other sign.
    turned = low * np.where(np.arange(LOW) % 2, -1, 1).astype(np.float32)
    return _bits(low), _bits(turned), np.rint(thumbs).astype(np.uint8)


def _bits(low: np.ndarray) -> np.ndarray:
    """uint64 (N,): which frequencies are clearly above their median; the mean brightness is left out.

    Clearly, for those a flat or a symmetric image lacks are 0 but for noise, and would be a coin's toss each.
    """
    values = low.reshape(len(low), -1)[:, 1:]
    margin = np.maximum(MARGIN * values.std(1, keepdims=True), NOISE)
    above = values > np.median(values, axis=1, keepdims=True) + margin
    weights = BIT << np.arange(values.shape[1], dtype=np.uint64)
    hashes: np.ndarray = (above * weights).sum(1, dtype=np.uint64)
    return hashes


def _cosines() -> np.ndarray:
    """The first `LOW` rows of the discrete cosine transform of `EDGE` points, DCT-II."""
    rows, points = np.arange(LOW)[:, None], np.arange(EDGE)[None, :]
    cosines: np.ndarray = np.cos(np.pi * rows * (2 * points + 1) / (2 * EDGE)).astype(np.float32)
    return cosines


_COSINES = _cosines()
