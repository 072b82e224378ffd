"""Image set: files that a few threads decode batch by batch, so that memory does not grow with their number."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np

In = TypeVar("In")
Out = TypeVar("Out")
THREADS = min(8, os.cpu_count() or 1)
LOOK_AHEAD = 4 * THREADS
SMALL_FILES_PER_TASK = 64
DECODED = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WebP")
"""As `edgecnn.data.pixels.FORMATS`, in words."""


class ImageSet:
    """Image files with their labels and one preprocessing; satisfies `core.stage.Images`.

    `labels` are in the task's terms (output indices for classification), one per path, or None. `root` is the folder
    that the names in the digest are relative to.
    File digests are computed once and shared with every set made from this one.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Sequence[Any] | None,
        *,
        preprocessing: Preprocessing,
        root: Path,
        file_digests: dict[Path, str] | None = None,
    ) -> None:
        if labels is not None and len(labels) != len(paths):
            raise ValueError(f"{len(paths)} images but {len(labels)} labels")
        self.paths = tuple(paths)
        self.labels = None if labels is None else tuple(labels)
        self.preprocessing = preprocessing
        self.root = root
        self._file_digests = {} if file_digests is None else file_digests
        self._digest = ""
        self._ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImageSet({len(self)} images under {self.root})"

    @property
    def ids(self) -> tuple[str, ...]:
        """Names relative to `root`, with `/` between folders."""
        if not self._ids:
            self._ids = tuple(Path(os.path.relpath(path, self.root)).as_posix() for path in self.paths)
        return self._ids

    @property
    def digest(self) -> str:
        """sha256 over names, file contents, labels and preprocessing, in order."""
        if not self._digest:
            parts = [self.preprocessing.to_dict(), self.ids, self.file_digests(), self.labels]
            self._digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self._digest

    def file_digests(self) -> list[str]:
        """sha256 of each file's bytes, in order. Raises InputError naming a file that cannot be read."""
        missing = [path for path in dict.fromkeys(self.paths) if path not in self._file_digests]
        self._file_digests.update(zip(missing, over_files(_digest_of_file, missing), strict=True))
        return [self._file_digests[path] for path in self.paths]

    def check(self) -> None:
        """Look at every file's header; raises InputError naming the first that is no image."""
        for _ in over_files(_check_header, self.paths):
            pass

    def take(self, count: int) -> ImageSet:
        """The first `count` images."""
        return self.select(range(min(max(count, 0), len(self))))

    def select(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order."""
        chosen = list(indices)
        return ImageSet(
            [self.paths[index] for index in chosen],
            None if self.labels is None else [self.labels[index] for index in chosen],
            preprocessing=self.preprocessing,
            root=self.root,
            file_digests=self._file_digests,
        )

    def prepared(self, preprocessing: Preprocessing) -> ImageSet:
        """The same images for a network that takes them otherwise."""
        return ImageSet(
            self.paths, self.labels, preprocessing=preprocessing, root=self.root, file_digests=self._file_digests
        )

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, uint8 NHWC. Raises InputError naming a file that cannot be decoded."""
        import numpy as np

        if size < 1:
            raise ValueError(f"a batch needs at least one image, not {size}")
        shape = (*self.preprocessing.crop, self.preprocessing.channels)
        raw = self.preprocessing.to_dict()
        decoded = in_order(lambda path: decode(path, raw), self.paths)
        for start in range(0, len(self), size):
            batch = np.empty((min(size, len(self) - start), *shape), np.uint8)
            for row in batch:
                row[...] = next(decoded)
            yield batch

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, float32 NCHW, normalised."""
        from edgecnn.probe.normalise import normalise

        for batch in self.pixels(size):
            yield normalise(batch, self.preprocessing.mean, self.preprocessing.std)


def over_files(work: Callable[[Path], Out], paths: Sequence[Path]) -> Iterator[Out]:
    """Cheap work on many files: a thread gets them by the handful, or handing over would cost more than the work."""
    handfuls = [paths[start : start + SMALL_FILES_PER_TASK] for start in range(0, len(paths), SMALL_FILES_PER_TASK)]
    for results in in_order(lambda handful: [work(path) for path in handful], handfuls):
        yield from results


def in_order(work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """Results in the order of `items`, made by threads that run at most `LOOK_AHEAD` items ahead of the reader."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="edgecnn-images")
    waiting: deque[Future[Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _digest_of_file(path: Path) -> str:
    with reading(path):
        return sha256_of(path)


def _check_header(path: Path) -> None:
    from edgecnn.data import pixels

    with reading(path):
        pixels.verify(path)


def decode(path: Path, preprocessing: dict[str, object]) -> np.ndarray:
    """One image as the network takes it, uint8 HWC. Raises InputError naming a file that cannot be decoded."""
    from edgecnn.data import pixels

    with reading(path):
        return pixels.load(path, preprocessing)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """What Pillow or the system say of a file that is read or decoded meanwhile is an InputError that names it."""
    try:
        yield
    except (OSError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> InputError:
    """The error for a file that could not be read or decoded, from what Pillow or the system said."""
    if isinstance(error, FileNotFoundError):
        why = "the file is not there any more"
    elif path.is_file() and path.stat().st_size == 0:
        why = "the file is empty"
    elif type(error).__name__ == "UnidentifiedImageError":
        why = f"it is no image of a kind that is decoded: {', '.join(DECODED)}"
    else:
        why = str(error) or type(error).__name__
    return InputError(
        "broken-image",
        f"cannot read the image {path}",
        why=why,
        hint="replace the file or remove it, then run the same command again",
    )
