"""The grade table: each finding, its effect, and what could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgecnn.core.artifact import Artifact
from edgecnn.core.device import DeviceProfile
from edgecnn.measure.grade import Reason, grade_of
from edgecnn.measure.process import Candidate, Process
from edgecnn.measure.reasons import reasons_for
from edgecnn.measure.telemetry import Telemetry

CPU = {"core": "cortex-a76", "cores": 4, "max_mhz": 2400}
GPU = {"compute_capability": "8.7", "sm": 8, "max_mhz": 625}
DEPLOYMENT = {"format": "onnx", "backend": "onnxruntime", "family": "onnxruntime"}
PI = DeviceProfile.model_validate(
    {
        "name": "pi",
        "title": "Pi",
        "hardware": {"cpu": CPU, "memory": {"gb": 8}},
        "deployments": [DEPLOYMENT],
        "thermal": {"throttle_c": 80},
        "throttle": ["vcgencmd"],
    }
)
ORIN = DeviceProfile.model_validate(
    {
        "name": "orin",
        "title": "Orin",
        "hardware": {"cpu": CPU, "gpu": GPU, "memory": {"gb": 8}},
        "deployments": [DEPLOYMENT],
        "power_modes": {"15W": {"id": 0, "gpu_mhz": 612, "cpu_mhz": 1500}, "7W": {"id": 1}},
        "power_modes_super": {"MAXN_SUPER": {"id": 2, "gpu_mhz": 1020, "cpu_mhz": 1728}},
        "thermal": {"throttle_c": 99},
        "throttle": ["soctherm_oc"],
    }
)
XAVIER = ORIN.model_copy(update={"throttle": ("dmesg_soctherm",)})
ARM = Candidate("m", Artifact(Path("m.onnx"), "onnx", "fp32", (), (), ""), "onnxruntime", 1)
GPU_ARM = Candidate("m", ARM.artifact, "tensorrt", 1)
STEADY = (100.0, 101.0, 99.0) * 40
BEFORE = {
    **{"temperature_c": 45.0, "throttled": 0, "boot_id": "a", "oom_kills": 2, "cpu_max_mhz": 2400.0},
    **{"gpu_max_mhz": 612.0, "oc_counts": {"oc1": 5, "oc2": 6, "oc3": 7}, "power_mode": "15W"},
}
SAMPLES = ({"cpu_mhz": 2400.0, "gpu_mhz": 612.0, "throttled": 0, "temperature_c": 55.0},) * 20


def told(before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **fields: Any) -> Telemetry:
    """Readings of a board that is well, with changes; a value None takes the reading away."""
    first = {key: value for key, value in {**BEFORE, **(before or {})}.items() if value is not None}
    last = {key: value for key, value in {**BEFORE, **(before or {}), **(after or {})}.items() if value is not None}
    return Telemetry(**{"before": first, "after": last, "samples": SAMPLES, "sources": ("linux",), **fields})


def process(block: int = 0, *, facts: dict[str, Any] | None = None, **changes: Any) -> Process:
    about = {"usable_cores": 4, "governor": "performance", "boot_id": "a", "board": "Raspberry Pi 5", **(facts or {})}
    fields: dict[str, Any] = {"block": block, "position": 0, "samples_ns": STEADY, "runs_per_sample": 1}
    fields |= {"load_ns": 5, "first_ns": 7, "peak_rss_bytes": 100, "peak_rss_delta_bytes": 10, "telemetry": told()}
    return Process(**{**fields, "steady": True, "other_load": 0.01, "facts": about, **changes})


def found(
    *processes: Process, candidate: Candidate = ARM, expect: DeviceProfile | None = PI, least: int = 100
) -> dict[str, Reason]:
    reasons = reasons_for(processes, candidate=candidate, min_iterations=least, expect=expect)
    assert len({reason.code for reason in reasons}) == len(reasons)
    assert all(str(reason) for reason in reasons)
    return {reason.code: reason for reason in reasons}


def effects(*processes: Process, **settings: Any) -> dict[str, str]:
    return {code: reason.effect for code, reason in found(*processes, **settings).items()}


def three(telemetry: Telemetry, **changes: Any) -> list[Process]:
    """Two processes of a board that is well, and one with these readings."""
    return [process(0), process(1), process(2, telemetry=telemetry, **changes)]


def test_a_board_that_is_well_has_nothing_against_it() -> None:
    assert found(*three(told())) == {}
    assert found(*three(told()), expect=ORIN, candidate=GPU_ARM) == {}
    assert found(*three(told()), expect=None) == {}


@pytest.mark.parametrize(
    ("during", "code", "effect"),
    [
        (0x1, "under-voltage", "invalid"),
        (0x2, "throttled", "invalid"),
        (0x4, "throttled", "invalid"),
        (0x8, "soft-temperature-limit", "degraded"),
    ],
)
def test_what_the_firmware_does_now(during: int, code: str, effect: str) -> None:
    hit = ({**SAMPLES[0], "throttled": during}, *SAMPLES)
    assert effects(*three(told(samples=hit))) == {code: effect}
    assert effects(*three(told(after={"throttled": during}))) == {code: effect}
    assert "1 of 3 processes" in found(*three(told(samples=hit)))[code].message


@pytest.mark.parametrize(
    ("bits", "code", "effect"),
    [
        (0x10000, "throttle-history", "degraded"),
        (0x20000, "throttle-history", "degraded"),
        (0x40000, "throttle-history", "degraded"),
        (0x80000, "soft-temperature-limit", "degraded"),
    ],
)
def test_only_since_boot_bits_that_are_new_count(bits: int, code: str, effect: str) -> None:
    assert effects(*three(told(after={"throttled": bits}))) == {code: effect}
    assert effects(*three(told({"throttled": bits}, {"throttled": bits}))) == {}
    assert effects(*three(told({"throttled": 0xF0000}, {"throttled": 0xF0000 | bits}))) == {}


def test_a_bit_seen_as_it_happened_is_not_told_twice() -> None:
    hit = ({**SAMPLES[0], "throttled": 0x50005}, *SAMPLES)
    assert effects(*three(told(after={"throttled": 0x50000}, samples=hit))) == {
        "under-voltage": "invalid",
        "throttled": "invalid",
    }


@pytest.mark.parametrize(
    ("rise", "code", "effect"),
    [
        ({"oc1": 6}, "under-voltage", "invalid"),
        ({"oc2": 9}, "over-current", "invalid"),
        ({"oc3": 15}, "over-current-instant", "degraded"),
    ],
)
def test_counters_count_by_how_much_they_rose(rise: dict[str, int], code: str, effect: str) -> None:
    counts = {"oc1": 5, "oc2": 6, "oc3": 7, **rise}
    assert effects(*three(told(after={"oc_counts": counts})), expect=ORIN) == {code: effect}


def test_a_xavier_is_judged_by_its_log() -> None:
    quiet, loud = {"oc_counts": {"alarm": 3}}, {"oc_counts": {"alarm": 4}}
    healthy = [process(block, telemetry=told(quiet, quiet)) for block in range(2)]
    alarmed = process(2, telemetry=told(quiet, loud))
    assert effects(*healthy, alarmed, expect=XAVIER) == {"over-current": "invalid"}
    assert effects(*three(told()), expect=XAVIER) == {"throttle-unread": "unknown"}


def test_a_clock_that_is_too_low_too_often_invalidates() -> None:
    slow = {**SAMPLES[0], "cpu_mhz": 1500.0}
    samples = (slow,) * 4 + SAMPLES[:16]
    reason = found(*three(told(samples=samples)))["clock-low"]
    assert reason.effect == "invalid"
    assert "4 of 60 readings" in reason.message and "1500" in reason.message
    assert found(*three(told(samples=(slow, *SAMPLES)))) == {}, "one reading of sixty is no more than 5 %"
    enough = ({**SAMPLES[0], "cpu_mhz": 2330.0},) * 20
    assert found(*three(told(samples=enough))) == {}, "97 % is enough"


def test_a_locked_clock_is_what_it_should_be() -> None:
    locked = {"clocks_locked": True, "cpu_max_mhz": 1500.0}
    samples = ({**SAMPLES[0], "cpu_mhz": 1500.0},) * 20
    well = [process(block, telemetry=told(locked, samples=samples)) for block in range(3)]
    assert effects(*well) == {"clock-capped": "degraded"}
    assert effects(*well, expect=None) == {}
    low = ({**SAMPLES[0], "cpu_mhz": 1200.0},) * 20
    assert effects(*well[:2], process(2, telemetry=told(locked, samples=low)), expect=None) == {"clock-low": "invalid"}


def test_the_power_mode_says_which_clock_is_right() -> None:
    samples = ({**SAMPLES[0], "gpu_mhz": 612.0, "cpu_mhz": 729.0},) * 20
    well = [process(block, telemetry=told({"gpu_max_mhz": 1020.0}, samples=samples)) for block in range(3)]
    assert effects(*well, candidate=GPU_ARM, expect=ORIN) == {}, "612 MHz is right in 15W, and the CPU may idle"
    super_mode = {"power_mode": "MODE_MAXN_SUPER", "gpu_max_mhz": 1020.0}
    fast = [process(block, telemetry=told(super_mode, samples=samples)) for block in range(3)]
    assert effects(*fast, candidate=GPU_ARM, expect=ORIN) == {"clock-low": "invalid"}


def test_locked_clocks_need_no_governor_called_performance() -> None:
    facts = {"governor": "schedutil"}
    free = [process(block, facts=facts) for block in range(3)]
    assert effects(*free) == {"clocks-not-locked": "degraded"}
    locked = [process(block, facts=facts, telemetry=told({"clocks_locked": True})) for block in range(3)]
    assert effects(*locked) == {}


def test_starting_hot_is_degraded_a_pc_may_be_hotter() -> None:
    warm = three(told({"temperature_c": 66.0}))
    assert effects(*warm) == {"hot-start": "degraded"}
    assert "66 C" in found(*warm)["hot-start"].message
    assert effects(*warm, expect=None) == {"hot-start": "degraded"}
    pc = [process(block, facts={"board": None}, telemetry=told({"temperature_c": 66.0})) for block in range(3)]
    assert effects(*pc, expect=None) == {}
    gentle = PI.model_copy(update={"thermal": PI.thermal and PI.thermal.model_copy(update={"soft_limit_c": 60.0})})
    assert effects(*three(told({"temperature_c": 57.0})), expect=gentle) == {"hot-start": "degraded"}


def test_the_power_mode_must_stay_and_be_known() -> None:
    assert effects(*three(told({"power_mode": "7W"})), expect=ORIN) == {"power-mode": "degraded"}
    odd = [process(block, telemetry=told({"power_mode": "TURBO"})) for block in range(3)]
    assert "TURBO" in found(*odd, expect=ORIN)["power-mode"].message
    blind = [process(block, telemetry=told({"power_mode": None})) for block in range(3)]
    assert effects(*blind, expect=ORIN)["power-mode-unread"] == "unknown"


@pytest.mark.parametrize(
    ("gone", "code", "expect"),
    [
        ("throttled", "throttle-unread", PI),
        ("oc_counts", "throttle-unread", ORIN),
        ("temperature_c", "temperature-unread", PI),
    ],
)
def test_what_could_not_be_read_is_unknown_and_never_fine(gone: str, code: str, expect: DeviceProfile) -> None:
    blind = told({gone: None}, samples=tuple({k: v for k, v in SAMPLES[0].items() if k != gone} for _ in range(20)))
    assert effects(*three(blind), expect=expect) == {code: "unknown"}
    assert effects(*three(blind), expect=None) == {}, "without a profile nobody says that it can be read"


def test_a_since_boot_bit_that_was_set_before_needs_readings_meanwhile() -> None:
    """It cannot be set again, so a throttling between the snapshots would pass unseen."""
    set_before, unseen = {"throttled": 0x50000}, ({"cpu_mhz": 2400.0},) * 20
    assert effects(*three(told(set_before, samples=unseen))) == {"throttle-unread": "unknown"}
    assert effects(*three(told(set_before))) == {}
    assert effects(*three(told(samples=unseen))) == {}, "a clear bit would have been set"


def test_clocks_and_load_that_one_process_could_not_read_are_unknown() -> None:
    dark = told(samples=({"temperature_c": 50.0},) * 20)
    assert effects(*three(dark)) == {"clocks-unread": "unknown"}
    assert effects(*three(told(), other_load=None)) == {"load-unread": "unknown"}
    busy = [process(0, other_load=0.4), process(1), process(2, other_load=None)]
    assert effects(*busy) == {"load-unread": "unknown", "other-load": "degraded"}


def test_clocks_that_were_never_read_are_unknown() -> None:
    dark = [process(block, telemetry=told(samples=({"temperature_c": 50.0},) * 20)) for block in range(3)]
    assert effects(*dark) == {"clocks-unread": "unknown"}
    silent = [process(block, telemetry=Telemetry(), facts={"governor": None}) for block in range(3)]
    assert effects(*silent) == {
        "clocks-unread": "unknown",
        "temperature-unread": "unknown",
        "throttle-unread": "unknown",
    }
    assert effects(*silent, expect=None) == {"clocks-unread": "unknown"}


def test_a_reboot_and_a_kill_for_memory_invalidate() -> None:
    assert effects(*three(told({"boot_id": "b"}), facts={"boot_id": "b"})) == {"rebooted": "invalid"}
    assert effects(*three(told(after={"boot_id": "b"}))) == {"rebooted": "invalid"}
    assert effects(*three(told(after={"oom_kills": 3}))) == {"oom-killed": "invalid"}


def test_an_emulated_board_proves_nothing_about_the_boards_times() -> None:
    reasons = found(*three(told(), facts={"emulated": True}, samples_ns=tuple(1e6 * (1 + n / 50) for n in range(200))))
    reason = reasons["emulated"]
    assert "drift" not in reasons and "no-steady-state" not in reasons
    assert (reason.effect, reason.message) == ("invalid", "emulated: times say nothing about the board")


def test_what_a_backend_found_wrong_counts() -> None:
    wrong = {"cpu-fallback": "3 layers ran on the CPU", "built": "the engine was built in 12 s"}
    assert effects(*three(told(), findings=wrong)) == {"cpu-fallback": "invalid", "built": "note"}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"steady": False}, {"no-steady-state": "degraded"}),
        ({"other_load": 0.4}, {"other-load": "degraded"}),
        ({"own_load": 0.6}, {"cpu-waits": "degraded"}),
        ({"own_load": 0.95}, {}),
        ({"own_load": 3.9}, {}),
        ({"facts": {"usable_cores": 0}}, {"oversubscribed": "degraded"}),
        ({"samples_ns": STEADY[:30]}, {"few-samples": "degraded"}),
        ({"runs_per_sample": 4}, {"batched": "note"}),
        ({"samples_ns": (*STEADY, 900.0)}, {"outliers": "note"}),
        ({"samples_ns": tuple(100 + index / 6 for index in range(120))}, {"drift": "degraded"}),
    ],
)
def test_design_samples_and_load(changes: dict[str, Any], codes: dict[str, str]) -> None:
    assert effects(*(process(block, **changes) for block in range(3))) == codes
    assert effects(process(0), process(1))["few-processes"] == "degraded"


def test_load_that_nobody_could_read_is_unknown() -> None:
    assert effects(*(process(block, other_load=None) for block in range(3))) == {"load-unread": "unknown"}


@pytest.mark.parametrize(
    ("effects_seen", "grade"),
    [
        ((), "valid"),
        (("note",), "valid"),
        (("note", "unknown"), "unknown"),
        (("unknown", "degraded"), "degraded"),
        (("degraded", "invalid", "unknown"), "invalid"),
    ],
)
def test_the_grade_is_the_worst_effect(effects_seen: Sequence[Any], grade: str) -> None:
    assert grade_of([Reason("x", effect, "") for effect in effects_seen]) == grade
