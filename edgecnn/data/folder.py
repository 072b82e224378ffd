"""Image folders: `DIR/train/CLASS/*.jpg` beside `DIR/val/CLASS/*.jpg`, or `DIR/CLASS/*.jpg` alone."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from edgecnn.core.errors import InputError
from edgecnn.data.listing import EVALUATION_NAMES, Listing, Sample

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
)
LAYOUT = "lay the images out as DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg"


def list_folder(root: Path) -> Listing:
    """List an image folder. Raises InputError when it holds no images by class.

    Only files directly in a class folder count; hidden files, files that are no images and files in deeper folders are
    passed over and counted. Symbolic links are followed to one level, so a loop of them ends.
    """
    skipped: Counter[str] = Counter()
    folders = _subfolders(root)
    train = next((folder for folder in folders if folder.name.lower() == "train" and _holds_classes(folder)), None)
    judging = [folder for name in EVALUATION_NAMES for folder in folders if folder.name.lower() == name]
    judging = [folder for folder in judging if _holds_classes(folder)]
    if train is None and not judging:
        samples, labels = _classes_in(root, skipped)
        _require_images(root, samples, skipped)
        origin = {"undivided": str(root)}
        return Listing(root, "class folders", undivided=samples, origin=origin, labels=labels, skipped=_sorted(skipped))
    parts = {folder: _classes_in(folder, skipped) for folder in (train, *judging[:1]) if folder is not None}
    for folder, (samples, _) in parts.items():
        _require_images(folder, samples, skipped)
    labels = tuple(sorted({label for _, found in parts.values() for label in found}))
    known = [train.name] if train is not None else []
    others = [folder.name for folder in folders if folder not in parts and folder.name not in known]
    notes = (f"not used: {', '.join(others)} in {root}",) if others else ()
    if train is not None and judging:
        return Listing(
            root,
            "train and evaluation folders",
            train=parts[train][0],
            evaluation=parts[judging[0]][0],
            origin={"train": str(train), "evaluation": str(judging[0])},
            labels=labels,
            skipped=_sorted(skipped),
            notes=notes,
        )
    ((folder, (samples, _)),) = parts.items()
    origin = {"undivided": str(folder)}
    form = f"{folder.name} folder alone"
    return Listing(root, form, undivided=samples, origin=origin, labels=labels, skipped=_sorted(skipped), notes=notes)


def _holds_classes(folder: Path) -> bool:
    """Whether a folder called train or val is one, and not a class of that name: then images lie directly in it."""
    with os.scandir(folder) as entries:
        return not any(_is_image_name(entry.name) and not entry.is_dir() for entry in entries)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except OSError as error:
        raise InputError(
            "no-data",
            f"cannot read the data folder {folder}",
            why=error.strerror or str(error),
            hint="give a folder you may read with --data DIR",
        ) from error
    return [folder / name for name in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads back to itself
        return False


def _classes_in(folder: Path, skipped: Counter[str]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    classes = _subfolders(folder)
    samples = [Sample(path, group.name) for group in classes for path in _images_in(group, skipped)]
    with os.scandir(folder) as entries:
        skipped["beside the class folders"] += sum(_is_image_name(entry.name) for entry in entries)
    return tuple(samples), tuple(group.name for group in classes)


def _images_in(folder: Path, skipped: Counter[str]) -> list[Path]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                skipped["hidden"] += 1
            elif _is_folder(entry):
                skipped["in deeper folders"] += _files_below(entry)
            elif not _is_image_name(entry.name):
                skipped["not an image"] += 1
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                skipped["broken links"] += 1
            else:
                names.append(entry.name)
    return [folder / name for name in sorted(names)]


def _files_below(entry: os.DirEntry[str]) -> int:
    return 0 if entry.is_symlink() else sum(len(files) for _, _, files in os.walk(entry.path))


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 (10x faster)


def _sorted(skipped: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(skipped.items()) if count}


def _require_images(folder: Path, samples: tuple[Sample, ...], skipped: Counter[str]) -> None:
    if samples:
        return
    passed = ", ".join(f"{count} {reason}" for reason, count in _sorted(skipped).items())
    why = f"no image lies in a class folder (passed over: {passed})" if passed else "no image lies in a class folder"
    if not any(folder.iterdir()):
        why = "the folder is empty"
    raise InputError("no-images", f"no images in {folder}", why=why, hint=LAYOUT)
