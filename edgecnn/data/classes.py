"""Class map: which output of the network a class name stands for."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgecnn.core.errors import InputError, did_you_mean
from edgecnn.core.paths import require_regular
from edgecnn.core.third_party import sanitize
from edgecnn.core.units import first_few
from edgecnn.data.listing import Listing

MOST_DIGITS = 9
OF_ANOTHER = "not the network's"
"""How the source of `OtherClasses` begins."""
FORMS = "one class name per line, a JSON object of name and index, or CSV lines of name,index"


class LabelMap(Protocol):
    """What the labels of a data set stand for: a class map, or what another task makes of them.

    `indices` gives the label of an image by the text in its folder's name or in the table; `names` has one entry per
    output of the network; `source` says where both are from.
    """

    @property
    def indices(self) -> Mapping[str, Any]: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...


class LabelReader(Protocol):
    """What reads the labels of a listing for a network with so many outputs; see `class_map_for`."""

    def __call__(
        self, listing: Listing, num_classes: int, *, path: Path | None = None, class_names: Sequence[str] | None = None
    ) -> LabelMap: ...


@dataclass(frozen=True, slots=True)
class ClassMap:
    """Class name to output index. `source` says where it comes from; `names` has one entry per output."""

    indices: Mapping[str, int]
    num_classes: int
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the outputs; an output nobody named is called by its number."""
        names = [str(index) for index in range(self.num_classes)]
        for name, index in reversed(list(self.indices.items())):
            names[index] = name
        return tuple(names)

    def index(self, label: str) -> int | None:
        return self.indices.get(label)


def read_class_map(path: Path, num_classes: int) -> ClassMap:
    """Read a class map: text (line number is the index), `.json` (name to index) or `.csv` (name, index).

    Raises InputError naming the first entries that do not fit a network with `num_classes` outputs.
    """
    try:
        require_regular(path)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "the file is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or str(error)
        raise _wrong_map(path, why) from error
    read = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_lines)
    entries = read(text, path)
    repeated = [name for name, count in Counter(name for name, _ in entries).items() if count > 1]
    if repeated:
        raise _wrong_map(path, f"it names {first_few(repeated)} more than once")
    if read is _from_lines and len(entries) != num_classes:
        why = f"it has {len(entries)} lines, the network {num_classes} outputs, and the line number is the output"
        raise _wrong_map(path, why)
    outside = [f"{name} = {index}" for name, index in entries if not 0 <= index < num_classes]
    if outside:
        raise _wrong_map(path, f"{first_few(outside)}: outside the network's outputs 0 to {num_classes - 1}")
    if not entries:
        raise _wrong_map(path, "it is empty")
    return ClassMap(dict(entries), num_classes, f"class map {path}")


def class_map_for(
    listing: Listing, num_classes: int, *, path: Path | None = None, class_names: Sequence[str] | None = None
) -> ClassMap:
    """The map to use: a given file, else the checkpoint's names, else the sorted names met in the data.

    Raises InputError when the data has classes the map does not know, or counts differ.
    """
    if path is not None:
        return _checked(read_class_map(path, num_classes), listing)
    if class_names is not None:
        if len(class_names) != num_classes:
            raise InputError(
                "class-count",
                f"the checkpoint has {num_classes} outputs but names {len(class_names)} classes",
                hint="give the classes with --class-map FILE",
            )
        first = {name: index for index, name in reversed(list(enumerate(class_names)))}
        return _checked(ClassMap(first, num_classes, "class names in the checkpoint"), listing)
    return _from_data(listing, num_classes)


@dataclass(frozen=True, slots=True)
class OtherClasses:
    """Classes of the data that are not the network's: images are spread over them, and nothing is judged by them.

    `names` are those of the network's outputs, for none of which an image stands.
    """

    indices: Mapping[str, int]
    names: tuple[str, ...]
    source: str


def regardless(read: LabelReader) -> LabelReader:
    """Read labels as `read` does, but take classes that do not fit the network for what they are, where no class map
    was given: for work that judges nothing."""

    def lenient(
        listing: Listing, num_classes: int, *, path: Path | None = None, class_names: Sequence[str] | None = None
    ) -> LabelMap:
        try:
            return read(listing, num_classes, path=path, class_names=class_names)
        except InputError as error:
            if path is not None or error.code not in ("class-count", "unknown-class"):
                raise
            indices = {name: index for index, name in enumerate(sorted(listing.labels))}
            known = class_names is not None and len(class_names) == num_classes
            names = tuple(class_names or ()) if known else tuple(map(str, range(num_classes)))
            return OtherClasses(indices, names, f"{OF_ANOTHER}: {error.message}")

    return lenient


def known_names(names: Sequence[str]) -> tuple[str, ...] | None:
    """Names of the outputs; None where they are the numbers that stand for names nobody knows."""
    return None if list(names) == [str(index) for index in range(len(names))] else tuple(names)


def _from_data(listing: Listing, num_classes: int) -> ClassMap:
    names = sorted(listing.labels)
    numbers = {label: number for label in names if (number := output_index(label)) is not None}
    if listing.form == "table" and len(numbers) == len(names):
        outside = [label for label in names if numbers[label] >= num_classes]
        if outside:
            raise InputError(
                "class-count",
                f"label {first_few(outside)} in {next(iter(listing.origin.values()))} is outside the network's outputs",
                why=f"the network has {num_classes} outputs, 0 to {num_classes - 1}",
                hint="correct the labels, or give names as labels and their outputs with --class-map FILE",
            )
        return ClassMap(numbers, num_classes, "labels are output indices")
    if len(names) != num_classes:
        raise InputError(
            "class-count",
            f"the data has {len(names)} classes, the network {num_classes} outputs",
            why=f"classes found: {first_few(names)}",
            hint=f"say which output each class is with --class-map FILE: {FORMS}",
        )
    return ClassMap({name: index for index, name in enumerate(names)}, num_classes, "sorted names of the classes")


def output_index(label: str) -> int | None:
    """The output that a label names by its number; None where it is no number that an output has."""
    return int(label) if label.isascii() and label.isdecimal() and len(label) <= MOST_DIGITS else None


def _checked(classes: ClassMap, listing: Listing) -> ClassMap:
    """Refuse labels the map lacks; a table's labels may be output indices as well as names."""
    unknown = [label for label in listing.labels if label not in classes.indices]
    numbers = {label: number for label in unknown if (number := output_index(label)) is not None}
    if listing.form == "table" and all(numbers.get(label, -1) in range(classes.num_classes) for label in unknown):
        return ClassMap({**classes.indices, **numbers}, classes.num_classes, classes.source)
    if unknown:
        raise InputError(
            "unknown-class",
            f"{len(unknown)} of {len(listing.labels)} classes in the data are unknown: {first_few(unknown)}",
            why=f"not in the {classes.source}; for '{unknown[0]}': {_nearest(unknown[0], classes.indices)}",
            hint=f"rename the class folders, or give --class-map FILE: {FORMS}",
        )
    return classes


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    hint = did_you_mean(name, names)
    return hint if hint.startswith("did you mean") else f"known: {first_few(names)}"


def _from_lines(text: str, path: Path) -> list[tuple[str, int]]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise _wrong_map(path, f"line {lines.index('') + 1} is empty, and the line number is the output")
    return [(name, index) for index, name in enumerate(lines)]


def _from_json(text: str, path: Path) -> list[tuple[str, int]]:
    def pairs(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return items  # a dict would silently keep the last of two equal names

    try:
        entries = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise _wrong_map(path, f"it is no JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, tuple) for entry in entries):
        raise _wrong_map(path, "it is no JSON object")
    for name, index in entries:
        if not isinstance(index, int) or isinstance(index, bool):
            raise _wrong_map(path, f"the index of '{name}' is no whole number")
    return entries


def _from_csv(text: str, path: Path) -> list[tuple[str, int]]:
    entries = []
    try:
        for line, cells in enumerate(csv.reader(text.splitlines()), start=1):
            row = [cell.strip() for cell in cells]
            if not any(row) or (line == 1 and [cell.lower() for cell in row[1:2]] == ["index"]):
                continue
            index = output_index(row[1]) if len(row) == 2 else None
            if index is None:
                raise _wrong_map(path, f"line {line} is not `name,index`: {sanitize(','.join(row))}")
            entries.append((row[0], index))
    except csv.Error as error:
        raise _wrong_map(path, f"it is no CSV: {error}") from error
    return entries


def _wrong_map(path: Path, why: str) -> InputError:
    return InputError("bad-class-map", f"cannot use the class map {path}", why=why, hint=f"a class map is {FORMS}")
