"""`edgecnn data audit`: what spoils a verdict ends with 1, all else is a remark."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]


CLASSES = ("checks", "columns", "rows", "spot")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Small smooth pictures, no two alike: ten of each class to train on, fifteen to judge on."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 15)):
        for name in CLASSES:
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for index in range(count):
                colours = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
                picture = colours.resize((32, 32), Image.Resampling.BICUBIC)
                picture.save(tmp_path / "data" / part / name / f"{index:03}.png")
    return tmp_path / "data"


@pytest.fixture
def patterns(bench: Workbench, tmp_path: Path) -> Path:
    """A copy of what the network knows; some of these look alike."""
    return Path(shutil.copytree(bench.data, tmp_path / "patterns"))


def codes(found: Any) -> dict[str, bool]:
    return {item["code"]: item["serious"] for item in found["findings"]}


def test_good_data_passes(data: Path, invoke: Invoke) -> None:
    ended = invoke("data", "audit", str(data), "--json")
    found = ended.json
    assert (ended.code, found["outcome"], codes(found)) == (0, "PASS", {}), ended.err
    assert found["schema"] == "edgecnn.audit/1" and found["images"] == {"train": 40, "val": 60}
    assert found["classes"]["rows"] == {"train": 10, "val": 15} and found["modes"] == {"RGB": 100}
    assert found["sizes"]["val"]["usual"] == [32, 32] and found["suspicious_labels"] is None
    page = invoke("data", "audit", str(data)).out
    assert "nothing to remark" in page and "1.0 : 1" in page and page.rstrip().endswith("spoils a verdict")


def cut(data: Path) -> None:
    path = data / "val" / "rows" / "003.png"
    path.write_bytes(path.read_bytes()[:700])


def learned(data: Path) -> None:
    shutil.copy(data / "train" / "rows" / "001.png", data / "val" / "rows" / "copy.png")


def two_labels(data: Path) -> None:
    shutil.copy(data / "train" / "rows" / "001.png", data / "train" / "spot" / "copy.png")


def judged_only(data: Path) -> None:
    shutil.rmtree(data / "train" / "spot")


def look_alike(data: Path) -> None:
    Image.open(data / "train" / "spot" / "001.png").save(data / "val" / "spot" / "encoded.jpg", quality=90)


SERIOUS = [
    (cut, "broken-images", "val/rows/003.png"),
    (learned, "same-image-in-train-and-val", "train/rows/001.png = val/rows/copy.png"),
    (two_labels, "same-image-two-labels", "train/rows/001.png = train/spot/copy.png"),
    (judged_only, "class-not-in-train", "spot"),
    (look_alike, "like-image-in-train-and-val", "train/spot/001.png ~ val/spot/encoded.jpg"),
]


@pytest.mark.parametrize(("spoil", "code", "shown"), SERIOUS, ids=lambda value: getattr(value, "__name__", None))
def test_what_spoils_a_verdict_ends_with_one(
    data: Path, invoke: Invoke, spoil: Callable[[Path], None], code: str, shown: str
) -> None:
    spoil(data)
    ended = invoke("data", "audit", str(data), "--json")
    found = ended.json
    assert (ended.code, found["outcome"]) == (1, "FAIL") and codes(found)[code]
    finding = next(item for item in found["findings"] if item["code"] == code)
    assert any(shown in example for example in finding["examples"]) and finding["hint"]
    page = invoke("data", "audit", str(data))
    assert page.code == 1 and shown in page.out and "FAIL" in page.out and "error[" not in page.err


def odd(data: Path) -> None:
    for index, mode in enumerate(("CMYK", "L", "LA")):
        path = data / "train" / "rows" / f"{index:03}.png"
        image = Image.open(path).convert(mode)
        path.unlink()
        image.save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))


def not_judged(data: Path) -> None:
    shutil.rmtree(data / "val" / "spot")


def lopsided(data: Path) -> None:
    for path in sorted((data / "train" / "spot").iterdir())[1:]:
        path.unlink()


def twice(data: Path) -> None:
    Image.open(data / "val" / "spot" / "001.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        data / "val" / "spot" / "turned.png"
    )


def left_over(data: Path) -> None:
    (data / "train" / "rows" / "notes.txt").write_text("x")
    (data / "train" / "nothing").mkdir()


REMARKS = [
    (odd, {"odd-mode"}, "1 image with CMYK"),
    (not_judged, {"class-not-in-val"}, "never judged"),
    (lopsided, {"imbalance", "single-image"}, "10 times the images"),
    (twice, {"copies-within-a-part"}, "(mirrored)"),
    (left_over, {"passed-over", "empty-class"}, "1 not an image"),
]


@pytest.mark.parametrize(("spoil", "expected", "shown"), REMARKS, ids=lambda value: getattr(value, "__name__", None))
def test_a_remark_is_no_failure(
    data: Path, invoke: Invoke, spoil: Callable[[Path], None], expected: set[str], shown: str
) -> None:
    spoil(data)
    found = invoke("data", "audit", str(data), "--json")
    assert found.code == 0 and set(codes(found.json)) == expected and not any(codes(found.json).values())
    assert shown in invoke("data", "audit", str(data)).out


def test_labels_are_held_against_a_model(bench: Workbench, patterns: Path, invoke: Invoke, tmp_path: Path) -> None:
    shutil.move(patterns / "val" / "rows" / "004.png", patterns / "val" / "spot" / "moved.png")
    out = tmp_path / "out"
    words = ["--checkpoint", *bench.source, "--out", str(out)]
    ended = invoke("data", "audit", str(patterns), *words, "--json")
    doubts = ended.json["suspicious_labels"]
    first = doubts["images"][0]
    assert (first["file"], first["label"], first["suggested"]) == ("val/spot/moved.png", "spot", "rows")
    assert doubts["judged"] == 100 and doubts["top1"] > 0.9 and first["confidence"] > first["label_confidence"]
    assert sorted(path.name for path in out.iterdir()) == ["audit.json", "audit.md", "copies.png", "suspicious.png"]
    assert "spot, or rows?" in (out / "audit.md").read_text().replace("\\", "")
    with Image.open(out / "suspicious.png") as image:
        image.load()
    assert "spot, or rows?" in invoke("data", "audit", str(patterns), *words).out


def test_broken_files_do_not_keep_the_model_from_the_others(bench: Workbench, data: Path, invoke: Invoke) -> None:
    cut(data)
    ended = invoke("data", "audit", str(data), "--checkpoint", *bench.source, "--json")
    assert ended.code == 1 and ended.json["suspicious_labels"]["judged"] == 99


def test_what_a_model_knows_need_not_be_in_train(bench: Workbench, patterns: Path, invoke: Invoke) -> None:
    judged_only(patterns)
    assert codes(invoke("data", "audit", str(patterns), "--json").json)["class-not-in-train"] is True
    found = invoke("data", "audit", str(patterns), "--checkpoint", *bench.source, "--json").json
    assert codes(found)["class-not-in-train"] is False


def test_copies_are_shown_beside_each_other(data: Path, invoke: Invoke, tmp_path: Path) -> None:
    learned(data)
    out = tmp_path / "out"
    ended = invoke("data", "audit", str(data), "--out", str(out))
    assert ended.code == 1 and "copies.png" in ended.err and "![Copies](copies.png)" in (out / "audit.md").read_text()
    learned_not = data / "val" / "rows" / "copy.png"
    learned_not.unlink()
    assert invoke("data", "audit", str(data), "--out", str(out)).code == 0
    assert not (out / "copies.png").exists(), "a sheet of an earlier run would pass for this one's"


def test_one_class_is_a_finding_and_a_table_is_data(data: Path, invoke: Invoke, tmp_path: Path) -> None:
    shutil.copytree(data / "val" / "rows", tmp_path / "one" / "rows")
    ended = invoke("data", "audit", str(tmp_path / "one"), "--json")
    assert ended.code == 1 and "one-class" in codes(ended.json) and ended.json["images"] == {"all": 15}
    lines = [f"{path},{path.parent.name},val" for path in (data / "val").glob("*/*.png")]
    lines += [f"{path},{path.parent.name},train" for path in (data / "train").glob("*/*.png")]
    (tmp_path / "table.csv").write_text("\n".join(["absolute_path,label,split", *lines]))
    ended = invoke("data", "audit", str(tmp_path / "table.csv"), "--json")
    assert ended.code == 0 and ended.json["images"] == {"train": 40, "val": 60}


@pytest.mark.parametrize(
    ("make", "words", "code"),
    [
        (lambda folder: folder.mkdir(), [], "no-images"),
        (lambda folder: None, [], "no-data"),
        (lambda folder: folder.write_text("x"), [], "no-data"),
    ],
    ids=["empty", "gone", "file"],
)
def test_where_there_are_no_images_nothing_is_audited(
    invoke: Invoke, tmp_path: Path, make: Callable[[Path], Any], words: list[str], code: str
) -> None:
    make(tmp_path / "data")
    ended = invoke("data", "audit", str(tmp_path / "data"), *words)
    assert (ended.code, ended.error, ended.out) == (2, code, "")


def test_a_model_of_other_classes_is_refused_before_any_work(bench: Workbench, data: Path, invoke: Invoke) -> None:
    (data / "train" / "spot").rename(data / "train" / "dots")
    ended = invoke("data", "audit", str(data), "--checkpoint", *bench.source)
    assert (ended.code, ended.error) == (2, "class-count") and "look at images" not in ended.err
    ended = invoke("data", "audit", str(bench.data), "--model", bench.model)
    assert (ended.code, ended.error) == (2, "usage") and "--checkpoint" in ended.err
