from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.probe.sensors import Sensors
from edgecnn.probe.sensors.machine import Machine
from edgecnn.probe.sensors.raspberry_pi import RaspberryPi, throttled

Plant = Callable[[dict[str, str]], Machine]
PMIC = """ 3V7_WL_SW_A current(0)=0.08784180A
   3V3_SYS_A current(1)=0.10000000A
 VDD_CORE_A current(7)=0.75012000A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
 VDD_CORE_V volt(15)=0.89745940V
 EXT5V_V volt(24)=5.11104000V
 BATT_V volt(25)=0.00000000V
"""
SUM_W = 0.08784180 * 3.7 + 0.1 * 3.3 + 0.75012 * 0.8974594
VCGENCMD = f"""#!/bin/sh
case "$1 $2" in
"get_throttled ") echo throttled=0x50005 ;;
"measure_temp ") echo "temp=39.5'C" ;;
"measure_clock arm") echo "frequency(0)=2400033792" ;;
"pmic_read_adc ") cat << END
{PMIC}END
;;
*) echo 'error=1 error_msg="Command not registered"'; exit 255 ;;
esac
"""
PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/stat": "cpu 1 0 1 7 1 0 0 0 0 0\n",
    "usr/bin/vcgencmd": VCGENCMD,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000",
}
FIT = {"estimate": {"slope": 1.1327, "offset_w": 0.6444}}


def test_a_pi_5_says_bits_true_clock_temperature_and_estimated_power(plant: Plant) -> None:
    sensors = Sensors(plant(PI_5), rails=FIT)
    reading = sensors.sample()
    assert sensors.names == ["vcgencmd", "linux"]
    assert reading["throttled"] == 0x50005
    assert reading["temperature_c"] == 39.5
    assert reading["cpu_mhz"] == 2400.034, "the firmware's clock, not the one Linux asked for"
    assert set(reading["rails_w"]) == {"3V7_WL_SW", "3V3_SYS", "VDD_CORE"}
    assert reading["power_w"] == pytest.approx(1.1327 * SUM_W + 0.6444, abs=1e-3)
    assert reading["power_source"] == "estimated"
    assert reading["input_v"] == 5.11104
    assert sensors.troubles == {}


def test_without_a_fit_the_rails_are_not_called_the_boards_power(plant: Plant) -> None:
    reading = Sensors(plant(PI_5)).sample()
    assert "rails_w" in reading and "power_w" not in reading


def test_a_pi_4_is_not_asked_for_power_it_cannot_measure(plant: Plant) -> None:
    sensors = Sensors(plant({**PI_5, "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}), rails=FIT)
    assert "rails_w" not in sensors.sample()
    assert sensors.troubles == {}


def test_a_thermal_zone_spares_a_question_to_the_firmware(plant: Plant) -> None:
    zone = {"sys/class/thermal/thermal_zone0/type": "cpu-thermal", "sys/class/thermal/thermal_zone0/temp": "48312"}
    assert Sensors(plant({**PI_5, **zone})).sample()["temperature_c"] == 48.312


@pytest.mark.parametrize("platform", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_file_where_there_is_no_program(plant: Plant, platform: str) -> None:
    assert throttled(plant({f"sys/devices/platform/{platform}/get_throttled": "80008\n"})) == 0x80008


@pytest.mark.parametrize("answer", ["throttled=0x80000001", "throttled=", "VCHI initialization failed", ""])
def test_an_answer_that_is_none_is_not_read(plant: Plant, answer: str) -> None:
    reached = plant({"proc/device-tree/model": "Raspberry Pi 4", "usr/bin/vcgencmd": f"#!/bin/sh\necho '{answer}'\n"})
    reading = RaspberryPi(reached).sample()
    assert reading["throttled"] is None and reading["cpu_mhz"] is None


def test_a_pi_whose_user_may_not_ask_says_so_and_the_rest_is_read(plant: Plant, tmp_path: Path) -> None:
    refusing = '#!/bin/sh\necho "Can\'t open device file: /dev/vcio"\nexit 255\n'
    sensors = Sensors(plant({**PI_5, "usr/bin/vcgencmd": refusing}))
    reading = sensors.sample()
    assert "throttled" not in reading
    assert reading["cpu_mhz"] == 1500.0
    assert "/dev/vcio" in sensors.troubles["vcgencmd get_throttled"]
