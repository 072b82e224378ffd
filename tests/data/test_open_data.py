"""open_data: folders and tables as people have them, and every way they can be wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_folders import add, opened, refusal, tree
from PIL import Image

from edgecnn.data import ImageData
from edgecnn.data.demo import write_digits


@pytest.mark.parametrize("judging", ["val", "valid", "validation", "test", "Val"])
def test_train_calibrates_and_val_judges(tmp_path: Path, judging: str) -> None:
    tree(tmp_path, {"train/ant": 5, "train/bee": 3, f"{judging}/ant": 4, f"{judging}/bee": 2})
    data = opened(tmp_path)
    assert data.class_names == ("ant", "bee")
    assert {path.parts[-3] for path in data.calibration.paths} == {"train"}
    assert {path.parts[-3] for path in data.evaluation.paths} == {judging}
    for images in (data.calibration, data.evaluation):
        names = [path.parent.name for path in images.paths]
        assert [data.class_names[label] for label in images.labels or ()] == names
    facts = json.loads(json.dumps(data.facts()))
    assert facts["images"] == {"training": 8, "calibration": 8, "evaluation": 6}
    assert facts["digests"]["evaluation"] == data.evaluation.digest
    assert facts["split"] == "as the data says"
    assert facts["classes"] == "sorted names of the classes"


def test_calibration_is_spread_over_the_classes_and_follows_the_seed(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 30, "train/b": 10, "train/c": 2, "val/a": 2, "val/b": 2, "val/c": 2})

    def chosen(seed: int) -> ImageData:
        return opened(tmp_path, num_classes=3, calibration_images=12, seed=seed)

    first = chosen(0)
    labels = list(first.calibration.labels or ())
    assert [labels.count(label) for label in range(3)] == [5, 5, 2]
    assert sorted(labels[:3]) == [0, 1, 2]
    assert sorted(first.calibration.take(6).labels or ()) == [0, 0, 1, 1, 2, 2]
    assert chosen(0).calibration.paths == first.calibration.paths
    assert chosen(1).calibration.paths != first.calibration.paths
    assert chosen(1).evaluation.digest == first.evaluation.digest


def test_fewer_calibration_images_than_asked_for_is_said(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    assert "fewer than the 200" in opened(tmp_path).facts()["notes"][0]
    refusal(tmp_path, "no-calibration", calibration_images=0)


@pytest.mark.parametrize("root", ["", "train", "val"])
def test_undivided_images_are_divided_by_seed_and_class(tmp_path: Path, root: str) -> None:
    tree(tmp_path / root, {"a": 10, "b": 7, "c": 1})

    def divided(seed: int) -> ImageData:
        return opened(tmp_path, num_classes=3, seed=seed)

    data = divided(0)
    assert not set(data.training.paths) & set(data.evaluation.paths)
    assert len(data.training) + len(data.evaluation) == 18
    labels = list(data.evaluation.labels or ())
    assert [labels.count(label) for label in range(3)] == [5, 4, 1]
    assert divided(0).evaluation.paths == data.evaluation.paths
    assert set(divided(1).evaluation.paths) != set(data.evaluation.paths)
    assert data.facts()["split"] == "made here: 50% of each class held out by seed 0"
    assert any("trained on" in note for note in data.facts()["notes"])


def test_copies_of_a_file_stay_on_one_side_when_the_split_is_made_here(tmp_path: Path) -> None:
    for image in add(tmp_path / "a", 8):
        image.with_name(f"copy-{image.name}").write_bytes(image.read_bytes())
    add(tmp_path / "b", 8)
    data = opened(tmp_path)
    assert not set(data.training.file_digests()) & set(data.evaluation.file_digests())


def test_too_few_images_to_divide(tmp_path: Path) -> None:
    refusal(tree(tmp_path, {"a": 1, "b": 1}), "too-few-images")


def test_the_same_content_may_not_calibrate_and_judge(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    copied = next((tmp_path / "train/a").iterdir())
    (tmp_path / "val/b/other-name.png").write_bytes(copied.read_bytes())
    error = refusal(tmp_path, "data-overlap")
    assert str(copied) in error.why
    assert "other-name.png" in error.why


def test_what_is_no_image_of_a_class_is_passed_over_and_counted(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2, "val/b/deeper": 4, ".git/x": 1})
    (tmp_path / "val/a/.hidden.png").write_bytes(b"x")
    (tmp_path / "val/a/notes.txt").write_text("x")
    (tmp_path / "train/Thumbs.db").write_text("x")
    add(tmp_path / "train", 0)
    (tmp_path / "val/a/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "val/a/loop").symlink_to(tmp_path / "val", target_is_directory=True)
    (tmp_path / "val/self").symlink_to(tmp_path / "val/self")
    data = opened(tmp_path)
    assert len(data.evaluation) == 4
    assert data.facts()["skipped"] == {"broken links": 1, "hidden": 1, "in deeper folders": 4, "not an image": 1}


def test_linked_class_folders_and_upper_case_suffixes_count(tmp_path: Path) -> None:
    tree(tmp_path / "store", {"a": 4, "b": 4})
    add(tmp_path / "store" / "a", 1, suffix=".JPG")
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / name, target_is_directory=True)
    data = opened(tmp_path / "data")
    assert len(data.training) + len(data.evaluation) == 9


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = opened(tree(tmp_path, {"bus": 4, "train": 4}))
    assert data.class_names == ("bus", "train")


def test_other_parts_are_named_as_unused(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 2, "val/b": 2, "test/a": 2})
    assert any(note.startswith("not used: test") for note in opened(tmp_path).facts()["notes"])


def test_nothing_to_read(tmp_path: Path) -> None:
    refusal(tmp_path / "nowhere", "no-data")
    assert "empty" in refusal(tmp_path, "no-images").why
    tree(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 0})
    assert str(tmp_path / "val") in refusal(tmp_path, "no-images").message
    add(tmp_path / "flat", 3)
    assert "beside the class folders" in refusal(tmp_path / "flat", "no-images").why
    (tmp_path / "file.bin").write_bytes(b"x")
    refusal(tmp_path / "file.bin", "no-data")


@pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.gz", "data.tgz"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert "unpack" in refusal(tmp_path / name, "data-is-archive").hint


def test_one_class_tells_nothing(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 3, "val/a": 3, "val/b": 0})
    (tmp_path / "map.txt").write_text("a\nb\n")
    refusal(tmp_path, "one-class", class_map=tmp_path / "map.txt")
    refusal(tmp_path, "one-class")


def test_a_broken_image_is_found_before_any_work(tmp_path: Path) -> None:
    tree(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    (tmp_path / "val/a/zero.jpg").write_bytes(b"")
    error = refusal(tmp_path, "broken-image")
    assert "zero.jpg" in error.message
    assert error.why == "the file is empty"


# --- which output a class is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.txt", "cat\nbee\nant\n"),
        ("map.json", '{"ant": 2, "bee": 1}'),
        ("map.csv", "name,index\nant,2\nbee,1\n"),
        ("headless.csv", "ant,2\nbee,1\n"),
    ],
)
def test_a_class_map_ties_folders_to_outputs(tmp_path: Path, name: str, text: str) -> None:
    tree(tmp_path / "data", {"train/ant": 2, "val/ant": 2, "val/bee": 2})
    path = tmp_path / name
    path.write_text(text)
    data = opened(tmp_path / "data", num_classes=3, class_map=path)
    assert set(data.calibration.labels or ()) == {2}
    assert set(data.evaluation.labels or ()) == {1, 2}
    assert data.class_names[1:] == ("bee", "ant")
    assert str(path) in data.facts()["classes"]
    assert data.facts()["class_map_sha256"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("map.txt", "ant\nbee\n", "2 lines"),
        ("map.txt", "ant\n\nbee\n", "line 2 is empty"),
        ("map.txt", "ant\nant\nbee\n", "more than once"),
        ("map.txt", "", "0 lines"),
        ("map.json", '{"ant": 0, "bee": 3}', "bee = 3"),
        ("map.json", '{"ant": 0, "ant": 1}', "more than once"),
        ("map.json", '{"ant": true}', "no whole number"),
        ("map.json", '{"ant": "0"}', "no whole number"),
        ("map.json", '["ant"]', "no JSON object"),
        ("map.json", "{", "no JSON"),
        ("map.json", "{}", "empty"),
        ("map.csv", "ant,x\nbee,1\n", "line 1"),
        ("map.csv", "ant,0\nbee\n", "line 2"),
        ("map.csv", "ant,-1\n", "line 1"),
    ],
)
def test_a_wrong_class_map_says_where(tmp_path: Path, name: str, text: str, why: str) -> None:
    tree(tmp_path / "data", {"train/ant": 2, "train/bee": 2, "val/ant": 2, "val/bee": 2})
    path = tmp_path / name
    path.write_text(text)
    assert why in refusal(tmp_path / "data", "bad-class-map", num_classes=3, class_map=path).why


def test_an_unreadable_class_map(tmp_path: Path) -> None:
    tree(tmp_path / "data", {"a": 2, "b": 2})
    refusal(tmp_path / "data", "bad-class-map", class_map=tmp_path / "none.txt")
    (tmp_path / "map.txt").write_bytes(b"\xff\xfe\x00")
    refusal(tmp_path / "data", "bad-class-map", class_map=tmp_path / "map.txt")


def test_folders_the_map_does_not_know_are_named(tmp_path: Path) -> None:
    tree(tmp_path / "data", {"train/ant": 2, "train/bee": 2, "val/ant": 2, "val/beee": 2})
    path = tmp_path / "map.txt"
    path.write_text("ant\nbee\n")
    error = refusal(tmp_path / "data", "unknown-class", class_map=path)
    assert "beee" in error.message
    assert "did you mean 'bee'" in error.why


def test_class_names_of_the_checkpoint_are_the_map(tmp_path: Path) -> None:
    tree(tmp_path, {"train/ant": 2, "train/bee": 2, "val/ant": 2})
    data = opened(tmp_path, num_classes=3, class_names=["bee", "ant", "cat"])
    assert set(data.evaluation.labels or ()) == {1}
    assert data.class_names == ("bee", "ant", "cat")
    refusal(tmp_path, "unknown-class", class_names=["bee", "wasp"])
    refusal(tmp_path, "class-count", num_classes=3, class_names=["bee", "ant"])


def test_counts_that_differ_ask_for_a_class_map(tmp_path: Path) -> None:
    error = refusal(tree(tmp_path, {"a": 2, "b": 2}), "class-count", num_classes=1000)
    assert "2 classes" in error.message
    assert "1000 outputs" in error.message
    assert "--class-map" in error.hint


def test_numbers_as_folder_names_sort_as_text_and_it_is_said(tmp_path: Path) -> None:
    tree(tmp_path, {str(number): 2 for number in range(11)})
    data = opened(tmp_path, num_classes=11)
    assert data.class_names[:3] == ("0", "1", "10")
    assert any("sorted as text" in note for note in data.facts()["notes"])


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_digits_become_an_image_folder(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    write_digits(folder)
    data = opened(folder, num_classes=10)
    assert len(data.training) + len(data.evaluation) == 1797
    counts = np.bincount(data.evaluation.labels or ())
    assert counts.min() >= 57
    assert counts.max() <= 61
    with Image.open(data.training.paths[0]) as image:
        assert (image.mode, image.size) == ("L", (32, 32))
        assert image.getextrema()[1] > 200
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    write_digits(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_ten_thousand_small_images_open_in_seconds(tmp_path: Path) -> None:
    import time

    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 2000)):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count // 2):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / label / f"{number}.png", compress_level=0)
    started = time.process_time()
    opened(tmp_path)
    assert time.process_time() - started < 4


def test_knowing_the_room_imports_nothing_heavy() -> None:
    code = "import sys, edgecnn.data, edgecnn.train; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("closed", ["train/ant", "val", "val/bee", "."])
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """The super-user may read every folder, so the system's answer is put in its place."""
    tree(tmp_path, {"train/ant": 2, "train/bee": 2, "val/ant": 2, "val/bee": 2})
    scandir, secret = os.scandir, tmp_path / closed

    def refusing(path: Path) -> object:
        if Path(path) == secret:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    error = refusal(tmp_path, "no-data")
    assert str(secret) in error.message
    assert error.why == "Permission denied"
