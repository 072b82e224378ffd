"""Contact sheet: pictures in rows, each with a few words below it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.core.store import write_atomically

if TYPE_CHECKING:
    from PIL import Image

EDGE = 144
"""Of a picture in pixels; smaller ones are enlarged by a whole factor."""
GAP, LINE, TITLE = 10, 16, 34
COLUMNS = 8
INK, FAINT, PAPER, EMPTY = "#202020", "#707070", "#ffffff", "#d8d8d8"


@dataclass(frozen=True, slots=True)
class SheetPicture:
    """One picture; the first line of words is dark, the others faint."""

    path: Path
    lines: tuple[str, ...]


def write_sheet(cells: Sequence[SheetPicture], path: Path, *, title: str, columns: int = COLUMNS) -> None:
    """Write the cells as a PNG, in reading order. A file that cannot be read leaves its place grey.

    Raises StepError where the disk refuses.
    """
    from PIL import Image, ImageDraw

    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    words = max((len(cell.lines) for cell in cells), default=0)
    step = (EDGE + GAP, EDGE + words * LINE + GAP)
    fonts = _font(12), _font(15)
    # Wide enough for the title where the pictures are few.
    width = max(columns * step[0] + GAP, round(fonts[1].getlength(title)) + 2 * GAP)
    canvas = Image.new("RGB", (width, TITLE + rows * step[1] + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), title, fill=INK, font=fonts[1])
    for number, cell in enumerate(cells):
        left, top = GAP + number % columns * step[0], TITLE + number // columns * step[1]
        picture = _picture(cell.path)
        canvas.paste(picture, (left + (EDGE - picture.width) // 2, top + (EDGE - picture.height) // 2))
        for place, line in enumerate(cell.lines):
            ink = FAINT if place else INK
            pen.text((left, top + EDGE + 2 + place * LINE), _fitting(line, fonts[0]), fill=ink, font=fonts[0])
    raw = io.BytesIO()
    canvas.save(raw, "PNG", optimize=True)
    write_atomically(path, raw.getvalue())


def _picture(path: Path) -> Image.Image:
    from PIL import Image

    from edgecnn.data.pixels import DAMAGED, to_eight_bit, upright

    try:
        with Image.open(path) as image:
            image.draft(None, (2 * EDGE, 2 * EDGE))
            image.load()
            picture = to_eight_bit(upright(image), "RGB")
    except (OSError, ValueError, Image.DecompressionBombError, *DAMAGED):
        return Image.new("RGB", (EDGE, EDGE), EMPTY)
    factor = EDGE // max(picture.size)
    if factor > 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    return picture


def _font(size: int) -> Any:
    """matplotlib's own DejaVu Sans: it has more scripts than Pillow's, and is there with every installation."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _fitting(line: str, font: Any) -> str:
    """The line where it is not wider than a picture, else without its end; of a file's name without its beginning."""
    line = " ".join(line.split())
    if font.getlength(line) <= EDGE:
        return line
    if "/" in line:
        while font.getlength("…" + line) > EDGE:
            line = line[1:]
        return "…" + line
    while font.getlength(line + "…") > EDGE:
        line = line[:-1]
    return line + "…"
