"""A confusion matrix as a picture: every cell for a few classes, the most confused pairs beside it for many."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.errors import InputError
from edgecnn.core.store import write_atomically

NUMBERED, NAMED = 20, 60
"""Up to so many classes each cell has its number; up to so many each row its name."""
PAIRS = 25
BLOCKS = 250
"""A larger matrix is drawn in so many blocks a side, each as dark as its darkest cell."""
NAME_LENGTH = 24
DPI = 150


def picture(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Write `matrix` (true class, predicted class) in images as a PNG, or an SVG where `path` ends so.

    A cell is coloured by its share of the true class. Raises InputError where names and matrix do not fit,
    StepError where the disk refuses.
    """
    if matrix.ndim != 2 or matrix.shape != (len(names), len(names)):
        raise InputError("bad-confusion", f"{len(names)} names do not fit a matrix of shape {list(matrix.shape)}")
    import matplotlib as mpl

    with mpl.rc_context({"font.family": ["DejaVu Sans"], "svg.hashsalt": "edgecnn"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a script the font lacks: boxes for its letters are enough
        figure = _many(matrix, names) if len(names) > NAMED else _few(matrix, names)
        raw = io.BytesIO()
        kind = "svg" if path.suffix.lower() == ".svg" else "png"
        stamp = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(raw, format=kind, dpi=DPI, metadata=stamp, bbox_inches="tight", facecolor="white")
    write_atomically(path, raw.getvalue())


def _shares(matrix: np.ndarray) -> np.ndarray:
    """Each row over its sum; a class without images is a row of zeros."""
    shares: np.ndarray = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    return shares


def _figure(width: float, height: float) -> Any:
    """Not through pyplot: that keeps figures, and asks for a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _few(matrix: np.ndarray, names: Sequence[str]) -> Any:
    count = len(names)
    cell = 0.45 if count <= NUMBERED else 0.22
    figure = _figure(max(3.5, count * cell + 2), max(3.0, count * cell + 1.5))
    axes = figure.add_subplot()
    shares = _shares(matrix)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 8 if count <= NUMBERED else 6
    shown = [_short(name) for name in names]
    for axis, turn in ((axes.xaxis, 90), (axes.yaxis, 0)):
        axis.set_ticks(range(count), labels=shown, rotation=turn, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    if count <= NUMBERED:
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{matrix[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if len(text) < 4 else 6)
    _labelled(axes, f"{int(matrix.sum()):,} images, {_right(matrix) * 100:.2f} % right")
    figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03, label="share of the true class")
    return figure


def _many(matrix: np.ndarray, names: Sequence[str]) -> Any:
    """The whole matrix without names on the left, the most frequent mistakes by name on the right."""
    figure = _figure(16, 7)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1, 0.55)})
    blocks = _blocks(_shares(matrix))
    image = left.imshow(blocks, cmap="Blues", vmin=0, vmax=1, extent=(0, len(names), len(names), 0))
    _labelled(left, f"{int(matrix.sum()):,} images of {len(names):,} classes, {_right(matrix) * 100:.2f} % right")
    figure.colorbar(image, ax=left, fraction=0.045, pad=0.03, label="share of the true class")
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = [int(place) for place in np.argsort(-wrong.ravel(), kind="stable")[:PAIRS] if wrong.ravel()[place]]
    pairs = [divmod(place, len(names)) for place in order]
    counts = [int(wrong[pair]) for pair in pairs]
    right.barh(range(len(pairs)), counts, color="#3182bd")
    shown = [f"{_short(names[true])} → {_short(names[said])}" for true, said in pairs]
    right.yaxis.set_ticks(range(len(pairs)), labels=shown, fontsize=8, parse_math=False)
    right.invert_yaxis()
    for row, number in enumerate(counts):
        right.text(number, row, f" {number:,}", va="center", fontsize=8)
    right.set_title("most confused: true → predicted", fontsize=10)
    right.set_xlabel("images")
    right.xaxis.get_major_locator().set_params(integer=True)
    for side in ("top", "right"):
        right.spines[side].set_visible(False)
    return figure


def _labelled(axes: Any, title: str) -> None:
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)


def _right(matrix: np.ndarray) -> float:
    return float(np.trace(matrix) / max(1, matrix.sum()))


def _blocks(shares: np.ndarray) -> np.ndarray:
    """At most `BLOCKS` a side: a lone dark cell must not vanish between pixels."""
    side = len(shares)
    if side <= BLOCKS:
        return shares
    starts = np.unique(np.linspace(0, side, BLOCKS, endpoint=False).astype(int))
    blocks: np.ndarray = np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)
    return blocks


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
