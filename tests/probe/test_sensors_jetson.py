"""Real lines of `tegrastats`, and the files of a Jetson as they are laid out; the programs here only repeat them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.probe.sensors import Sensors
from edgecnn.probe.sensors.jetson import gpu_clock, ina3221, logged_alarms, over_currents, power_mode
from edgecnn.probe.sensors.machine import Machine
from edgecnn.probe.sensors.power import board_power
from edgecnn.probe.sensors.tegrastats import Tegrastats, parse

Plant = Callable[[dict[str, str]], Machine]
LINES = dict(
    line.split("|", 1)
    for line in (Path(__file__).parent / "tegrastats_lines.txt").read_text().splitlines()
    if not line.startswith("#")
)
MB = 1 << 20
FREQ = "sys/devices/system/cpu/cpu0/cpufreq/"
ORIN = {
    "proc/device-tree/compatible": "nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/stat": "cpu 1 0 1 7 1 0 0 0 0 0\n",
    FREQ + "scaling_min_freq": "1510400",
    FREQ + "scaling_max_freq": "1510400",
    FREQ + "scaling_cur_freq": "1510400",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000",
    "sys/class/devfreq/17000000.gpu/min_freq": "624750000",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000",
    "sys/class/devfreq/15340000.vic/cur_freq": "729600000",
    "sys/class/hwmon/hwmon0/name": "soctherm_oc",
    "sys/class/hwmon/hwmon0/oc1_event_cnt": "0",
    "sys/class/hwmon/hwmon0/oc3_event_cnt": "17",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1200",
    "sys/class/hwmon/hwmon1/in2_label": "NC",
    "sys/class/hwmon/hwmon1/in2_input": "5000",
    "sys/class/hwmon/hwmon1/curr2_input": "9",
    "usr/sbin/nvpmodel": '#!/bin/sh\n[ "$1" = -q ] && echo "NV Power Mode: MAXN_SUPER" && echo 2\n',
}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("jp4_nano", {"temperature_c": 46.0, "cpu_mhz": 102.0, "gpu_load": 0.0, "cores_off": []}),
        ("jp4_nano_coreoff", {"temperature_c": 43.5, "cpu_mhz": 1479.0, "gpu_load": 0.37, "cores_off": [1]}),
        ("jp6_orin_nano_root", {"gpu_load": 0.63, "gpu_mhz": 621.0, "emc_mhz": 2133.0, "emc_load": 0.43}),
        ("jp6_orin_nano_user", {"temperature_c": 50.562, "cpu_mhz": 1344.0, "gpu_load": 0.0}),
        ("jp71_thor", {"temperature_c": 38.875, "gpu_mhz": 314.0, "emc_mhz": 2750.0, "cpu_mhz": 972.0}),
        ("jp72_agx_orin_root", {"temperature_c": 52.968, "gpu_load": 0.12, "gpu_mhz": 1300.0, "cpu_mhz": 2201.0}),
        ("jp72_agx_orin_user", {"temperature_c": 47.906, "gpu_load": 0.0, "cpu_mhz": 1190.0}),
        ("jp72_orin_nano_user", {"temperature_c": 50.875, "gpu_load": 0.12, "cpu_mhz": 883.0}),
        ("jp72_orin_nx_coreoff", {"temperature_c": 59.687, "cores_off": [4, 5], "cpu_mhz": 1036.0}),
    ],
)
def test_every_real_line_is_understood(tag: str, expected: dict[str, Any]) -> None:
    found = parse(LINES[tag])
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("tag", "power_w", "source"),
    [
        ("jp4_nano", 0.9, "measured"),
        ("jp4_nano_coreoff", 1.897, "measured"),
        ("jp6_orin_nano_root", 12.479, "measured"),
        ("jp6_orin_nano_user", 6.626, "measured"),
        ("jp71_thor", 19.78, "measured"),
        ("jp72_agx_orin_root", 13.907, "sum of rails"),
        ("jp72_agx_orin_user", 9.11, "sum of rails"),
        ("jp72_orin_nano_user", 4.548, "measured"),
        ("jp72_orin_nx_coreoff", 7.28, "measured"),
    ],
)
def test_board_power_is_the_input_rail_or_the_sum_of_those_that_make_it_up(
    tag: str, power_w: float, source: str
) -> None:
    assert board_power(parse(LINES[tag])["rails_w"], {}) == {"power_w": pytest.approx(power_w), "power_source": source}


def test_what_a_line_does_not_say_is_left_out() -> None:
    assert "gpu_load" not in parse(LINES["jp71_thor"]), "Thor has a clock but no load"
    user = parse(LINES["jp6_orin_nano_user"])
    assert "gpu_mhz" not in user and "emc_load" not in user, "those need root"
    assert parse("") == {} == parse("tegrastats: command not found")
    assert parse("RAM 1/2MB (lfb")["memory_bytes"] == 2 * MB


def test_memory_and_rails_of_a_line() -> None:
    found = parse(LINES["jp6_orin_nano_root"])
    assert (found["memory_used_bytes"], found["memory_bytes"]) == (6185 * MB, 7620 * MB)
    assert found["rails_w"] == {"VDD_IN": 12.479, "VDD_CPU_GPU_CV": 4.667, "VDD_SOC": 2.817}
    assert found["cpu_busy"] == pytest.approx((15 + 11 + 14 + 13 + 11 + 8) / 600)


def test_a_zone_that_is_off_and_the_constant_one_are_no_temperatures() -> None:
    assert parse("gpu@-256C cpu@41.5C PMIC@100C") == {"zones_c": {"cpu": 41.5}, "temperature_c": 41.5}
    assert "temperature_c" not in parse("gpu@-256C PMIC@100C")


def test_the_profile_says_which_rails_count() -> None:
    rails = {"VDD_IN": 5.0, "A": 1.0, "B": 2.0}
    assert board_power(rails, {"total": None, "sum": ["A", "B"]})["power_w"] == 5.0
    assert board_power({"A": 1.0, "B": 2.0}, {"sum": ["A", "B"]}) == {"power_w": 3.0, "power_source": "sum of rails"}
    assert board_power({"A": 1.0}, {"sum": ["A", "B"]}) == {}
    assert board_power(rails, {"total": "B"}) == {"power_w": 2.0, "power_source": "measured"}


def test_an_orin_says_what_its_files_say(plant: Plant) -> None:
    reading = Sensors(plant(ORIN), rails={"total": "VDD_IN"}).snapshot()
    assert reading["oc_counts"] == {"oc1": 0, "oc3": 17}
    assert (reading["gpu_mhz"], reading["gpu_max_mhz"], reading["cpu_mhz"]) == (624.75, 624.75, 1510.4)
    assert (reading["rails_w"], reading["power_w"]) == ({"VDD_IN": 6.0}, 6.0)
    assert reading["power_mode"] == "MAXN_SUPER"
    assert reading["clocks_locked"] is True


def test_a_gpu_that_may_slow_down_is_not_locked(plant: Plant) -> None:
    free = {"sys/class/devfreq/17000000.gpu/min_freq": "306000000"}
    assert Sensors(plant({**ORIN, **free})).snapshot()["clocks_locked"] is False


@pytest.mark.parametrize("name", ["17000000.ga10b", "17000000.gpu", "17000000.gv11b", "57000000.gpu", "gpu-gpc-0"])
def test_the_gpu_is_found_by_its_name_on_every_release(plant: Plant, name: str) -> None:
    assert gpu_clock(plant({f"sys/class/devfreq/{name}/cur_freq": "918000000"}), "cur_freq") == 918.0


def test_power_of_a_jetpack_4_board_is_in_milliwatts(plant: Plant) -> None:
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/"
    assert ina3221(plant({folder + "rail_name_0": "POM_5V_IN", folder + "in_power0_input": "1897"})) == {
        "POM_5V_IN": 1.897
    }


def test_counters_of_another_chip_are_not_over_currents(plant: Plant) -> None:
    assert over_currents(plant({**ORIN, "sys/class/hwmon/hwmon0/name": "other"})) == {}


def test_a_xavier_logs_its_alarms(plant: Plant) -> None:
    log = {"usr/bin/dmesg": "#!/bin/sh\necho 'soctherm: OC ALARM 0x1'; echo x; echo 'soctherm: OC ALARM 0x2'\n"}
    xavier = {"proc/device-tree/compatible": "nvidia,p2888\0nvidia,tegra194\0"}
    assert logged_alarms(plant({**xavier, **log})) == {"alarm": 2}
    assert logged_alarms(plant({**ORIN, **log})) is None


def test_the_newest_alarms_of_a_long_log_count(plant: Plant) -> None:
    log = "#!/bin/sh\nyes 'a line of the kernel, one of many' | head -n 4000\necho 'soctherm: OC ALARM 0x1'\n"
    xavier = {"proc/device-tree/compatible": "nvidia,p2888\0nvidia,tegra194\0"}
    assert logged_alarms(plant({**xavier, "usr/bin/dmesg": log})) == {"alarm": 1}


def test_a_refused_power_mode_is_unread(plant: Plant) -> None:
    refusing = plant({"usr/sbin/nvpmodel": "#!/bin/sh\necho must be root >&2\nexit 1\n"})
    assert power_mode(refusing) is None
    assert refusing.troubles == {"nvpmodel -q": "must be root"}


def repeating(line: str) -> list[str]:
    program = "import sys, time\nwhile True: print(sys.argv[1], flush=True); time.sleep(0.02)"
    return [sys.executable, "-S", "-c", program, line]


def test_the_newest_line_of_the_running_program_is_read_and_it_is_ended() -> None:
    reached = Machine(programs={"tegrastats": repeating(LINES["jp72_agx_orin_user"])})
    with Sensors(reached, follow_s=1.0) as sensors:
        assert sensors.names[0] == "tegrastats"
        reading = until(lambda: powered(sensors))
        child = sensors._sources[0]._child
    assert reading["power_w"] == pytest.approx(9.11)
    assert reading["power_source"] == "sum of rails"
    assert child.returncode is not None
    assert reached.troubles == {}


def test_a_program_that_ends_by_itself_says_so(plant: Plant) -> None:
    reached = plant({"usr/bin/tegrastats": "#!/bin/sh\necho 'cpu@40C'\n"})
    source = Tegrastats(reached, 1.0)
    assert until(source.sample)["temperature_c"] == 40.0
    until(lambda: source.sample() or reached.troubles)
    assert reached.troubles == {"tegrastats": "it ended by itself"}
    assert source.sample() == {}


def powered(sensors: Sensors) -> dict[str, Any]:
    reading = sensors.sample()
    return reading if "power_w" in reading else {}


def until(look: Callable[[], Any]) -> Any:
    limit = time.monotonic() + 10
    while not (found := look()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found
