"""Input of a loaded model: name, shape and type."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .errors import ProbeError

CHANNELS = (1, 3, 4)


class InputSpec(NamedTuple):
    """One input as the file has it: `shape` of ints, or a name where the size is free; numpy `dtype`; NCHW, NHWC or
    None."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str | None

    def sized(self, batch: int = 1) -> tuple[int, ...]:
        """The shape with a free batch filled in; raises ProbeError free-shape for any other free size."""
        shape = (batch, *self.shape[1:]) if self.shape and not isinstance(self.shape[0], int) else self.shape
        if not all(isinstance(size, int) for size in shape):
            raise ProbeError(
                "free-shape",
                f"input '{self.name}' has no fixed size: {list(self.shape)}",
                hint="say its sizes: --shape " + (self.name or "input") + ":1x3x224x224, or export it with fixed ones",
            )
        return tuple(int(size) for size in shape)


def layout_of(shape: tuple[int | str, ...]) -> str | None:
    """Where the channels of an image input stand, judged by which axis is 1, 3 or 4 wide; None when neither is."""
    if len(shape) != 4:
        return None
    if shape[1] in CHANNELS:
        return "NCHW"
    return "NHWC" if shape[3] in CHANNELS else None


def arrange(images: np.ndarray, spec: InputSpec) -> np.ndarray:
    """NCHW images in the layout of `spec`, as float32 or the file's own float type; adapters quantise."""
    if spec.layout == "NHWC":
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    return images.astype(spec.dtype if np.dtype(spec.dtype).kind == "f" else np.float32, copy=False)


def with_shapes(specs: list[InputSpec], shapes: dict[str, list[int]]) -> list[InputSpec]:
    """The inputs with the `shapes` that somebody chose for those with free sizes."""
    return [
        spec._replace(shape=tuple(shapes[spec.name]), layout=layout_of(tuple(shapes[spec.name])))
        if spec.name in shapes
        else spec
        for spec in specs
    ]


def batched(specs: list[InputSpec]) -> list[InputSpec]:
    """The inputs whose first axis counts images: images themselves where there are any, else all of two axes or more.

    Where those do not agree on a first axis that is fixed, it counts something else, the layers of a recurrent state
    for example: then they are those whose first axis is free.
    """
    several = [spec for spec in specs if len(spec.shape) > 1]
    chosen = [spec for spec in several if spec.layout] or several
    if len({spec.shape[0] if isinstance(spec.shape[0], int) else "free" for spec in chosen}) <= 1:
        return chosen
    return [spec for spec in chosen if not isinstance(spec.shape[0], int)]


def check_batch(specs: list[InputSpec], batch: int) -> None:
    """Raise ProbeError fixed-batch where the model takes another number of images at a time."""
    counting = batched(specs)
    for spec in counting:
        if isinstance(spec.shape[0], int) and spec.shape[0] != batch:
            fixed = spec.shape[0]
            raise ProbeError(
                "fixed-batch",
                f"the model takes {fixed} image{'s' if fixed != 1 else ''} at a time, not {batch}",
                f"input '{spec.name}' is {list(spec.shape)}",
                f"measure it with batch {fixed}, or export it with a free batch",
            )
    if batch > 1 and not counting and any(len(spec.shape) > 1 for spec in specs):
        raise ProbeError(
            "fixed-batch",
            f"no input of the model takes {batch} images at a time",
            ", ".join(f"'{spec.name}' is {list(spec.shape)}" for spec in specs),
            "measure it with batch 1",
        )


def random_feeds(specs: list[InputSpec], count: int, seed: int, *, batch: int = 1) -> list[dict[str, np.ndarray]]:
    """`count` sets of distinct inputs: standard normal for floats, the whole range for 8-bit integers, 0 or 1
    otherwise; a free first axis is `batch` long."""
    rng = np.random.default_rng(seed)
    return [{spec.name: _random(spec.sized(batch), np.dtype(spec.dtype), rng) for spec in specs} for _ in range(count)]


def _random(shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    if dtype.kind == "f":
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max + 1, shape, dtype=dtype)
    return rng.integers(0, 2, shape).astype(dtype)
