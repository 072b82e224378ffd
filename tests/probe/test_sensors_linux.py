from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.probe.sensors import Sensors, machine
from edgecnn.probe.sensors.linux import Linux, temperature
from edgecnn.probe.sensors.machine import Machine

Plant = Callable[[dict[str, str]], Machine]
CPU = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
PC = {
    "proc/stat": "cpu 100 0 100 700 100 0 0 0 0 0\ncpu0 1\n",
    "proc/meminfo": "MemTotal:  2048 kB\nMemAvailable:   1024 kB\n",
    "proc/loadavg": "0.50 0.25 0.10 1/100 4711\n",
    "proc/vmstat": "nr_free_pages 9\noom_kill 3\n",
    "proc/sys/kernel/random/boot_id": "abc\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "99000\n",
    "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone1/temp": "41500\n",
    "sys/class/thermal/thermal_zone2/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
    **{CPU.format(core, "scaling_cur_freq"): f"{1200 + 600 * core}000\n" for core in range(2)},
    **{CPU.format(core, "scaling_min_freq"): "600000\n" for core in range(2)},
    **{CPU.format(core, "scaling_max_freq"): "1800000\n" for core in range(2)},
    CPU.format(0, "scaling_governor"): "ondemand\n",
}


def test_a_pc_says_what_it_can(plant: Plant) -> None:
    reading = Linux(plant(PC)).snapshot()
    assert reading == {
        "temperature_c": 41.5,
        "cpu_mhz": 1800.0,
        "cpu_busy": None,
        "memory_available_bytes": 1024 * 1024,
        "cpu_max_mhz": 1800.0,
        "clocks_locked": False,
        "governor": "ondemand",
        "boot_id": "abc",
        "loadavg": [0.5, 0.25, 0.1],
        "oom_kills": 3,
    }


def test_clocks_whose_least_is_their_greatest_are_locked(plant: Plant) -> None:
    locked = {CPU.format(core, "scaling_min_freq"): "1800000\n" for core in range(2)}
    assert Linux(plant({**PC, **locked})).snapshot()["clocks_locked"] is True


def test_busy_is_what_was_spent_between_two_readings(plant: Plant, tmp_path: Path) -> None:
    source = Linux(plant(PC))
    source.sample()
    (tmp_path / "proc/stat").write_text("cpu 130 0 100 760 110 0 0 0 0 0\n")
    assert source.sample()["cpu_busy"] == 0.3
    assert source.sample()["cpu_busy"] is None


def test_a_machine_that_says_nothing_has_no_sources(plant: Plant) -> None:
    sensors = Sensors(plant({}))
    assert (sensors.names, sensors.sample(), sensors.snapshot(), sensors.troubles) == ([], {}, {}, {})


def test_broken_files_are_absent_not_errors(plant: Plant) -> None:
    broken = {path: "no number at all \xff\n" for path in PC if path != "proc/stat"}
    assert Sensors(plant({**broken, "proc/stat": "cpu x\n"})).sample() == {}


def test_the_processors_own_sensor_where_no_zone_is_named_after_it(plant: Plant) -> None:
    chips = {"sys/class/hwmon/hwmon0/name": "nvme", "sys/class/hwmon/hwmon0/temp1_input": "80000"}
    chips |= {"sys/class/hwmon/hwmon1/name": "k10temp", "sys/class/hwmon/hwmon1/temp1_input": "52250"}
    assert temperature(plant(chips)) == 52.25


def test_this_very_machine_is_read_without_trouble() -> None:
    sensors = Sensors()
    assert sensors.snapshot()["memory_available_bytes"] > 0
    assert sensors.troubles == {}


def test_a_program_that_fails_says_so_once(plant: Plant) -> None:
    reached = plant({"usr/bin/tool": "#!/bin/sh\necho no such rail\nexit 3\n"})
    assert [reached.ask("tool", "read"), reached.ask("tool", "read"), reached.ask("absent")] == [None] * 3
    assert reached.troubles == {"tool read": "no such rail"}


def test_a_program_that_hangs_is_ended_and_at_last_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ANSWER_S", 0.05)
    reached = Machine(programs={"tool": [sys.executable, "-S", "-c", "import time; time.sleep(60)"]})
    assert [reached.ask("tool") for _ in range(machine.PATIENCE)] == [None] * machine.PATIENCE
    assert reached.troubles == {"tool": "no answer in 0.05 s"}
    monkeypatch.setattr(machine, "ANSWER_S", 60.0)
    assert reached.ask("tool") is None


def test_a_program_that_cannot_be_started_is_given_up(plant: Plant) -> None:
    reached = plant({"usr/bin/tool": "not a program"})
    assert reached.ask("tool") is None
    assert "tool" in reached.troubles
