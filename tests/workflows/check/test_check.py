"""`edgecnn check`: planted regressions are caught, what did not change passes, and what is missing is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from colour_models import CLASSES, PREPROCESSING, write_colours, write_model

from edgecnn.core.errors import EdgecnnError
from edgecnn.report import html, text
from edgecnn.report.check.document import document
from edgecnn.workflows.check.command import check


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 images that all differ, 120 of each class."""
    return write_colours(tmp_path_factory.mktemp("colours"), 120)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "true.onnx")
    write_model(folder / "scaled.onnx", scale=50.0)
    write_model(folder / "green.onnx", favour_green=42.5)  # takes 41 of 120 for green, in each of two classes
    write_model(folder / "collapsed.onnx", favour_green=4_000)
    return folder


def checked(*paths: Path, data: Path, **options: Any) -> Any:
    return check([*paths], data=data, **{**PREPROCESSING, **options})


def refusal(code: str, *paths: Path, data: Path, **options: Any) -> EdgecnnError:
    with pytest.raises(EdgecnnError) as caught:
        checked(*paths, data=data, **options)
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_file_that_answers_alike_passes(models: Path, colours: Path) -> None:
    result = checked(models / "true.onnx", models / "scaled.onnx", data=colours)
    assert (result.outcome, result.exit_code, result.judged, result.judgement.agreement) == ("PASS", 0, 360, 1.0)
    assert result.judgement.drop.high < 0.01 and not result.changed and not result.differences.alarms
    assert result.outputs.sqnr_db == pytest.approx(6.02, abs=0.01)  # half as large
    assert [gate.name for gate in result.gates] == ["accuracy"]


def test_a_planted_regression_fails_with_its_classes_and_images(models: Path, colours: Path, tmp_path: Path) -> None:
    out, xml = tmp_path / "out", tmp_path / "ci" / "junit.xml"
    result = checked(models / "true.onnx", models / "green.onnx", data=colours, max_class_drop="5%", out=out, junit=xml)
    assert (result.outcome, result.exit_code) == ("FAIL", 1)
    assert (result.judgement.flips.broke, result.judgement.flips.fixed) == (82, 0)
    assert {change.name: change.broke for change in result.differences.alarms} == {"red": 41, "blue": 41}
    assert {item.answer.answer for item in result.changed} == {"green"} and len(result.changed) == 32
    gates = {gate.name: gate for gate in result.gates}
    assert gates["classes"].outcome == "FAIL" and "red (+34.2 points)" in gates["classes"].why
    written = json.loads((out / "check.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict())) and written["schema"] == "edgecnn.check/1"
    assert (out / "broken.png").read_bytes().startswith(b"\x89PNG")
    assert "FAIL" in (out / "check.md").read_text() and "<script" not in (out / "check.html").read_text()
    suite = ElementTree.parse(xml).getroot()  # noqa: S314 - it is our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "2", "0")
    assert [case.get("name") for case in suite] == ["accuracy", "classes"]


def test_few_images_prove_nothing_and_it_says_how_many_would(models: Path, tmp_path: Path) -> None:
    data = write_colours(tmp_path / "few", 20)
    result = checked(models / "true.onnx", models / "scaled.onnx", data=data)
    assert (result.outcome, result.exit_code) == ("INCONCLUSIVE", 3)
    assert "images would decide it" in result.why


def test_the_first_50_images_show_a_collapse(models: Path, colours: Path) -> None:
    result = checked(models / "true.onnx", models / "collapsed.onnx", data=colours, sequential=True)
    assert (result.outcome, result.judged, result.available, result.looks) == ("FAIL", 50, 360, 1)
    assert any("collapsed" in note for note in result.notes)


def test_a_baseline_at_chance_proves_nothing(models: Path, colours: Path) -> None:
    for candidate in ("true.onnx", "collapsed.onnx"):
        result = checked(models / "collapsed.onnx", models / candidate, data=colours)
        assert (result.outcome, result.exit_code) == ("INCONCLUSIVE", 3)
        assert "the baseline answers class 1 for every image" in result.why


def test_a_check_that_stopped_early_says_nothing_of_classes(models: Path, colours: Path) -> None:
    asked = {"data": colours, "sequential": True, "max_class_drop": "5%"}
    stopped = checked(models / "true.onnx", models / "collapsed.onnx", **asked)
    assert {gate.name: gate.outcome for gate in stopped.gates} == {"accuracy": "FAIL", "classes": "INCONCLUSIVE"}
    whole = checked(models / "true.onnx", models / "scaled.onnx", max_drop="5%", **asked)
    assert (whole.judged, whole.outcome) == (360, "PASS")  # it does not stop where it could


def test_a_class_map_that_contradicts_the_baseline_file_is_refused(models: Path, colours: Path, tmp_path: Path) -> None:
    recorded, names = tmp_path / "base.json", tmp_path / "names.txt"
    saved = checked(models / "true.onnx", data=colours, save=recorded)
    assert (saved.alone, saved.exit_code, saved.wrote) == (True, 0, (str(recorded),))
    assert "recorded" in text.plain(document(saved)) and "INCONCLUSIVE" not in text.plain(document(saved))
    names.write_text("green\nblue\nred\n")
    refusal("classes-differ", models / "true.onnx", data=colours, against=recorded, class_map=names)
    names.write_text("blue\ngreen\nred\n")
    assert checked(models / "true.onnx", data=colours, against=recorded, class_map=names).outcome == "PASS"


def test_the_same_file_twice_is_judged_as_any_other(models: Path, tmp_path: Path) -> None:
    few = write_colours(tmp_path / "few", 20)
    assert checked(models / "true.onnx", models / "true.onnx", data=few).exit_code == 3


def test_a_place_that_cannot_be_written_is_refused_before_any_work(models: Path, tmp_path: Path) -> None:
    refusal("cannot-write", models / "true.onnx", models / "true.onnx", data=tmp_path / "missing", junit=tmp_path)


def test_a_sequential_check_of_equal_files_looks_to_the_end(models: Path, colours: Path) -> None:
    result = checked(models / "true.onnx", models / "scaled.onnx", data=colours, sequential=True)
    # 360 images prove 1.02 % at the last look's 97.5 %.
    assert (result.judged, result.looks, result.judgement.confidence) == (360, 3, pytest.approx(0.975))
    relaxed = checked(models / "true.onnx", models / "scaled.onnx", data=colours, sequential=True, max_drop="5%")
    assert (relaxed.outcome, relaxed.judged, relaxed.looks) == ("PASS", 100, 2)


def test_without_labels_the_answers_are_compared(models: Path, colours: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in colours.rglob("*.png"):
        (flat / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    same = checked(models / "true.onnx", models / "scaled.onnx", data=flat)
    assert (same.outcome, same.judgement.drop.value) == ("PASS", None) and "no labels" in same.why
    other = checked(models / "true.onnx", models / "green.onnx", data=flat, max_class_drop="5%")
    assert {gate.name: gate.outcome for gate in other.gates} == {"accuracy": "INCONCLUSIVE", "classes": "INCONCLUSIVE"}
    assert len(other.changed) == 32 and other.exit_code == 3


def test_a_file_over_its_size_fails_whatever_it_answers(models: Path, colours: Path) -> None:
    result = checked(models / "true.onnx", models / "scaled.onnx", data=colours, max_size=100)
    assert {gate.name: gate.outcome for gate in result.gates} == {"accuracy": "PASS", "size": "FAIL"}
    assert result.exit_code == 1
    assert checked(models / "true.onnx", models / "scaled.onnx", data=colours, max_size="1MB").outcome == "PASS"


def test_names_from_data_are_text_in_every_form(tmp_path: Path) -> None:
    evil = "<script>alert(1)<|script>"
    names = (evil, "green", "red")
    data = write_colours(tmp_path / "data", 40, classes=("green", "red"))
    (data / evil).mkdir()
    for path in write_colours(tmp_path / "blue", 40, classes=("blue",)).rglob("*.png"):
        (data / evil / path.name).write_bytes(path.read_bytes())
    before, after = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(onnx.load(write_model(before)), before)
    write_model(after, favour_green=42.5)
    result = checked(before, after, data=data)
    assert names[0] in {change.name for change in result.differences.groups}
    page = html.render(document(result))
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;|script&gt;" in page
    assert evil in text.plain(document(result)) and "<script>" not in result._repr_html_()


def test_files_of_other_networks_are_refused(models: Path, colours: Path, tmp_path: Path) -> None:
    wide = write_model(tmp_path / "wide.onnx", classes=(*CLASSES, "white"))
    error = refusal("outputs-differ", models / "true.onnx", wide, data=colours)
    assert "wide.onnx has 4 outputs, true.onnx has 3" in error.message


def test_a_candidate_that_answers_no_number_is_an_error(models: Path, colours: Path, tmp_path: Path) -> None:
    broken = onnx.load(models / "true.onnx")
    weights = next(item for item in broken.graph.initializer if item.name == "w")
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full((3, 3), np.nan, np.float32), "w"))
    onnx.save(broken, tmp_path / "nan.onnx")
    error = refusal("not-finite", models / "true.onnx", tmp_path / "nan.onnx", data=colours)
    assert error.message.startswith("nan.onnx: ")


def test_a_run_without_a_bundle_is_refused(models: Path, colours: Path, tmp_path: Path) -> None:
    half = tmp_path / "run"
    (half / ".store").mkdir(parents=True)
    error = refusal("no-bundle", models / "true.onnx", half, data=colours)
    assert "not finished" in error.message
    (half / "bundle").mkdir()
    (half / "bundle" / "manifest.json").write_text("[]")
    refusal("damaged-bundle", models / "true.onnx", half, data=colours)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"update": True}, "--against"),
        ({"sequential": True, "save": "x.json"}, "not be whole"),
        ({"against": "x.json"}, "one candidate"),
        ({"against": "x.json", "save": "y.json"}, "give one"),
    ],
    ids=["update", "sequential", "against", "both"],
)
def test_arguments_that_contradict_each_other_are_refused(
    models: Path, colours: Path, options: dict[str, Any], said: str
) -> None:
    error = refusal("usage", models / "true.onnx", models / "scaled.onnx", data=colours, **options)
    assert said in error.message


@pytest.mark.parametrize("name", ["max_drop", "max_class_drop", "max_latency_ratio", "max_size"])
def test_budgets_that_make_no_sense_are_refused(models: Path, colours: Path, name: str) -> None:
    code = "bad-" + name.replace("_", "-")
    refusal(code, models / "true.onnx", models / "scaled.onnx", data=colours, **{name: "-3 apples"})


def test_two_exported_files_are_checked_without_pytorch(models: Path, colours: Path, tmp_path: Path) -> None:
    """A CI runner waits for the import of every package."""
    import subprocess

    program = f"""if True:
        import sys
        from edgecnn.workflows.check.command import check
        check({[str(models / "true.onnx"), str(models / "green.onnx")]!r}, data={str(colours)!r}, **{PREPROCESSING!r})
        print([name for name in ("torch", "torchmetrics", "timm") if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
