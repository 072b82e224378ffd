"""Catalog of the registered architectures by the names and shapes of their weights: a bare checkpoint is recognised
without building a thousand networks.

`python -m edgecnn.models.catalog` writes it anew from the installed torchvision and timm. A line of it holds a hash
of the sorted key names, a hash of keys with shapes, and the positions of the keys left out of the second one, as they
depend on the number of classes or input channels. `sketches` (MinHash: Broder 1997) find the nearest when nothing fits.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from edgecnn.models.library_names import LIBRARIES, PATH, read_catalog
from edgecnn.models.registry import Entry, Form, Shapes, names, outline, without_training_heads

_ASKED = 1009
_SKETCH = 16


def key_hash(keys: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:12]


def shape_hash(keys: Sequence[str], shapes: Shapes, loose: Iterable[int]) -> str:
    skipped = set(loose)
    lines = [f"{key}{list(shapes[key])}" for position, key in enumerate(keys) if position not in skipped]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:10]


def sketch(keys: Iterable[str]) -> list[str]:
    """Sixteen minima of a hash over the keys: the share of equal ones estimates how alike two key sets are."""
    smallest = [b"\xff" * 2] * _SKETCH
    for key in keys:
        digest = hashlib.sha512(key.encode()).digest()
        pieces = [digest[4 * i : 4 * i + 2] for i in range(_SKETCH)]
        smallest = [min(pair) for pair in zip(smallest, pieces, strict=True)]
    return [piece.hex() for piece in smallest]


@cache
def _by_keys() -> dict[str, list[tuple[str, str, tuple[int, ...]]]]:
    entries: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {}
    for name, line in read_catalog()["models"].items():
        keys, shapes, loose = line.split(" ")
        entries.setdefault(keys, []).append((name, shapes, tuple(int(item) for item in loose.split(",") if item)))
    return entries


def lookup(shapes: Shapes) -> list[Entry]:
    """Entries with these keys and shapes, whatever the classes and input channels; torchvision first."""
    keys = sorted(without_training_heads(shapes))
    hashes: dict[tuple[int, ...], str] = {}
    entries = []
    for name, wanted, loose in _by_keys().get(key_hash(keys), []):
        if loose not in hashes:
            hashes[loose] = shape_hash(keys, shapes, loose)
        if hashes[loose] == wanted:
            entries.append(entry_of(name))
    return sorted(entries, key=lambda entry: (LIBRARIES.index(entry.library), len(entry.name), entry.name))


def nearest(shapes: Shapes, count: int) -> list[Entry]:
    """Installed entries whose key names are most like those given, the most alike first."""
    mine = sketch(without_training_heads(shapes))
    ranked = []
    for keys, line in read_catalog()["sketches"].items():
        size, *theirs = line.split(" ")
        alike = sum(a == b for a, b in zip(mine, theirs, strict=True))
        if alike:
            ranked.append((-alike, abs(int(size) - len(shapes)), keys))
    entries: list[Entry] = []
    for _, _, keys in sorted(ranked)[: 4 * count]:
        listed = sorted(
            (entry_of(name) for name, _, _ in _by_keys()[keys]), key=lambda e: (e.library != "torchvision", len(e.name))
        )
        entries += [entry for entry in listed if entry.name in names(entry.library)][:count]
    return entries[: 3 * count]


def unlisted() -> list[Entry]:
    """Installed architectures the index does not know: made by a newer library than the index."""
    listed = read_catalog()["models"]
    return [
        entry
        for which in LIBRARIES
        for entry in (Entry(which, name) for name in names(which))
        if str(entry) not in listed
    ]


def entry_of(name: str) -> Entry:
    library, _, rest = name.partition(":")
    return Entry(library, rest)


def _line(entry: Entry) -> tuple[str, str, int, list[str]]:
    plan = outline(entry, Form(_ASKED))
    keys = sorted(without_training_heads(plan))
    loose = [
        i for i, key in enumerate(keys) if plan[key][:1] == (_ASKED,) or (len(plan[key]) == 4 and plan[key][1] == 3)
    ]
    names_hash = key_hash(keys)
    line = f"{names_hash} {shape_hash(keys, plan, loose)} {','.join(map(str, loose))}"
    return names_hash, line, len(keys), sketch(keys)


def make() -> dict[str, Any]:
    """Build every installed architecture once, on the meta device. Takes minutes."""
    models, sketches = {}, {}
    for entry in (Entry(which, name) for which in LIBRARIES for name in names(which)):
        try:
            keys, line, count, minima = _line(entry)
        except Exception as error:
            sys.stderr.write(f"left out {entry}: {error!r}\n")
            continue
        models[str(entry)] = line
        sketches[keys] = " ".join([str(count), *minima])
    return {"versions": {which: version(which) for which in LIBRARIES}, "models": models, "sketches": sketches}


if __name__ == "__main__":
    PATH.write_text(json.dumps(make(), indent=0, sort_keys=True) + "\n")
