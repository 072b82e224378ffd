"""Table of images: a CSV file with the columns `path` and `label`, and optionally `split`.

Paths are relative to the table's folder. A table that names files anywhere on the machine says so by calling its column
`absolute_path`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from edgecnn.core.errors import InputError
from edgecnn.core.paths import irregularity, require_regular
from edgecnn.core.units import first_few
from edgecnn.data.listing import EVALUATION_NAMES, Listing, Sample

SHOWN = 3
SHOWN_CHARACTERS = 80
ABSOLUTE = "absolute_path"


def list_table(path: Path, *, unlabelled: bool = False) -> Listing:
    """List the images a CSV file names, relative to its folder; with `unlabelled` those that do not judge may be
    without a label. Raises InputError naming the lines to correct."""
    parts: dict[str, list[Sample]] = {"train": [], "evaluation": [], "undivided": []}
    wrong: list[str] = []
    outside: list[str] = []
    for line, row in rows(path, unlabelled=unlabelled):
        name, label = row["path"], row.get("label", "")
        part = _part(row.get("split"))
        if not name or not (label or (unlabelled and part != "evaluation")):
            wrong.append(f"line {line}: path or label is empty")
        elif part is None:
            wrong.append(f"line {line}: split '{row['split']}' is not train or {', '.join(EVALUATION_NAMES)}")
        elif problem := _path_problem(path.parent, name, absolute=ABSOLUTE in row):
            wrong.append(f"line {line}: {problem}")
        else:
            outside += [name] if _leaves(name) else []
            parts[part].append(Sample(path.parent / name, label))
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise _wrong_table(path, "; ".join(wrong[:SHOWN]) + more)
    if not any(parts.values()):
        raise InputError("no-images", f"{path} names no images", hint="add one line `path,label` per image")
    if bool(parts["train"]) != bool(parts["evaluation"]):
        parts["undivided"] = parts["train"] or parts["evaluation"] or parts["undivided"]
        parts["train"], parts["evaluation"] = [], []
    if any(not sample.label for sample in parts["undivided"]) and any(sample.label for sample in parts["undivided"]):
        return list_table(path)  # what judges would be taken from them: it says which lines lack a label
    origin = {part: str(path) for part, samples in parts.items() if samples}
    labels = sorted({sample.label for samples in parts.values() for sample in samples if sample.label})
    return Listing(
        path.parent,
        "table",
        train=tuple(parts["train"]),
        evaluation=tuple(parts["evaluation"]),
        undivided=tuple(parts["undivided"]),
        origin=origin,
        labels=tuple(labels),
        notes=(f"{len(outside)} images of {path} lie outside its folder: {first_few(outside)}",) if outside else (),
    )


def _path_problem(folder: Path, name: str, *, absolute: bool) -> str:
    """Why the file that a cell names cannot be used; empty where it can."""
    shown = name if len(name) <= SHOWN_CHARACTERS else f"{name[:SHOWN_CHARACTERS]}..."
    if Path(name).is_absolute() and not absolute:
        return f"{shown} is an absolute path, which only a column called {ABSOLUTE} may hold"
    try:
        kind = irregularity(folder / name)
        return f"{shown} is {kind}" if kind else "" if (folder / name).is_file() else f"there is no file {shown}"
    except (OSError, ValueError) as error:
        return f"{shown}: {getattr(error, 'strerror', None) or error}"


def _leaves(name: str) -> bool:
    """Whether a relative path climbs out of the table's folder."""
    return Path(os.path.normpath(name)).parts[:1] == (os.pardir,)


def _part(split: str | None) -> str | None:
    if split is None:
        return "undivided"
    word = split.lower()
    return "train" if word == "train" else "evaluation" if word in EVALUATION_NAMES else None


def rows(path: Path, *, unlabelled: bool = False) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column name). Raises InputError when it is no such table, for which `unlabelled` does
    without labels."""
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [column.strip().lower() for column in next(reader, [])]
            named = {"path" if column == ABSOLUTE else column for column in header}
            if not ({"path"} if unlabelled else {"path", "label"}) <= named:
                raise _wrong_table(path, f"its first line is '{','.join(header)}'")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    padded = [cell.strip() for cell in cells] + [""] * len(header)
                    row = dict(zip(header, padded, strict=False))
                    yield reader.line_num, {"path": row.get(ABSOLUTE, ""), **row}
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong_table(path, f"it is no CSV text in UTF-8: {error}") from error
    except OSError as error:
        raise _wrong_table(path, error.strerror or str(error)) from error


def _wrong_table(path: Path, why: str) -> InputError:
    return InputError(
        "bad-table",
        f"cannot use the table {path}",
        why=why,
        hint="the first line names the columns: path,label or path,label,split; paths are relative to the table",
    )
