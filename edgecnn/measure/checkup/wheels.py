"""Wheels: which exist for a board's Python and C library, and the command that installs them there.

Source: PyPI's files for aarch64, November 2026. From a release on, newer ones leave a Python or a C library behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.core import plugins
from edgecnn.core.errors import install_hint
from edgecnn.formats.registry import format_of_backend, known_formats
from edgecnn.measure.checkup.diagnostic import DeviceUnderTest
from edgecnn.measure.wire.answers import DeviceFacts

Version = tuple[int, ...]

OLDEST: Version = (3, 8)
"""The Python that the probe needs."""
NEWEST: Version = (3, 14)
ONNXRUNTIME = {(3, 11): "1.32.0", (3, 10): "1.23.2", (3, 8): "1.19.2"}
"""From this Python on, with a C library from 2.27 on; before 2.27 see OLD_LIBC."""
LITERT = {(3, 10): "2.3.0", (3, 9): "2.1.0"}
OLD_LIBC: Version = (2, 27)
ONNXRUNTIME_OLD_LIBC, LITERT_OLD_LIBC = "1.16.3", "1.4.0"
TFLITE_RUNTIME = "2.13.0"
"""The last for Python 3.8 and for 32-bit systems; built for numpy 1."""
VENV = "~/edgecnn"


@dataclass(frozen=True, slots=True)
class Platform:
    """What decides which wheel fits; `libc` is None where it is not glibc or unknown."""

    python: Version
    libc: Version | None
    bits: int = 64

    @classmethod
    def of(cls, facts: DeviceFacts) -> Platform | None:
        python = version_of(facts.python)
        libc = facts.libc or ""
        if python is None:
            return None
        return cls(python[:2], version_of(libc) if libc.startswith("glibc") else None, int(facts.bits or 64))

    @property
    def old_libc(self) -> bool:
        return self.libc is not None and self.libc < OLD_LIBC


def version_of(text: str | None) -> Version | None:
    """The first number with dots in a text."""
    number = re.search(r"\d{1,6}(?:\.\d{1,6})*", text or "")
    return tuple(int(part) for part in number[0].split(".")) if number else None


def wheels(backend: str, platform: Platform) -> list[str] | None:
    """What pip is to install for a backend or for `numpy`; None where no wheel is made."""
    if not OLDEST <= platform.python <= NEWEST:
        return None
    if backend == "numpy":
        return ["numpy"]
    format = format_of_backend(backend)
    if format is None or not format.wheels:
        return None
    packages: list[str] | None = plugins.resolve(format.wheels)(platform)
    return packages


def onnxruntime(platform: Platform) -> list[str] | None:
    if platform.bits != 64:
        return None
    if platform.old_libc:
        return [f"onnxruntime=={ONNXRUNTIME_OLD_LIBC}"] if platform.python <= (3, 11) else None
    return [f"onnxruntime=={_newest(ONNXRUNTIME, platform.python)}"]


def litert(platform: Platform) -> list[str] | None:
    if platform.bits != 64 or platform.python == (3, 8):
        return [f"tflite-runtime=={TFLITE_RUNTIME}", '"numpy<2"'] if platform.python <= (3, 10) else None
    if platform.old_libc:
        return [f"ai-edge-litert=={LITERT_OLD_LIBC}"] if platform.python <= (3, 12) else None
    return [f"ai-edge-litert=={_newest(LITERT, platform.python)}"]


def _newest(table: dict[tuple[int, int], str], python: Version) -> str:
    return next(version for since, version in table.items() if python >= since)


def install(device: DeviceUnderTest, packages: Sequence[str], *, again: bool = False) -> str:
    """The command that adds `packages` to the Python that edgecnn uses there.

    Where the system's Python is the distribution's (PEP 668) that is a virtual environment, and a last line for the
    device's file tells edgecnn of it.
    """
    facts, connect = device.facts, device.profile.connect
    wanted = " ".join([*(["--force-reinstall"] if again else []), *dict.fromkeys(packages)])
    if device.profile.local:
        extras = [item.extra for item in known_formats() if any(name in wanted for name in item.requirements)]
        extra = next(filter(None, extras), "")
        return install_hint(extra) if extra else f"python -m pip install {wanted}"
    if facts.externally_managed:
        return _in_a_venv(device, wanted)
    python = connect.python if connect else "python3"
    first = "" if facts.has_pip is not False else "sudo apt install -y python3-pip\n"
    return f"{first}{python} -m pip install {wanted}"


def _in_a_venv(device: DeviceUnderTest, wanted: str) -> str:
    facts, connect = device.facts, device.profile.connect
    lines = [] if facts.has_venv is not False else ["sudo apt install -y python3-venv"]
    shared = " --system-site-packages" if facts.l4t is not None else ""  # TensorRT's bindings are the system's
    lines += [f"python3 -m venv{shared} {VENV}", f"{VENV}/bin/python -m pip install {wanted}"]
    if connect is not None:
        lines.append(
            f"python: {VENV}/bin/python   # on this host: under connect:, in the file of {device.profile.name}"
        )
    return "\n".join(lines)
