"""Image folders: `DIR/train/CLASS/*.jpg` beside `DIR/val/CLASS/*.jpg`, or `DIR/CLASS/*.jpg` alone."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgecnn.core.errors import InputError
from edgecnn.data.listing import EVALUATION_NAMES, Listing, Sample

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".pbm", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
)
OTHER_KINDS = {".avif": "AVIF", ".heic": "HEIC", ".heif": "HEIF", ".jxl": "JPEG XL", ".jp2": "JPEG 2000"}
"""Images that are not read, by suffix."""
LEFT_BY_SYSTEMS = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"))
"""Folders that archivers and file servers leave beside the data: no classes."""
UNLABELLED = "train"
LAYOUT = "lay the images out as DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg"


def list_folder(root: Path, *, unlabelled: bool = False) -> Listing:
    """List an image folder. Raises InputError when it holds no images by class.

    With `unlabelled` images may lie directly in `root/train`, where they are without a class, or, where nothing judges,
    in `root`.

    Only files directly in a class folder count; hidden files, files that are no images and files in deeper folders are
    passed over and counted. Symbolic links are followed to one level, so a loop of them ends.
    """
    skipped: Counter[str] = Counter()
    folders = _subfolders(root)
    train = _part(folders, ("train",))
    judging = _part(folders, EVALUATION_NAMES)
    if unlabelled and train is None and (found_bare := _bare(root, folders, judging)) is not None:
        return _without_labels(root, found_bare, judging)
    sources = [folder for folder in (train, judging) if folder is not None] or [root]
    samples: dict[Path, tuple[Sample, ...]] = {}
    labels: set[str] = set()
    for folder in sources:
        samples[folder], class_of = _classes_in(folder, skipped)
        labels.update(class_of)
        _require_images(folder, samples[folder], skipped)
    divided = train is not None and judging is not None
    aside = [] if sources == [root] else [folder for folder in folders if folder not in sources]
    unused = [folder.name for folder in aside]
    for folder in aside:
        skipped[f"in {folder.name}/, which is not used"] += sum(len(files) for _, _, files in os.walk(folder))
    return Listing(
        root,
        _form(root, sources),
        train=samples[sources[0]] if divided else (),
        evaluation=samples[sources[1]] if divided else (),
        undivided=() if divided else samples[sources[0]],
        origin=dict(zip(("train", "evaluation") if divided else ("undivided",), map(str, sources), strict=True)),
        labels=tuple(sorted(labels)),
        skipped=_sorted(skipped),
        notes=(f"not used: {', '.join(unused)} in {root}",) if unused else (),
    )


def _bare(root: Path, folders: list[Path], judging: Path | None) -> Path | None:
    """The folder whose images lie beside each other without classes, where there is no doubt that they do."""
    train = next((folder for folder in folders if folder.name.lower() == UNLABELLED), None)
    if train is not None and not _holds_classes(train) and all(folder in (train, judging) for folder in folders):
        return train
    return root if not folders and not _holds_classes(root) else None


def _without_labels(root: Path, bare: Path, judging: Path | None) -> Listing:
    skipped: Counter[str] = Counter()
    images = tuple(Sample(path, "") for path in _images_in(bare, skipped))
    if judging is None:
        origin = {"undivided": str(bare)}
        return Listing(root, "images without classes", undivided=images, origin=origin, skipped=_sorted(skipped))
    samples, labels = _classes_in(judging, skipped)
    _require_images(judging, samples, skipped)
    return Listing(
        root,
        "train and evaluation folders, the first without classes",
        train=images,
        evaluation=samples,
        origin={"train": str(bare), "evaluation": str(judging)},
        labels=tuple(sorted(labels)),
        skipped=_sorted(skipped),
    )


def _part(folders: list[Path], names: tuple[str, ...]) -> Path | None:
    """The first of `names` that is there and holds class folders."""
    named = (folder for name in names for folder in folders if folder.name.lower() == name)
    return next((folder for folder in named if _holds_classes(folder)), None)


def _form(root: Path, sources: list[Path]) -> str:
    if len(sources) == 2:
        return "train and evaluation folders"
    return "class folders" if sources == [root] else f"{sources[0].name} folder alone"


def _holds_classes(folder: Path) -> bool:
    """Whether a folder called train or val is one, and not a class of that name: then images lie directly in it."""
    with _entries(folder) as entries:
        return not any(_is_image_name(entry.name) and not _is_folder(entry) for entry in entries)


def _subfolders(folder: Path) -> list[Path]:
    with _entries(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.name not in LEFT_BY_SYSTEMS and _is_folder(entry)
        )
    return _readable(folder, names)


@contextlib.contextmanager
def _entries(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What lies in a folder. Raises InputError `no-data` for one that cannot be read, a class of the others or not."""
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise InputError(
            "no-data",
            f"cannot read the data folder {folder}",
            why=error.strerror or str(error),
            hint=f"ls -ld {folder}; then make it readable, or move it out of the data",
        ) from error


def _readable(folder: Path, names: list[str]) -> list[Path]:
    """The files or folders of these names. Raises InputError for a name that cannot be written down."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                "bad-name",
                f"a name in {folder} is no text in UTF-8: {os.fsencode(name)!r}",
                why="reports, labels and class maps are",
                hint="rename it; for a whole folder: convmv -f latin1 -t utf8 -r --notest DIR",
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
    with _entries(folder) as entries:
        skipped["beside the class folders"] += sum(_is_image_name(entry.name) for entry in entries)
    return tuple(samples), tuple(group.name for group in classes)


def _images_in(folder: Path, skipped: Counter[str]) -> list[Path]:
    names = []
    with _entries(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                skipped["hidden"] += 1
            elif _is_folder(entry):
                skipped["in deeper folders"] += _files_below(entry)
            elif not _is_image_name(entry.name):
                kind = OTHER_KINDS.get(os.path.splitext(entry.name)[1].lower())  # noqa: PTH122
                skipped[f"{kind} (turn them into JPEG or PNG)" if kind else "not an image"] += 1
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                skipped["broken links"] += 1
            elif not entry.is_file():  # a pipe or a device: to read one may never end
                skipped["not files"] += 1
            else:
                names.append(entry.name)
    return _readable(folder, sorted(names))


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
