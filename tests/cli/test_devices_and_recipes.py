"""`devices`, `recipes` and `doctor` as a person or a script types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugin_packages import installed

from edgecnn.cli import console, failures, main
from edgecnn.core.errors import install_hint
from edgecnn.formats.registry import RuntimeCheck, formats
from edgecnn.workflows import doctor
from edgecnn.workflows.doctor import Check, HostCheckup

Captured = pytest.CaptureFixture[str]


def run(*argv: str) -> int:
    try:
        return failures.guard(lambda: main.run(list(argv)), argv)
    finally:
        console.configure()


def test_the_version(capsys: Captured) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("edgecnn 0.")


@pytest.mark.parametrize("what", ["devices", "recipes"])
def test_lists(what: str, capsys: Captured) -> None:
    assert run(what, "list") == 0
    table = capsys.readouterr().out
    assert run(what, "list", "--json") == 0
    names = [item["name"] for item in json.loads(capsys.readouterr().out)]
    assert names
    assert all(name in table for name in names)


def test_a_device_by_its_alias(capsys: Captured) -> None:
    assert run("devices", "show", "jetson") == 0
    page = capsys.readouterr().out
    for fact in ("jetson-orin-nano", "cortex-a78ae", "compute capability 8.7", "8 GB LPDDR5", "tensorrt"):
        assert fact in page
    assert run("devices", "show", "pi", "--json") == 0
    assert json.loads(capsys.readouterr().out)["hardware"]["cpu"]["core"] == "cortex-a76"


def test_a_good_recipe_is_ok(capsys: Captured) -> None:
    assert run("recipes", "check", "int8") == 0
    assert capsys.readouterr().out.startswith("ok: int8, 3 stages: export → cast → quantize")
    assert run("recipes", "check", "int8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_recipe_with_three_mistakes_shows_all_three(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stages:\n- exprt\n- quantize: {observer: best}\nbudget: {max_drop: lots}\n")
    assert run("recipes", "check", str(path)) == 2
    err = capsys.readouterr().err
    assert f"error[bad-recipe]: recipe {path} has 3 problems" in err
    for place in ("stages[0].exprt: ", "stages[1].quantize.observer: ", "budget.max_drop: "):
        assert place in err


def test_settings_may_follow_the_command(capsys: Captured) -> None:
    assert run("devices", "list", "--quiet") == 0
    assert run("devices", "list", "--quiet", "--verbose") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_doctor_on_a_host_where_the_core_works(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "known_formats", lambda: formats()[:1])
    assert run("doctor", "--out", str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {"system", "cpu", "int8", "memory", "python"} <= set(found["host"])
    status = {check["name"]: check["status"] for check in found["checks"]}
    assert status["torch"] == "ok"
    assert [check["status"] for check in found["checks"] if check["group"] == "runtimes"] == ["ok"]
    assert run("doctor", "--out", str(tmp_path)) == 0
    assert "onnxruntime" in capsys.readouterr().out


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A format, a task and a stage of somebody else's, none of which can be imported."""
    (tmp_path / "broken_toy.py").write_text("import no_such_runtime\n")
    groups = {"formats": "toy", "tasks": "count", "stages": "shrink"}
    points = {group: {name: "broken_toy:IT"} for group, name in groups.items()}
    with installed(tmp_path, "edgecnn-toy", points, monkeypatch):
        yield


def test_doctor_names_broken_plugins_and_what_removes_them(
    broken: None, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "known_formats", lambda: formats()[:1])
    assert run("doctor", "--out", str(tmp_path), "--json") == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    found = [check for check in checks if check["group"] == "plug-ins"]
    assert [(check["name"], check["status"]) for check in found] == [
        ("toy", "broken"),
        ("shrink", "broken"),
        ("count", "broken"),
    ]
    assert all("edgecnn-toy: ModuleNotFoundError: No module named 'no_such_runtime'" in one["detail"] for one in found)
    assert run("doctor", "--out", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "the core works; for the rest, type:" in out and out.count("pip uninstall edgecnn-toy") == 1


def test_a_broken_plugin_is_named_where_it_is_asked_for_and_only_there(
    broken: None, tmp_path: Path, capsys: Captured, make_onnx: Callable[..., Path]
) -> None:
    (tmp_path / "mine.yaml").write_text("stages:\n- export\n- shrink\n")
    (tmp_path / "model.toy").write_bytes(b"TOY1" * 10)
    checkpoint = str(tmp_path / "a.pth")
    for words, code, says in (
        (("export", checkpoint, "--format", "toy"), 4, "error[broken-plugin]: the format 'toy' is installed, but"),
        (("optimize", checkpoint, "--format", "toy"), 4, "error[broken-plugin]: the format 'toy' is installed, but"),
        (("evaluate", checkpoint, "--data", ".", "--task", "count"), 4, "error[broken-plugin]: the task 'count' is"),
        (("recipes", "check", str(tmp_path / "mine.yaml")), 2, "stages[1].shrink: the stage cannot be loaded: "),
        (("benchmark", str(tmp_path / "model.toy")), 2, "error[unknown-format]: model.toy"),
    ):
        assert run(*words) == code
        err = " ".join(capsys.readouterr().err.split())
        assert says in err and "edgecnn-toy: ModuleNotFoundError" in err
    for words in (
        ("devices", "list"),
        ("recipes", "list"),
        ("inspect", str(make_onnx("a.onnx"))),
        ("export", "--help"),
    ):
        assert run(*words) == 0
        ended = capsys.readouterr()
        assert "toy" not in ended.out + ended.err


def test_doctor_exits_4_and_says_what_to_type(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = HostCheckup(
        {"system": "Linux"},
        [
            Check("core", "onnx", "missing", detail="not installed", command='pip install "onnx"'),
            Check("extra tflite", "litert-torch", "missing", command='pip install "edgecnn[tflite]"'),
            Check("extra tflite", "ai-edge-litert", "missing", command='pip install "edgecnn[tflite]"'),
        ],
    )
    monkeypatch.setattr(doctor, "doctor", lambda out, listener: sick)
    assert run("doctor") == 4
    out = capsys.readouterr().out
    assert out.count('pip install "edgecnn[tflite]"') == 1
    assert "the core does not work" in out


DIRECT_URLS = {
    None: 'pip install "edgecnn[tflite]"',
    '{"url": "file://%s", "dir_info": {"editable": true}}': 'pip install -e "%s[tflite]"',
    '{"url": "file://%s", "dir_info": {}}': 'pip install "%s[tflite]"',
    '{"url": "file:///gone", "dir_info": {}}': 'pip install "edgecnn[tflite]"',
    '{"url": "https://x.org/edgecnn-1.whl", "archive_info": {}}': 'pip install "edgecnn[tflite] @ https://x.org/edgecnn-1.whl"',
    '{"url": "https://x.org/e.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}': 'pip install "edgecnn[tflite] @ git+https://x.org/e.git@abc"',
    "no json": 'pip install "edgecnn[tflite]"',
}


@pytest.mark.parametrize("direct_url", DIRECT_URLS)
def test_an_extra_is_installed_from_where_the_package_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct_url: str | None
) -> None:
    """PEP 610: `direct_url.json` beside the metadata says where a package that no index gave came from."""
    checkout, site = tmp_path / "a checkout", tmp_path / "site"
    info = site / "edgecnn-0.0.dist-info"
    info.mkdir(parents=True)
    checkout.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgecnn\nVersion: 0.0\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url.replace("%s", str(checkout).replace(" ", "%20")))
    monkeypatch.setattr("sys.path", [str(site), *sys.path])
    assert install_hint("tflite") == DIRECT_URLS[direct_url].replace("%s", str(checkout))
    monkeypatch.chdir(checkout)
    assert install_hint("tflite") == DIRECT_URLS[direct_url].replace("%s", ".")


def test_a_missing_extra_is_no_failure_but_a_broken_runtime_is() -> None:
    assert HostCheckup({}, [Check("extra timm", "timm", "missing")]).ok
    assert not HostCheckup({}, [Check("runtimes", "litert", "broken")]).ok


def test_a_runtime_that_takes_its_process_down_is_called_broken() -> None:
    check = doctor._runtime("onnxruntime", RuntimeCheck(("onnxruntime",), "runs a model", "import os; os.abort()"))
    assert check.status == "broken"
    assert "--force-reinstall" in check.command


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    check = doctor._folder("output", file / "below")
    assert check.status == "broken"


def test_main_leaves_with_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["edgecnn", "devices", "show", "nothing-like-it"])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
