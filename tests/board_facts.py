"""What a Raspberry Pi 5 and an Orin Nano tell of themselves when all is well, and how it is judged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.measure.checkup import Diagnostic, examine

GIB = 1 << 30


def works(version: str) -> dict[str, Any]:
    return {"installed": True, "version": version, "error": "", "signal": None}


MISSING = {"installed": False, "version": None, "error": "not installed", "signal": None}
PI5: dict[str, Any] = {
    "python": "3.11.2",
    "bits": 64,
    "numpy": "2.2.6",
    "machine": "aarch64",
    "system": "Linux",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "release": "6.12.25+rpt-rpi-2712",
    "libc": "glibc 2.36",
    "board": "Raspberry Pi 5 Model B Rev 1.0",
    "compatible": ["raspberrypi,5-model-b", "brcm,bcm2712"],
    "l4t": None,
    "jetpack": None,
    "emulated": False,
    "cpu": "implementer 0x41 part 0xd0b",
    "isa": ["asimd", "dotprod", "fp16"],
    "cores": 4,
    "usable_cores": 4,
    "memory_bytes": 8_442_000_000,
    "governors": ["performance"],
    "cpu_policies": {
        "policy0": {"governor": "performance", "now": 2400, "min": 1500, "max": 2400, "hardware_max": 2400}
    },
    "cpu_mhz": {"now": 2400, "min": 1500, "max": 2400},
    "temperatures_c": {"cpu-thermal": 48.2},
    "throttled": 0,
    "oc_counts": {},
    "power_mode": None,
    "power_modes": [],
    "disk_free_bytes": 20 * GIB,
    "memory_available_bytes": 7 * GIB,
    "loadavg": [0.1, 0.2, 0.3],
    "externally_managed": True,
    "has_pip": True,
    "has_venv": True,
    "tensorrt": {"trtexec": None, "version": None, "error": "there is none"},
    "runtimes": {
        "numpy": works("2.2.6"),
        "onnxruntime": works("1.32.0"),
        "ai_edge_litert": works("2.3.0"),
        "tflite_runtime": MISSING,
        "tensorrt": MISSING,
        "torch": MISSING,
    },
}
ORIN: dict[str, Any] = {
    **PI5,
    "python": "3.10.12",
    "libc": "glibc 2.35",
    "os": "Ubuntu 22.04.5 LTS",
    "board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "compatible": ["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    "l4t": "36.4.3",
    "jetpack": "6.2",
    "usable_cores": 6,
    "memory_bytes": 7_990_000_000,
    "cpu_mhz": {"now": 1728, "min": 115.2, "max": 1728},
    "cpu_policies": {
        "policy0": {"governor": "schedutil", "now": 729.6, "min": 729.6, "max": 1728, "hardware_max": 1728}
    },
    "governors": ["schedutil"],
    "throttled": None,
    "oc_counts": {"oc1": 0, "oc2": 0, "oc3": 0},
    "power_mode": "25W",
    "power_modes": ["15W", "25W", "MAXN_SUPER"],
    "power_mode_ids": {"15W": 0, "25W": 1, "MAXN_SUPER": 2},
    "power_mode_default": "25W",
    "externally_managed": False,
    "tensorrt": {"trtexec": "/usr/src/tensorrt/bin/trtexec", "version": "10.3.0.30", "error": ""},
    "runtimes": {**PI5["runtimes"], "tensorrt": works("10.3.0")},
}


def judged(profile: DeviceProfile, facts: Mapping[str, Any], **other: Any) -> dict[str, Diagnostic]:
    now = time.time()
    told = {"time_s": now, "time_end_s": now, **facts, **other}
    findings = examine(told, profile, host_s=(now, now))
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}
