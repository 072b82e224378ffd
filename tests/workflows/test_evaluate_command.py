"""`edgecnn evaluate`: a checkpoint and its exported files get the same figures; what cannot be judged is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from workbench import Ended, Workbench

Invoke = Callable[..., "Ended"]
CLASSES = ["checks", "columns", "rows", "spot"]


@pytest.fixture(scope="module")
def exported(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench import in_process_of_its_own

    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    ended = in_process_of_its_own("export", *bench.source, "--data", str(bench.data), "--out", str(path))
    assert ended.code == 0, ended.err
    return path


def test_a_checkpoint_is_judged_on_all_of_val(bench: Workbench, invoke: Invoke) -> None:
    ended = invoke("evaluate", *bench.source, "--data", str(bench.data), "--json")
    found = ended.json
    assert ended.code == 0, ended.err
    assert found["schema"] == "edgecnn.evaluation/1" and found["runtime"] == "PyTorch on cpu"
    assert found["images"] == 60 and found["data"]["source"].endswith("val")
    assert [item["name"] for item in found["classes"]] == CLASSES
    assert [item["support"] for item in found["classes"]] == [15] * 4
    top1 = found["top1"]
    assert top1["value"] == top1["correct"] / 60 >= 0.9 and top1["low"] < top1["value"] <= top1["high"]
    assert found["top5"] is None and found["preprocessing_source"] == "flags"
    cells = {(row, column): images for row, column, images in found["confusion"]}
    assert sum(cells.values()) == 60
    assert sum(images for (row, column), images in cells.items() if row == column) == top1["correct"]
    assert len(found["hardest"]) == 60 - top1["correct"]
    assert 0 <= found["calibration_error"] <= 1 and sum(item["images"] for item in found["calibration_bins"]) == 60


@pytest.mark.parametrize("tta", [(), ("--tta", "flip,shift")], ids=["plain", "tta"])
def test_an_exported_file_gets_the_figures_of_its_checkpoint(
    bench: Workbench, exported: Path, invoke: Invoke, tta: tuple[str, ...]
) -> None:
    data = ["--data", str(bench.data), *tta, "--json"]
    in_torch = invoke("evaluate", *bench.source, *data).json
    ended = invoke("evaluate", str(exported), *data)
    found = ended.json
    assert ended.code == 0, ended.err
    assert found["runtime"] == "ONNX Runtime on host" and found["preprocessing_source"] == "the file"
    assert found["preprocessing"] == in_torch["preprocessing"]
    for key in ("top1", "confusion", "images", "macro"):
        assert found[key] == in_torch[key]
    assert found["calibration_error"] == pytest.approx(in_torch["calibration_error"], abs=1e-4)
    assert found["test_time_augmentation"]["views"] == (10 if tta else 1)
    assert ("10 views" in found["test_time_augmentation"]["words"]) is bool(tta)


def test_a_file_for_tensorrt_is_judged_in_a_stand_in_that_is_named(
    bench: Workbench, exported: Path, invoke: Invoke, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.tensorrt.fp32.onnx"
    shutil.copy(exported, path)
    found = invoke("evaluate", str(path), "--data", str(bench.data), "--json").json
    assert found["runtime"] == "ONNX Runtime on host, a stand-in for TensorRT: computed as the file is written"


@pytest.mark.skipif(find_spec("litert_torch") is None, reason="the extra `tflite` is not installed")
def test_a_tflite_file_says_itself_how_its_images_are_prepared(
    bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.tflite"
    words = ["--data", str(bench.data), "--format", "tflite", "--out", str(path)]
    assert invoke("export", *bench.source, *words).code == 0
    found = invoke("evaluate", str(path), "--data", str(bench.data), "--json").json
    expected = invoke("evaluate", *bench.source, "--data", str(bench.data), "--json").json
    assert found["runtime"] == "LiteRT on host" and found["preprocessing_source"] == "the file"
    assert (found["confusion"], found["preprocessing"]) == (expected["confusion"], expected["preprocessing"])


def test_the_page_and_what_is_written(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    wrong = tmp_path / "wrong"
    shutil.copytree(bench.data / "val", wrong)
    shutil.move(wrong / "rows" / "000.png", wrong / "spot" / "moved.png")
    ended = invoke("evaluate", *bench.source, "--data", str(wrong), "--out", str(out))
    assert ended.code == 0, ended.err
    assert "top-1 accuracy" in ended.out and "95 % interval" in ended.out and "15 bins" in ended.out
    assert re.search(r"spot/moved\.png +spot +rows +\d", ended.out)
    assert ended.out.index("top-1 accuracy") < ended.out.index("classes, weakest first")
    assert "only 60 images" in ended.out
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion.png",
        "evaluation.json",
        "evaluation.md",
        "hardest.png",
    ]
    page = (out / "evaluation.md").read_text()
    assert "![Confusion matrix](confusion.png)" in page and "![The surest mistakes](hardest.png)" in page
    for name in ("confusion.png", "hardest.png"):
        with Image.open(out / name) as image:
            image.load()


def test_without_a_mistake_no_old_sheet_is_left(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    right = tmp_path / "right"
    found = invoke("evaluate", *bench.source, "--data", str(bench.data), "--json").json
    wrong = {item["path"] for item in found["hardest"]}
    for path in (bench.data / "val").glob("*/*.png"):
        if str(path) not in wrong:
            (right / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, right / path.parent.name)
    out = tmp_path / "out"
    out.mkdir()
    (out / "hardest.png").write_bytes(b"of an earlier run")
    ended = invoke("evaluate", *bench.source, "--data", str(right), "--out", str(out))
    assert ended.code == 0 and "no image was answered wrongly" in ended.out
    assert not (out / "hardest.png").exists() and "hardest.png" not in (out / "evaluation.md").read_text()


def test_classes_in_another_order_than_the_outputs_are_suspected(
    bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text("spot\nrows\ncolumns\nchecks\n")
    words = ["--data", str(bench.data), "--class-map", str(tmp_path / "classes.txt")]
    ended = invoke("evaluate", *bench.source, *words)
    assert ended.code == 0 and "another order" in ended.out and "--class-map FILE" in ended.out
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    assert "another order" not in invoke("evaluate", *bench.source, *words).out


def test_classes_that_have_no_images_are_not_averaged(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    some = tmp_path / "some"
    for name in CLASSES[:2]:
        shutil.copytree(bench.data / "val" / name, some / name)
    (tmp_path / "classes.json").write_text('{"checks": 0, "columns": 1, "rows": 2, "spot": 3}')
    ended = invoke("evaluate", *bench.source, "--data", str(some), "--class-map", str(tmp_path / "classes.json"))
    assert ended.code == 0 and "2 classes of the network have no images" in ended.out
    assert "of 2 of its 4 classes" in ended.out


def test_odd_images_are_judged_like_others(bench: Workbench, invoke: Invoke, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(bench.data / "val", odd)
    for index, mode in enumerate(("CMYK", "L", "RGBA")):
        path = odd / "rows" / f"{index:03}.png"
        Image.open(path).convert(mode).save(path.with_suffix(".jpg" if mode == "CMYK" else ".png"))
    (odd / "rows" / "000.png").unlink()
    ended = invoke("evaluate", *bench.source, "--data", str(odd), "--json")
    assert ended.code == 0 and ended.json["images"] == 60


BAD: list[tuple[str, Any, str]] = [
    ("empty", lambda folder: folder.mkdir(), "no-images"),
    ("gone", lambda folder: None, "no-data"),
    ("flat", lambda folder: write(folder / "a.png"), "no-labels"),
    ("one", lambda folder: write(folder / "a" / "a.png"), "one-class"),
    ("other", lambda folder: [write(folder / name / "a.png") for name in "abc"], "class-count"),
    ("cut", lambda folder: [write(folder / name / "a.png", cut=name == "rows") for name in CLASSES], "broken-image"),
]


def write(path: Path, *, cut: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    if cut:
        path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(("name", "make", "code"), BAD, ids=[name for name, *_ in BAD])
def test_data_that_cannot_judge_is_refused(
    bench: Workbench, invoke: Invoke, tmp_path: Path, name: str, make: Callable[[Path], Any], code: str
) -> None:
    make(tmp_path / "data")
    ended = invoke("evaluate", *bench.source, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    assert (ended.code, ended.error) == (2, code) and ended.out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--model", "resnet18"], "option-without-effect"),
        (["--crop", "64"], "wrong-size"),
        (["--color", "L", "--mean", "0.5", "--std", "0.5"], "wrong-size"),
        (["--tta", "five-crop"], "nothing-to-crop"),
        (["--tta", "turn"], "unknown-tta"),
        (["--device", "nobody"], "unknown-device"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_options_that_make_no_sense_for_an_exported_file(
    exported: Path, bench: Workbench, invoke: Invoke, words: list[str], code: str
) -> None:
    ended = invoke("evaluate", str(exported), "--data", str(bench.data), *words)
    assert (ended.code, ended.error) == (2, code)


def test_a_checkpoint_is_not_sent_to_a_board(bench: Workbench, invoke: Invoke) -> None:
    ended = invoke("evaluate", *bench.source, "--data", str(bench.data), "--device", "pi5")
    assert (ended.code, ended.error) == (2, "needs-export") and "edgecnn export" in ended.err


def test_a_gpu_that_is_not_there(bench: Workbench, invoke: Invoke) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    ended = invoke("evaluate", *bench.source, "--data", str(bench.data), "--device", "cuda")
    assert (ended.code, ended.error) == (4, "no-device") and "--device cpu" in ended.err


def test_a_file_from_elsewhere_is_guessed_at_and_says_so(
    exported: Path, bench: Workbench, invoke: Invoke, tmp_path: Path
) -> None:
    """The graph ends in a softmax, and nothing says how images are prepared."""
    import onnx
    from onnx import helper

    model = onnx.load(exported)
    del model.metadata_props[:]
    graph = model.graph
    graph.node.append(helper.make_node("Softmax", [graph.output[0].name], ["probabilities"], axis=1))
    output = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 4])
    graph.output[0].CopyFrom(output)
    onnx.save(model, tmp_path / "other.onnx")
    words = ["evaluate", str(tmp_path / "other.onnx"), "--data", str(bench.data)]
    ended = invoke(*words)
    assert ended.code == 0 and "preprocessing was guessed" in ended.out and "other.onnx does not say" in ended.err
    said = invoke(*words, "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--json").json
    expected = invoke("evaluate", *bench.source, "--data", str(bench.data), "--json").json
    assert said["confusion"] == expected["confusion"] and any("probabilities" in note for note in said["notes"])
    assert said["calibration_error"] == pytest.approx(expected["calibration_error"], abs=1e-4)
