"""The figures in the shipped profiles are what cores, SMs and clocks come to; one board leads to one profile."""

from __future__ import annotations

import pytest

from edgecnn.config.devices import read
from edgecnn.config.user_files import folders
from edgecnn.core.device import DeviceProfile

CORE = {
    "cortex-a53": (8, 0, 16),
    "cortex-a57": (8, 0, 16),
    "cortex-a72": (8, 0, 16),
    "cortex-a76": (16, 32, 64),
    "cortex-a78ae": (16, 32, 64),
    "carmel": (16, 32, 32),
    "neoverse-v3ae": (32, 64, 256),
}
"""Operations per clock and core in FP32, FP16 and INT8, a multiply-add being two."""
SM = {"5.3": (256, 512, 0), "7.2": (128, 1024, 2048), "8.7": (256, 2048, 4096), "11.0": (256, 8192, 16384)}
"""Operations per clock and SM, dense."""

SHIPPED = [read(path) for path in sorted(folders("devices")[1].glob("*.yaml"))]
BOARDS = [profile for profile in SHIPPED if not profile.local]
IDS = [profile.name for profile in BOARDS]


def near(found: float | None, expected: float) -> bool:
    """Four digits are written."""
    return not expected if found is None else found == pytest.approx(expected, rel=5e-4)


def test_fourteen_boards_and_this_host() -> None:
    assert len(BOARDS) == 14
    assert {profile.name for profile in SHIPPED} - set(IDS) == {"host"}


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_peaks_are_units_times_clock_times_operations(board: DeviceProfile) -> None:
    assert board.hardware is not None
    cpu, gpu = board.hardware.cpu, board.hardware.gpu
    assert cpu.max_mhz is not None
    for found, operations in zip((cpu.fp32_gflops, cpu.fp16_gflops, cpu.int8_gops), CORE[cpu.core], strict=True):
        assert near(found, cpu.cores * cpu.max_mhz * operations / 1e3)
    for clock in (gpu, gpu.super) if gpu else ():
        if clock is None:
            continue
        peaks = (clock.fp32_tflops, clock.fp16_tflops, clock.int8_tops)
        for found, operations in zip(peaks, SM[gpu.compute_capability], strict=True):
            assert near(found, gpu.sm * clock.max_mhz * operations / 1e6)


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_a_profile_is_complete(board: DeviceProfile) -> None:
    assert board.hardware is not None and board.hardware.memory.gbps and board.match and board.throttle
    jetson = board.name.startswith("jetson")
    assert jetson == (board.jetpack is not None) == bool(board.power_modes) == (board.rails is not None)
    for modes in (board.power_modes, board.power_modes_super):
        numbers = [mode.id for mode in modes.values()]
        assert len(set(numbers)) == len(numbers)
        assert sum(mode.default for mode in modes.values()) <= 1
    assert ("dotprod" in board.hardware.cpu.isa) == (CORE[board.hardware.cpu.core][2] >= 64)
    assert board.source


@pytest.mark.parametrize("board", BOARDS, ids=IDS)
def test_what_a_board_says_of_itself_leads_to_one_profile(board: DeviceProfile) -> None:
    assert board.match is not None
    for compatible in board.match.compatible:
        for entry in (compatible, f"nvidia,p9999-0000+{compatible.partition(',')[2]}-super"):
            assert [p.name for p in BOARDS if p.match and p.match.names([entry], None)] == [board.name]
    if board.match.model:
        for model in (board.match.model, f"{board.match.model} Rev 1.2"):
            assert [p.name for p in BOARDS if p.match and p.match.names([], model)] == [board.name]


@pytest.mark.parametrize(
    ("compatible", "model", "name"),
    [
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"], None, "jetson-orin-nano-8gb"),
        (["nvidia,p2972-0000", "nvidia,p2822-0000+p2888-0001", "nvidia,tegra194"], None, "jetson-agx-xavier"),
        (["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,tegra210"], None, "jetson-nano"),
        (["raspberrypi,5-model-b", "brcm,bcm2712"], "Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        (["raspberrypi,4-model-b", "brcm,bcm2711"], "Raspberry Pi 4 Model B Rev 1.4", "raspberry-pi-4b"),
        ([], "Raspberry Pi Zero 2 W Rev 1.0", "raspberry-pi-zero-2w"),
        ([], "Raspberry Pi 500 Rev 1.0", None),
        (["nvidia,p3767-00", "nvidia,p37"], "Raspberry Pi 3 Model B Rev 1.2", None),
    ],
)
def test_real_device_trees(compatible: list[str], model: str | None, name: str | None) -> None:
    found = [profile.name for profile in BOARDS if profile.match and profile.match.names(compatible, model)]
    assert found == ([name] if name else [])


def test_a_board_may_have_the_chip_of_another() -> None:
    pi = next(profile for profile in BOARDS if profile.name == "raspberry-pi-5")
    assert pi.match is not None
    assert pi.match.has_chip(["raspberrypi,500", "brcm,bcm2712"])
    assert not pi.match.has_chip(["raspberrypi,400", "brcm,bcm2711"])
