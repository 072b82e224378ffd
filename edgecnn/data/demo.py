"""Demo data that needs no download: the handwritten digits of scikit-learn."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgecnn.core.store import beside, cannot_write

ENLARGE = 4
VALIDATION_EVERY = 3


def write_digits(folder: Path) -> None:
    """Write 1,797 handwritten digits as an image folder: `train/0` to `train/9`, and every third of a class in `val`.

    32x32 grey PNG files, each pixel of the 8x8 originals as a square of 4x4, levels 0..16 scaled to 0..255. Does
    nothing where the folder is there already; appears whole or not at all. Raises StepError when the disk refuses.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998,
    https://doi.org/10.24432/C50P49.
    """
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return
    unfinished = beside(folder)
    try:
        _write(unfinished)
        if folder.is_dir():
            folder.rmdir()  # an empty folder may be replaced; anything else is not ours to remove
        unfinished.rename(folder)
    except OSError as error:
        if not (folder / "val").is_dir():  # else another process was first, with the same images
            raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]

    digits = load_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = levels.repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)
    counts = [0] * 10
    for number, (image, label) in enumerate(zip(enlarged, digits.target, strict=True)):
        part = "val" if counts[label] % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"
        counts[label] += 1
        place = folder / part / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:04}.png")
