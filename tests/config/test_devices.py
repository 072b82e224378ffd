"""Device profiles are found by any of their names, and a wrong one is answered with the nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.config.devices import known_backends, list_devices, load_device
from edgecnn.core.errors import InputError
from edgecnn.formats.registry import format_named, format_of_family, formats

BOARD = """
name: my-board
title: My board
aliases: [mb]
hardware:
  cpu: {core: cortex-a53, cores: 4}
  memory: {gb: 1}
deployments:
  - {format: onnx, backend: onnxruntime, family: onnxruntime}
"""


def write(folder: Path, text: str, name: str = "my-board.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("host", "host"),
        ("localhost", "host"),
        ("jetson", "jetson-orin-nano-8gb"),
        ("Orin Nano", "jetson-orin-nano-8gb"),
        ("jetson-orin-nano", "jetson-orin-nano-8gb"),
        ("nano", "jetson-nano"),
        ("xavier-nx", "jetson-xavier-nx"),
        ("agx-orin", "jetson-agx-orin-64gb"),
        ("thor", "jetson-agx-thor"),
        ("pi", "raspberry-pi-5"),
        ("rpi5", "raspberry-pi-5"),
        ("raspberry_pi_4", "raspberry-pi-4b"),
        ("pi4", "raspberry-pi-4b"),
    ],
)
def test_every_alias_leads_to_its_board(word: str, name: str) -> None:
    assert load_device(word).name == name


def test_what_each_board_runs_best_first() -> None:
    formats = {profile.name: [item.format for item in profile.deployments] for profile in list_devices()}
    assert formats["jetson-orin-nano-8gb"] == ["tensorrt", "onnx", "tflite"]
    assert formats["raspberry-pi-5"] == formats["raspberry-pi-4b"] == ["tflite", "onnx"]
    assert formats["raspberry-pi-zero-2w"] == ["tflite"]
    assert formats["host"] == ["onnx", "tflite", "tensorrt"]


def test_what_is_made_when_no_format_is_asked_for() -> None:
    for profile in list_devices():
        wanted = ("tensorrt",) if profile.name.startswith("jetson") else tuple(d.format for d in profile.deployments)
        assert profile.delivered == wanted


def test_a_nano_has_no_int8_in_tensorrt() -> None:
    found = {p.name: d.precisions for p in list_devices() for d in p.deployments if d.format == "tensorrt"}
    assert [name for name, precisions in found.items() if "int8" not in precisions] == ["jetson-nano"]


def test_every_family_has_a_writer_and_every_format_an_exporter() -> None:
    for profile in list_devices():
        for deployment in profile.deployments:
            assert format_of_family(deployment.family).quantize
            assert format_named(deployment.format) in formats()


def test_only_the_host_is_local_and_every_board_says_its_source() -> None:
    for profile in list_devices():
        assert profile.local == (profile.name == "host")
        assert profile.local or profile.source


def test_a_misspelt_board() -> None:
    with pytest.raises(InputError) as caught:
        load_device("raspbery-pi-5")
    assert caught.value.code == "unknown-device"
    assert "did you mean 'raspberry-pi-5'" in caught.value.hint


def test_the_users_own_board(config_home: Path, tmp_path: Path) -> None:
    write(config_home / "devices", BOARD)
    assert load_device("mb").title == "My board"
    assert "my-board" in [profile.name for profile in list_devices()]


def test_a_board_in_a_file(tmp_path: Path) -> None:
    assert load_device(str(write(tmp_path, BOARD))).name == "my-board"


def test_two_boards_of_the_users_with_one_alias(config_home: Path) -> None:
    write(config_home / "devices", BOARD)
    write(config_home / "devices", BOARD.replace("my-board", "other"), "other.yaml")
    with pytest.raises(InputError) as caught:
        load_device("host")
    assert caught.value.code == "device-clash"
    assert "'mb'" in caught.value.message


@pytest.mark.parametrize("line", ["aliases: [mb]", "name: my-board"])
def test_a_shipped_name_is_not_taken_over_by_another_file(config_home: Path, line: str) -> None:
    key = line.partition(":")[0]
    value = "[raspberry-pi-5]" if key == "aliases" else "raspberry-pi-5"
    write(config_home / "devices", BOARD.replace(line, f"{key}: {value}"))
    with pytest.raises(InputError) as caught:
        load_device("host")
    assert caught.value.code == "device-clash"
    assert "'raspberry-pi-5'" in caught.value.message


def test_a_shipped_alias_leads_to_the_users_board_that_has_it(config_home: Path) -> None:
    write(config_home / "devices", BOARD.replace("[mb]", "[jetson, pi4]"))
    assert load_device("jetson").name == load_device("pi4").name == "my-board"
    aliases = {profile.name: profile.aliases for profile in list_devices()}
    assert "jetson" not in aliases["jetson-orin-nano-8gb"]
    assert "orin-nano" in aliases["jetson-orin-nano-8gb"]
    assert "pi4" not in aliases["raspberry-pi-4b"]


def test_every_mistake_in_a_profile_with_its_path(tmp_path: Path) -> None:
    text = BOARD.replace("cores: 4", "coers: 4").replace("format: onnx", "format: onxx").replace("title", "titel")
    with pytest.raises(InputError) as caught:
        load_device(str(write(tmp_path, text)))
    found = caught.value.why
    assert "hardware.cpu.coers: unknown key; did you mean 'cores' or 'core'?" in found
    assert "hardware.cpu.cores: is missing" in found
    assert "deployments[0].format: " in found
    assert len(found.splitlines()) == 5
    assert "titel: unknown key; did you mean 'title'" in found


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "backend: onnxruntime",
            "backend: onnx-runtime",
            "deployments[0].backend: no backend is called 'onnx-runtime'; did",
        ),
        ("backend: onnxruntime", "backend: openvino", f"known: {', '.join(sorted(known_backends()))}"),
        ("family: onnxruntime", "family: onnxrt", "deployments[0].family: "),
    ],
)
def test_a_runtime_that_does_not_exist_is_refused_when_the_profile_is_read(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_device(str(write(tmp_path, BOARD.replace(old, new))))
    assert caught.value.code == "bad-device"
    assert says in caught.value.why
    assert len(caught.value.why.splitlines()) == 1


def test_a_runtime_that_does_not_exist_is_told_with_the_other_problems(tmp_path: Path) -> None:
    text = BOARD.replace("backend: onnxruntime", "backend: onnxrt").replace("title", "titel")
    with pytest.raises(InputError) as caught:
        load_device(str(write(tmp_path, text)))
    assert len(caught.value.why.splitlines()) == 3
