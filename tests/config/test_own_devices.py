"""A device of the user's own takes what it does not say from another, and says how it is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.config import devices
from edgecnn.config.devices import list_devices, load_device
from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError, InputError


@pytest.fixture
def own(config_home: Path) -> Path:
    folder = config_home / "devices"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\n{text}")
    return path


def failing(word: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_device(word)
    return caught.value


def test_the_short_file_of_the_issue(own: Path) -> None:
    write(own, "pi", "extends: raspberry-pi-5\nconnect: {ssh: pi@raspberrypi.local}\n")
    pi, shipped = load_device("pi"), load_device("raspberry-pi-5")
    assert (pi.name, pi.title, pi.extends) == ("pi", "Raspberry Pi 5 (pi)", "raspberry-pi-5")
    assert (pi.hardware, pi.deployments, pi.match) == (shipped.hardware, shipped.deployments, shipped.match)
    assert pi.connect is not None and pi.connect.ssh == "pi@raspberrypi.local"
    assert (pi.reachable, shipped.reachable) == (True, False)
    assert pi.aliases == () and "pi" in shipped.aliases
    assert "pi" not in next(p for p in list_devices() if p.name == "raspberry-pi-5").aliases


def test_mappings_are_merged_and_lists_replaced(own: Path) -> None:
    text = "extends: raspberry-pi-5\nhardware: {cpu: {max_mhz: 3000}, memory: {gb: 8}}\nthrottle: [frequency]\n"
    write(own, "fast-pi", text + "aliases: [fp]\ntitle: Mine\n")
    found = load_device("fp")
    assert found.hardware is not None
    assert (found.hardware.cpu.max_mhz, found.hardware.cpu.cores) == (3000, 4)
    assert (found.hardware.memory.gb, found.hardware.memory.gbps) == (8, 17.1)
    assert (found.throttle, found.title) == (("frequency",), "Mine")


def test_one_extends_another_that_extends_a_shipped_one_by_its_alias(own: Path) -> None:
    write(own, "base", "extends: pi4\nconnect: {ssh: base, python: ~/venv/bin/python}\n")
    write(own, "lab", "extends: base\nconnect: {ssh: lab}\n")
    found = load_device("lab")
    assert found.hardware is not None and found.hardware.cpu.core == "cortex-a72"
    assert found.connect is not None
    assert (found.connect.ssh, found.connect.python) == ("lab", "~/venv/bin/python")
    assert found.title == "Raspberry Pi 4 Model B (base) (lab)"


def test_a_file_may_replace_the_shipped_one_it_extends(own: Path) -> None:
    write(own, "raspberry-pi-5", "extends: raspberry-pi-5\nconnect: {ssh: here}\n")
    found = load_device("rpi5")
    assert (found.name, found.title) == ("raspberry-pi-5", "Raspberry Pi 5")
    assert found.connect is not None
    assert [profile.name for profile in list_devices()].count("raspberry-pi-5") == 1


def test_a_pc_that_is_reached_is_not_this_host(own: Path) -> None:
    write(own, "server", "extends: host\nconnect: {ssh: server}\n")
    found = load_device("server")
    assert (found.local, found.reachable) == (False, True)
    assert load_device("host").local


def test_an_ssh_configuration_lies_beside_the_file_that_names_it(own: Path, tmp_path: Path) -> None:
    write(own, "lab", "extends: pi5\nconnect: {ssh: lab, config: lab_config}\n")
    write(own, "other", "extends: lab\n")
    for name in ("lab", "other"):
        connect = load_device(name).connect
        assert connect is not None and connect.config == own / "lab_config"


def test_an_unknown_parent_and_everything_else_at_once(own: Path) -> None:
    write(own, "pi", "extends: raspbery-pi-5\nconnect: {ssh: a b, pyhton: x}\n")
    error = failing("pi")
    problems = error.why.splitlines()
    assert problems[0].startswith("extends: no device is called 'raspbery-pi-5'; did you mean 'raspberry-pi-5'")
    assert any(line.startswith("connect.ssh: must be a Host") for line in problems)
    assert "connect.pyhton: unknown key; did you mean 'python'?" in problems
    assert len(problems) == 3, problems  # title and deployments are not missing: the parent would give them


def test_two_that_extend_each_other(own: Path) -> None:
    write(own, "a", "extends: b\n")
    write(own, "b", "extends: a\n")
    assert "extends: a extends b extends a, which goes round in a circle" in failing("a").why


def test_what_a_parent_gets_wrong_is_told_of_the_parent(own: Path) -> None:
    parent = write(own, "base", "extends: pi5\ntitel: x\n")
    write(own, "lab", "extends: base\n")
    error = failing(str(own / "lab.yaml"))
    assert str(parent) in error.message
    assert "titel" in error.why


def test_this_host_is_not_reached_over_ssh(own: Path) -> None:
    write(own, "both", "extends: pi5\nlocal: true\nconnect: {ssh: x}\n")
    assert "not both" in failing("both").why


@pytest.mark.parametrize(
    ("ssh", "says"),
    [
        ("-oProxyCommand=evil", "must be a Host"),
        ("-host", "must not begin with '-'"),
        ("pi@-oX", "must not begin with '-'"),
        ("pi@host; rm", "must be a Host"),
        ("$(id)", "must be a Host"),
        ("pi@host:2222", "takes no port"),
        ("", "must be a Host"),
    ],
)
def test_what_is_no_host_is_refused(own: Path, ssh: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        devices.add("pi", ssh=ssh, like="pi5")
    assert f"connect.ssh: {says}" in caught.value.why
    assert not list(own.glob("*"))


@pytest.mark.parametrize("ssh", ["pi", "pi@raspberrypi.local", "pi@[fe80::1%eth0]", "fe80::1"])
def test_what_is_a_host_is_taken(own: Path, ssh: str) -> None:
    devices.add("lab", ssh=ssh, like="pi5")
    connect = load_device("lab").connect
    assert connect is not None and connect.ssh == ssh


def test_add_writes_a_file_that_can_be_read(own: Path, tmp_path: Path) -> None:
    config = tmp_path / "my ssh config"
    config.touch()
    path = devices.add("pi", ssh="pi@board", like="rpi5", python="~/edgecnn/bin/python", config=config)
    assert path == own / "pi.yaml"
    assert [entry.name for entry in own.iterdir()] == ["pi.yaml"]
    pi = load_device("pi")
    assert pi.extends == "raspberry-pi-5"
    assert pi.connect is not None
    assert (pi.connect.python, pi.connect.config) == ("~/edgecnn/bin/python", config)


def test_add_does_not_overwrite_unless_told_to(own: Path) -> None:
    devices.add("pi", ssh="one", like="pi5")
    with pytest.raises(InputError) as caught:
        devices.add("pi", ssh="two", like="pi5")
    assert caught.value.code == "device-exists"
    assert "--force" in caught.value.hint
    devices.add("pi", ssh="two", like="pi", replace=True)  # `pi` is the shipped alias here, not the file itself
    pi = load_device("pi")
    assert pi.connect is not None and (pi.connect.ssh, pi.extends) == ("two", "raspberry-pi-5")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("raspberry-pi-5", "device-clash"),
        ("host", "device-clash"),
        ("mine", "device-clash"),
        ("../pi", "bad-device-name"),
        ("My Pi", "bad-device-name"),
        ("-pi", "bad-device-name"),
        ("", "bad-device-name"),
    ],
)
def test_names_that_cannot_be_had(own: Path, name: str, code: str) -> None:
    write(own, "base", "extends: pi4\naliases: [mine]\n")
    with pytest.raises(InputError) as caught:
        devices.add(name, ssh="pi", like="pi5")
    assert caught.value.code == code
    assert caught.value.hint
    assert len(list(own.iterdir())) == 1


def test_add_like_a_board_that_does_not_exist(own: Path) -> None:
    with pytest.raises(InputError) as caught:
        devices.add("pi", ssh="pi", like="raspbery-pi-5")
    assert (caught.value.code, "did you mean 'raspberry-pi-5'" in caught.value.hint) == ("unknown-device", True)
    with pytest.raises(InputError, match="no ssh configuration"):
        devices.add("pi", ssh="pi", like="pi5", config=own / "none")


def test_a_folder_that_cannot_be_written(config_home: Path) -> None:
    config_home.parent.mkdir(exist_ok=True)
    config_home.write_text("a file where the folder would be")
    with pytest.raises(EdgecnnError) as caught:
        devices.add("pi", ssh="pi", like="pi5")
    assert caught.value.hint


def test_the_hosts_own_come_first_in_the_list(own: Path) -> None:
    devices.add("zero", ssh="zero", like="pi-zero")
    names = [profile.name for profile in list_devices()]
    assert names[:2] == ["host", "zero"]
    assert isinstance(load_device("zero"), DeviceProfile)


def test_an_ssh_configuration_at_the_home_of_nobody_is_no_bug(own: Path) -> None:
    write(own, "pi", "extends: raspberry-pi-5\nconnect: {ssh: pi, config: ~no-such-user-here/config}\n")
    connect = load_device("pi").connect
    assert connect is not None and str(connect.config).endswith("~no-such-user-here/config")


@pytest.mark.parametrize(
    ("word", "near"), [("pi6", "'pi5'"), ("jetsen", "'jetson'"), ("raspberry-pi-6", "'raspberry-pi-5'")]
)
def test_an_unknown_board_to_be_like_has_its_nearest_named(word: str, near: str, config_home: Path) -> None:
    with pytest.raises(InputError) as caught:
        devices.add("lab", ssh="pi@lab", like=word)
    assert caught.value.code == "unknown-device"
    assert caught.value.hint.startswith("did you mean") and near in caught.value.hint
