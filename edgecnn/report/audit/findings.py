"""Findings of an audit: each with what to do, those that spoil a verdict first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgecnn.core.units import count, percent
from edgecnn.data.audit.copies import DISTANCE, LEVELS, Copies
from edgecnn.report.audit.model import Audit
from edgecnn.report.evaluation.document import sure

IMBALANCED = 10.0
"""Images of the largest class over those of the smallest."""
LOOKS_SEEN = 0.01
"""Share of the images to judge on that may look like one to train on: a drop of one point is what a verdict is
about."""
OTHER_SIZE = 1.5
"""Median shorter side of one part over that of the other."""


@dataclass(frozen=True, slots=True)
class DataFinding:
    """`serious` ones spoil a verdict. `examples` are all there are, as lines; a renderer cuts them."""

    code: str
    serious: bool
    text: str
    hint: str = ""
    examples: tuple[str, ...] = ()


def findings(audit: Audit) -> list[DataFinding]:
    """All findings, serious ones first, in the order of what they are about."""
    unsorted = [*_files(audit), *_copies(audit), *_classes(audit), *_labels(audit), *_looks(audit)]
    return sorted(unsorted, key=lambda finding: not finding.serious)


def outcome(findings: Sequence[DataFinding]) -> Literal["PASS", "FAIL"]:
    """FAIL where a finding spoils a verdict."""
    return "FAIL" if any(finding.serious for finding in findings) else "PASS"


def conclusion(findings: Sequence[DataFinding]) -> str:
    serious = sum(finding.serious for finding in findings)
    if not serious:
        return "nothing was found that spoils a verdict"
    return f"{count(serious, 'finding spoils', 'findings spoil')} a verdict on this data: see ✗"


def _files(audit: Audit) -> Iterator[DataFinding]:
    if audit.broken:
        yield DataFinding(
            "broken-images",
            True,
            f"{count(len(audit.broken), 'file')} cannot be read",
            "replace or remove them: training and `edgecnn optimize` stop at the first",
            tuple(f"{audit.names[place]}: {audit.looked.looks[place].error}" for place in audit.broken),
        )
    if audit.skipped:
        passed = ", ".join(f"{number:,} {what}" for what, number in audit.skipped.items())
        yield DataFinding("passed-over", False, f"files that nobody will read: {passed}")


def _copies(audit: Audit) -> Iterator[DataFinding]:
    yield from _exact(audit, [group for group in audit.copies if group.exact])
    yield from _near(audit, [group for group in audit.copies if not group.exact])
    within = [group for group in audit.copies if not _crosses(audit, group)]
    if within:
        extra = sum(len(group.places) - 1 for group in within)
        yield DataFinding(
            "copies-within-a-part",
            False,
            f"{count(extra, 'image')} within one part {'is a copy' if extra == 1 else 'are copies'}, exact or by look",
            "they count twice; keep all copies of an image on one side when you divide the data",
            tuple(_group(audit, group) for group in within),
        )


def _exact(audit: Audit, groups: Sequence[Copies]) -> Iterator[DataFinding]:
    leaks = _judged_twice(audit, groups)
    if leaks:
        yield DataFinding(
            "same-image-in-train-and-val",
            True,
            f"{count(len(leaks), 'image')} of val {'is' if len(leaks) == 1 else 'are'} in train as well, byte by byte",
            "remove them from one of the two: accuracy on images that were learned proves nothing",
            tuple(_group(audit, group) for group in groups if _crosses(audit, group)),
        )
    mixed = [group for group in groups if _labels_of(audit, group) > 1]
    if mixed:
        yield DataFinding(
            "same-image-two-labels",
            True,
            f"{count(len(mixed), 'image')} {'bears' if len(mixed) == 1 else 'bear'} two labels or more",
            "keep the copy whose label is right",
            tuple(_group(audit, group) for group in mixed),
        )


def _near(audit: Audit, groups: Sequence[Copies]) -> Iterator[DataFinding]:
    leaks = _judged_twice(audit, groups)
    if leaks:
        share = len(leaks) / audit.parts.count("val")
        rule = f"perceptual hashes within {DISTANCE} of 63 bits, thumbnails within {LEVELS:g} of 255 levels"
        yield DataFinding(
            "like-image-in-train-and-val",
            share >= LOOKS_SEEN,
            f"{count(len(leaks), 'image')} of val {'looks' if len(leaks) == 1 else 'look'} like one in train: "
            f"{percent(share)} of val ({rule})",
            "look at them: re-encoded, resized and mirrored copies make val easier than new images are",
            tuple(_group(audit, group) for group in groups if _crosses(audit, group)),
        )
    mixed = [group for group in groups if _labels_of(audit, group) > 1]
    if mixed:
        text = f"{count(len(mixed), 'group')} of images that look the same {'bears' if len(mixed) == 1 else 'bear'} "
        yield DataFinding(
            "like-images-two-labels",
            False,
            f"{text}different labels",
            "look at them: one of the labels may be wrong",
            tuple(_group(audit, group) for group in mixed),
        )


def _classes(audit: Audit) -> Iterator[DataFinding]:
    balance = audit.balance
    with_images = [name for name, total in balance.totals().items() if total]
    if len(with_images) == 1:
        hint = "lay the images out as DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg"
        yield DataFinding("one-class", True, f"all images are of one class, {with_images[0]}", hint)
    if {"train", "val"} <= set(balance.parts):
        val, train = balance.totals("val"), balance.totals("train")
        unknown = [name for name in balance.missing("train") if val[name]]
        if unknown:
            text = f"{count(len(unknown), 'class', 'classes')} of val have no image in train: never learned there"
            # A model that was given has outputs for them all: it learned them elsewhere.
            learned_here = audit.doubts is None
            yield DataFinding(
                "class-not-in-train", learned_here, text, "add images, or remove the class", tuple(unknown)
            )
        unjudged = [name for name in balance.missing("val") if train[name]]
        if unjudged:
            text = f"{count(len(unjudged), 'class', 'classes')} of train have no image in val: never judged"
            yield DataFinding("class-not-in-val", False, text, "move some of their images to val", tuple(unjudged))
    if audit.form == "train folder alone":
        text = "there is no val/ folder: part of train judges, and that only if nothing has learned from it"
        yield DataFinding("nothing-to-judge-on", False, text, "put images that nothing learns from into DIR/val/CLASS")
    groups: dict[str, list[str]] = {}
    for name in balance.counts:
        groups.setdefault("".join(filter(str.isalnum, name.casefold())), []).append(name)
    if alike := [" and ".join(sorted(names)) for same, names in groups.items() if same and len(names) > 1]:
        text = f"{count(len(alike), 'group', 'groups')} of classes with names that differ in case or signs only"
        yield DataFinding(
            "classes-alike", False, text, "if they are one class, put its images into one folder", tuple(alike)
        )
    empty = [name for name, total in balance.totals().items() if not total]
    if empty:
        text = f"{count(len(empty), 'class', 'classes')} without any image"
        yield DataFinding("empty-class", False, text, "remove the folder, or fill it", tuple(empty))
    for part in balance.parts:
        ratio = balance.ratio(part)
        if part != "val" and ratio is not None and ratio >= IMBALANCED:
            text = f"the largest class{_in(part)} has {ratio:.0f} times the images of the smallest"
            yield DataFinding(
                "imbalance", False, text, "train with class weights or balanced sampling; judge by macro F1"
            )
        single = [name for name, total in balance.totals(part).items() if total == 1]
        if single:
            text = (
                f"{count(len(single), 'class', 'classes')}{_in(part)} {'have' if len(single) > 1 else 'has'} one image"
            )
            yield DataFinding("single-image", False, text, "add images", tuple(single))


def _labels(audit: Audit) -> Iterator[DataFinding]:
    labels = audit.doubts
    if labels is None or not labels.doubts:
        return
    names = labels.class_names
    examples = (
        f"{audit.names[item.place]}: {names[item.label]}, or {names[item.suggested]}? {sure(item.confidence)}"
        for item in labels.doubts
    )
    yield DataFinding(
        "suspicious-labels",
        False,
        f"{count(len(labels.doubts), 'label')} that {labels.file} confidently disagrees with "
        f"({percent(len(labels.doubts) / labels.judged)} of {labels.judged:,}; it is right on {percent(labels.top1)})",
        "look at them, surest first: wrong labels or hard images; what a model was trained on it tends to agree with",
        tuple(examples),
    )


def _looks(audit: Audit) -> Iterator[DataFinding]:
    for what, places in audit.odd.items():
        text = f"{count(len(places), 'image')} with {what}" if what != "grey among colour" else ""
        text = text or f"{count(len(places), 'grey image')} among those in colour"
        yield DataFinding("odd-mode", False, text, _REMEDY.get(what, ""), tuple(audit.names[place] for place in places))
    for part, sizes in audit.sizes.items():
        if sizes.tiny:
            yield DataFinding("tiny-images", False, f"{count(sizes.tiny, 'image')}{_in(part)} below 16 pixels")
        if sizes.elongated:
            text = f"{count(sizes.elongated, 'image')}{_in(part)} four times as long as wide, or more"
            yield DataFinding("elongated-images", False, text, "the centre crop shows little of them")
    medians = {part: sizes.shorter_quartiles[1] for part, sizes in audit.sizes.items()}
    if len(medians) == 2 and max(medians.values()) >= OTHER_SIZE * min(medians.values()):
        both = " and ".join(f"{value:g} pixels in {part}" for part, value in medians.items())
        yield DataFinding("sizes-differ", False, f"the median shorter side is {both}", "are both from the same source?")


_REMEDY = {
    "CMYK": "they are converted without a colour profile: colours may be off",
    "alpha": "transparency is composited on white",
    "16 bit": "they are scaled to 8 bits",
    "EXIF rotation": "edgecnn turns them upright; a loader that does not will see them lying",
    "animation": "the first frame counts",
}


def _judged_twice(audit: Audit, groups: Sequence[Copies]) -> set[int]:
    """Images of val that have a copy in train."""
    crossing = (group for group in groups if _crosses(audit, group))
    return {place for group in crossing for place in group.places if audit.parts[place] == "val"}


def _crosses(audit: Audit, group: Copies) -> bool:
    return len({audit.parts[place] for place in group.places}) > 1


def _labels_of(audit: Audit, group: Copies) -> int:
    return len({audit.label(place) for place in group.places})


def _group(audit: Audit, group: Copies) -> str:
    joined = (" = " if group.exact else " ~ ").join(audit.names[place] for place in group.places)
    return f"{joined} (mirrored)" if group.mirrored else joined


def _in(part: str) -> str:
    return "" if part == "all" else f" in {part}"
