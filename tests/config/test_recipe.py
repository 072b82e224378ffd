"""What a person writes is checked whole, and every mistake is named by where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.config.recipe import list_recipes, load_recipe
from edgecnn.core.errors import InputError


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_recipe(write(folder, text))
    assert caught.value.exit_code == 2
    return caught.value.why.splitlines()


def test_a_whole_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(
            tmp_path,
            """
            name: mine
            description: what it is for
            stages:
              - export
              - cast: {precision: fp16, formats: [tensorrt]}
              - quantize: {observer: percentile}
            budget: {max_drop: 0.5 %}
            calibration: {images: 32}
            preprocessing: {resize: 36, crop: 32, mean: [0, 0, 0], std: [1, 1, 1]}
            measure: {profile: smoke}
            """,
        )
    )
    assert [stage.kind for stage in recipe.stages] == ["export", "cast", "quantize"]
    assert recipe.budget.max_drop == pytest.approx(0.005)
    assert (recipe.calibration.images, recipe.measure.profile) == (32, "smoke")
    assert recipe.preprocessing is not None
    assert recipe.preprocessing.crop == (32, 32)


def test_what_is_not_written_has_a_default(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "stages: [export]"))
    assert (recipe.name, recipe.budget.max_drop, recipe.calibration.images) == ("mine", 0.01, 200)
    assert recipe.preprocessing is None


@pytest.mark.parametrize(
    ("written", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.01", 0.01), ("'0.02'", 0.02), ("0", 0.0)]
)
def test_percentages(tmp_path: Path, written: str, share: float) -> None:
    recipe = load_recipe(write(tmp_path, f"stages: [export]\nbudget: {{max_drop: {written}}}"))
    assert recipe.budget.max_drop == pytest.approx(share)


@pytest.mark.parametrize("written", ["lots", "-1", "150%", "true", ".nan", "[1]"])
def test_no_percentage(tmp_path: Path, written: str) -> None:
    (problem,) = problems(tmp_path, f"stages: [export]\nbudget: {{max_drop: {written}}}")
    assert problem.startswith("budget.max_drop: ")


def test_a_layer_to_keep_that_is_no_pattern(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "stages: [export, {quantize: {keep_float: [head, '(']}}]")
    assert problem.startswith(
        "stages[1].quantize.keep_float[1]: write a layer's name or a regular expression: missing )"
    )


def test_every_mistake_is_shown_at_once_with_its_path(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        stages:
          - export
          - quantise: {observer: percentile}
          - quantize: {observr: percentile, weight_bits: 9}
        budgit: {max_drop: 1%}
        calibration: {images: 0}
        preprocessing: {crop: big, means: [0, 0, 0]}
        """,
    )
    text = "\n".join(found)
    assert len(found) == 7
    assert "stages[1].quantise: unknown stage; did you mean 'quantize'?" in found
    assert "stages[2].quantize.observr: unknown key; did you mean 'observer'?" in found
    assert "stages[2].quantize.weight_bits: " in text
    assert "budgit: unknown key; did you mean 'budget'?" in found
    assert "calibration.images: " in text
    assert "preprocessing.crop: " in text
    assert "preprocessing.means: unknown key; did you mean 'mean'?" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: []", "stages: write a list"),
        ("stages: export", "stages: write a list"),
        ("name: x", "stages: write a list"),
        ("stages: [{export: {}, quantize: {}}]", "stages[0]: write the stage's name"),
        ("stages: [{quantize: percentile}]", "stages[0].quantize: write its options"),
        ("stages: [7]", "stages[0]: write the stage's name"),
        ("name: [1]\nstages: [export]", "name: "),
        ("name: ../up\nstages: [export]", "name: "),
        ("stages: [export]\ncalibration: 200", "calibration: "),
        ("stages: [export]\npreprocessing: {resize: 10, crop: 32}", "preprocessing: resize 10 is smaller"),
        ("stages: [export]\npreprocessing: {color: L}", "preprocessing: mean and std need 1"),
        ("stages: [export]\npreprocessing: {crop: 99999}", "preprocessing.crop: "),
        ("stages: [export]\nmeasure: {profile: slow}", "measure.profile: "),
        ("stages: [export]\nstages: [export]", "'stages' is written twice"),
        ("stages: &a [export, *a]", "aliases"),
        ("stages: [export", "line "),
        ("stages: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (
            "stages: [export, quantize]\nladder: [calibrat]",
            "ladder[0].calibrat: unknown fallback; did you mean",
        ),
        ("stages: [export, quantize]\nladder: calibrate", "ladder: write a list"),
        ("stages: [export, quantize]\nladder: [{qat: {epoch: 1}}]", "ladder[0].qat.epoch: unknown key"),
        (
            "stages: [export, quantize]\nladder: [keep-float, calibrate]",
            "`calibrate` costs no latency and stands",
        ),
        ("stages: [export]\nladder: [qat]", "ladder: `qat` changes `quantize`, which is not among the stages"),
        ("stages: [export, quantize]\nladder: [prune-less]", "ladder: `prune-less` changes `prune`"),
        ("stages: [export]\nbudget: {max_latency: 5 apples}", "budget.max_latency: write a time such as 5 ms"),
        ("stages: [export]\nbudget: {max_size: 4 m}", "budget.max_size: write a size such as 4 MB"),
        ("stages: [export]\nbudget: {max_size: 0 MB}", "budget.max_size: "),
        ("just text", "it holds no keys"),
        ("stages: [" + "export, " * 60 + "]", "too many"),
        ("[" * 5000, ""),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, said: str) -> None:
    assert said in "\n".join(problems(tmp_path, text))


def test_a_file_too_large_to_be_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="larger than"):
        load_recipe(write(tmp_path, "#" * 300_000))


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00stages")
    with pytest.raises(InputError, match="not a text file"):
        load_recipe(str(tmp_path / "mine.yaml"))


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_recipe(str(tmp_path / "none.yaml"))


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("imt8")
    assert caught.value.code == "unknown-recipe"
    assert "did you mean 'int8'" in caught.value.hint


def test_the_shipped_recipes_are_whole() -> None:
    names = [recipe.name for recipe in list_recipes()]
    assert {"fp16", "int8", "int8-percentile"} <= set(names)


def test_the_users_own_recipe_is_found_and_wins(config_home: Path) -> None:
    write(config_home / "recipes", "stages: [export]\ndescription: my own", "int8.yaml")
    write(config_home / "recipes", "stages: [export]", "quick-look.yaml")
    assert load_recipe("int8").description == "my own"
    assert "quick-look" in [recipe.name for recipe in list_recipes()]


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    from edgecnn.cli.recipes import _yaml

    for recipe in list_recipes():
        again = load_recipe(write(tmp_path, _yaml(recipe)))
        assert again == recipe


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("[export, prune: {macs: 50%}, quantize]", "stages[1].prune: no stage behind it takes what it makes"),
        ("[quantize, export]", "stages[0].quantize: no stage before it makes what it takes"),
        ("[qat, export, quantize]", "stages[0].qat: no stage before it makes what it takes"),
        ("[export, quantize, qat]", "stages[2].qat: no stage behind it takes what it makes"),
    ],
)
def test_an_order_in_which_a_stage_works_for_nothing(tmp_path: Path, stages: str, said: str) -> None:
    assert problems(tmp_path, f"stages: {stages}") == [said]


@pytest.mark.parametrize(
    "stages", ["[export]", "[export, cast]", "[prune: {macs: 50%}, distill, export, qat, quantize]"]
)
def test_an_order_in_which_every_stage_counts(tmp_path: Path, stages: str) -> None:
    assert len(load_recipe(write(tmp_path, f"stages: {stages}")).stages) == stages.count(",") + 1


def test_options_of_rungs_are_checked_before_anything_runs(tmp_path: Path) -> None:
    ladder = "ladder: [qat: {epochs: [0, 1], training: {learning_rate: -3, foo: 2}}, keep-float: {layers: [-1]}]"
    found = problems(tmp_path, f"stages: [export, quantize]\n{ladder}")
    places = ("qat.epochs[0]", "qat.training.learning_rate", "qat.training.foo", "keep-float.layers[0]")
    assert len(found) == 4
    assert all(any(place in line for line in found) for place in places), found
