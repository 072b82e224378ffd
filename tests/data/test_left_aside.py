"""What a data folder holds beside the images that are used is named as what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecnn.data import pixels
from edgecnn.data.folder import list_folder
from edgecnn.report.audit.findings import findings
from edgecnn.workflows.audit import audit

HEADERS = {"AVIF": b"\0\0\0\x1cftypavif\0\0\0\0", "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0"}


def add(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(folder)))
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / f"{index}.png")


def codes(folder: Path) -> dict[str, str]:
    return {finding.code: finding.text + " ".join(finding.examples) for finding in findings(audit(folder))}


@pytest.mark.parametrize("name", ["dev", "test", "holdout"])
def test_a_folder_that_is_not_used_is_a_finding(tmp_path: Path, name: str) -> None:
    for part in ("train", "val", name):
        for label in ("ant", "bee"):
            add(tmp_path / part / label)
    assert f"4 in {name}/, which is not used" in codes(tmp_path)["passed-over"]


def test_train_alone_is_a_finding(tmp_path: Path) -> None:
    for label in ("ant", "bee"):
        add(tmp_path / "train" / label)
    assert "no val/ folder" in codes(tmp_path)["nothing-to-judge-on"]


@pytest.mark.parametrize("names", [("cat", "Cat"), ("sea lion", "sea_lion"), ("T-shirt", "tshirt")])
def test_names_that_look_like_one_class(tmp_path: Path, names: tuple[str, str]) -> None:
    for label in (*names, "dog"):
        add(tmp_path / label)
    found = codes(tmp_path)["classes-alike"]
    assert all(name in found for name in names) and "dog" not in found


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir"])
def test_what_a_system_leaves_is_no_class(tmp_path: Path, name: str) -> None:
    for label in ("ant", "bee", name):
        add(tmp_path / label)
    assert list_folder(tmp_path).labels == ("ant", "bee")
    assert "classes-alike" not in codes(tmp_path)


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_other_kinds_of_images_are_called_by_name(tmp_path: Path, kind: str) -> None:
    for label in ("ant", "bee"):
        add(tmp_path / label)
    (tmp_path / "ant" / f"new.{kind.lower()}").write_bytes(HEADERS[kind])
    (tmp_path / "bee" / "named.jpg").write_bytes(HEADERS[kind] + bytes(64))
    found = codes(tmp_path)
    assert f"1 {kind} (turn them into JPEG or PNG)" in found["passed-over"]
    assert f"{kind} image, which is not read" in found["broken-images"]
    with pytest.raises(ValueError, match=f"it is {kind}, which is not read"), pixels.opened(tmp_path / "bee/named.jpg"):
        pass
