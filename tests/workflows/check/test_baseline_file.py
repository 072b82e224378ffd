"""Baseline files: small, readable, held against their own digest; what changed since is named and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from colour_models import PREPROCESSING, write_colours, write_model
from PIL import Image

from edgecnn.core.errors import InputError
from edgecnn.workflows.check.baseline_file import LINE, load
from edgecnn.workflows.check.command import check


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, two models and the baseline file of one."""
    folder = tmp_path_factory.mktemp("whole")
    write_colours(folder / "data", 40)
    write_model(folder / "true.onnx")
    write_model(folder / "green.onnx", favour_green=12.5)
    options: Any = {"data": folder / "data", "save": folder / "base" / "true.json", "max_drop": 0.05, **PREPROCESSING}
    assert check(folder / "true.onnx", **options).outcome == "PASS"
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path


def against(place: Path, candidate: str, **options: Any) -> Any:
    recorded = place / "base" / "true.json"
    options = {"data": place / "data", "against": recorded, "max_drop": 0.05, **PREPROCESSING, **options}
    return check(place / candidate, **options)


def test_a_candidate_is_judged_as_beside_the_model_itself(place: Path) -> None:
    beside = check([place / "true.onnx", place / "green.onnx"], data=place / "data", max_drop=0.05, **PREPROCESSING)  # type: ignore[arg-type]
    recorded = against(place, "green.onnx")
    for name in ("outcome", "judgement", "gates"):
        assert getattr(recorded, name) == getattr(beside, name)
    assert recorded.differences.groups == beside.differences.groups
    assert recorded.differences.figures[0] == beside.differences.figures[0]
    assert recorded.outputs is None and recorded.baseline.name == "true.onnx"
    assert against(place, "true.onnx").outcome == "PASS"


def test_the_file_is_small_and_its_lines_are_short(place: Path) -> None:
    path = place / "base" / "true.json"
    assert path.stat().st_size < 15_000  # of 120 images
    lines = path.read_text().splitlines()
    assert max(len(line) for line in lines) <= LINE + 20
    read = load(path)
    assert read.classes == ("blue", "green", "red") and len(read.images) == 120
    assert read.images[0] == ("blue/000.png", read.images[0][1]) and read.labels is not None
    assert dict(read.figures)["top-1 accuracy"] == "100.00 %"
    assert read.data["source"] == "data" and str(place.parent) not in path.read_text()


def test_the_same_model_and_data_give_the_same_file(place: Path) -> None:
    first = json.loads((place / "base" / "true.json").read_text())
    against(place, "true.onnx", update=True)
    second = json.loads((place / "base" / "true.json").read_text())
    for raw in (first, second):
        del raw["created"], raw["digest"]
    assert first == second


def test_images_that_came_and_went_are_named_and_counted(place: Path) -> None:
    for number in (3, 4):
        (place / "data" / "red" / f"{number:03}.png").unlink()
    Image.new("RGB", (8, 8), (9, 9, 200)).save(place / "data" / "blue" / "new.png")
    (place / "data" / "green" / "007.png").rename(place / "data" / "red" / "moved.png")
    result = against(place, "true.onnx")
    assert result.judged == result.available == 118
    notes = " ".join(result.notes)
    assert "not judged on: 1 image (blue/new.png)" in notes
    assert "not in the data: 2 images (red/003.png, red/004.png)" in notes
    assert "labelled otherwise than in the baseline file: 1 image (red/moved.png)" in notes


def test_update_writes_the_candidate_over_it(place: Path) -> None:
    assert against(place, "green.onnx", update=True).outcome == "FAIL"
    assert against(place, "green.onnx").outcome == "PASS"


def test_update_takes_up_images_that_came(place: Path) -> None:
    for number in range(5):
        Image.new("RGB", (8, 8), (9, 9, 200 + number)).save(place / "data" / "blue" / f"new{number}.png")
    assert against(place, "true.onnx", update=True).judged == 120
    read = load(place / "base" / "true.json")
    assert len(read.images) == read.data["images"] == 125
    assert against(place, "true.onnx").judged == 125


def test_another_runtime_or_version_is_said(place: Path) -> None:
    path = place / "base" / "true.json"
    read = load(path)
    object.__setattr__(read, "versions", {**read.versions, "onnxruntime": "0.1"})
    object.__setattr__(read.model, "runtime", "LiteRT on lab-pi")
    read.save(path)
    notes = " ".join(against(place, "true.onnx").notes)
    assert "recorded in LiteRT on lab-pi, the candidate runs in ONNX Runtime on host" in notes
    assert "onnxruntime 0.1" in notes


def _edited(path: Path, change: Any) -> None:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path.unlink(), "no-baseline"),
        (lambda path: path.write_text("[1, 2]"), "not-a-baseline"),
        (lambda path: path.write_text("{"), "damaged-report"),
        (lambda path: path.write_text("[" * 100_000), "damaged-report"),
        (lambda path: _edited(path, lambda raw: raw.update(schema="edgecnn.baseline/99")), "newer-report"),
        (lambda path: _edited(path, lambda raw: raw["figures"].update(best="100 %")), "edited-baseline"),
        (lambda path: _edited(path, lambda raw: raw.pop("digest")), "edited-baseline"),
    ],
    ids=["missing", "other", "cut", "deep", "newer", "edited", "without-digest"],
)
def test_files_that_are_no_baselines_are_refused(place: Path, change: Any, code: str) -> None:
    change(place / "base" / "true.json")
    with pytest.raises(InputError) as caught:
        against(place, "true.onnx")
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize("part", ["classes", "images", "answers", "model"])
def test_a_file_with_a_right_digest_and_wrong_content_is_refused(place: Path, part: str) -> None:
    from edgecnn.core.store import digest_of

    def spoil(raw: dict[str, Any]) -> None:
        raw.pop("digest")
        if part == "answers":
            raw["answers"]["best"]["shape"] = [7, 7]
        else:
            raw[part] = {"model": {"name": 3}, "images": ["AAAA"], "classes": 5}[part]
        raw["digest"] = digest_of(raw)

    _edited(place / "base" / "true.json", spoil)
    with pytest.raises(InputError) as caught:
        against(place, "true.onnx")
    assert caught.value.code == "damaged-report"


def test_a_baseline_of_other_images_is_refused(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("blue", "green", "red"):
        (other / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 77, 5)).save(other / name / f"{name}{number}.png")
    with pytest.raises(InputError) as caught:
        against(place, "true.onnx", data=other)
    assert caught.value.code == "other-images"
