"""Software of a board: operating system, JetPack, Python, and a working runtime for each way to run a model."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from edgecnn.core import plugins
from edgecnn.core.device import Deployment
from edgecnn.formats.registry import format_of_backend, known_formats
from edgecnn.measure.checkup.diagnostic import DeviceUnderTest, Diagnostic, Level
from edgecnn.measure.checkup.wheels import OLDEST, Platform, install, version_of, wheels
from edgecnn.measure.wire.answers import DeviceFacts, RuntimePackage
from edgecnn.probe.ending import signal_name


def system(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """Operating system and width, JetPack, Python."""
    facts = device.facts
    name = facts.os or facts.system
    if facts.bits == 32:
        word = "onnxruntime and ai-edge-litert are made for 64-bit systems only: install the 64-bit one"
        yield Diagnostic("os", "warn", f"{name or 'its system'}, 32 bit: {word}", "rpi-imager")
    elif name is None:
        yield Diagnostic("os", "unknown", "which operating system it runs cannot be read")
    else:
        yield Diagnostic("os", "ok", ", ".join(filter(None, (name, "64 bit", facts.libc))))
    yield from _jetpack(device)
    yield _python(facts)


def _jetpack(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    facts, expected = device.facts, device.profile.jetpack
    if expected is None:
        return
    jetpack, l4t = facts.jetpack, facts.l4t
    number, least, most = version_of(jetpack), version_of(expected.min), version_of(expected.max)
    if number is None or least is None or most is None:
        what = f"L4T {l4t} belongs to no JetPack known here" if l4t else "its JetPack cannot be read"
        yield Diagnostic("jetpack", "unknown", what, "cat /etc/nv_tegra_release")
    elif least <= number and number[: len(most)] <= most:
        yield Diagnostic("jetpack", "ok", f"JetPack {jetpack} (L4T {l4t})")
    else:
        span = f"the profile knows {expected.min} to {expected.max}"
        yield Diagnostic("jetpack", "warn", f"JetPack {jetpack} (L4T {l4t}): {span}")


def _python(facts: DeviceFacts) -> Diagnostic:
    text, platform = facts.python, Platform.of(facts)
    if platform is None:
        return Diagnostic("python", "unknown", "its Python's version cannot be read")
    if platform.python < OLDEST:
        return Diagnostic("python", "fail", f"Python {text} is too old: 3.8 is the oldest that works")
    if all(wheels(item.backend, platform) is None for item in known_formats() if item.wheels):
        return Diagnostic("python", "warn", f"Python {text}: no runtime is made for it on {facts.libc}")
    return Diagnostic("python", "ok", f"Python {text}")


def runtimes(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """numpy, and what runs each deployment of the profile; `fail` where nothing could be run at all."""
    numpy = _package(device, "numpy", ("numpy",))
    diagnostics = [_deployment(device, item) for item in device.profile.deployments]
    works = any(runtime.level in ("ok", "unknown") for runtime, *_ in diagnostics)
    yield numpy
    for runtime, *_ in diagnostics:
        stops = not works and runtime.level == "warn"
        yield Diagnostic(runtime.code, "fail" if stops else runtime.level, runtime.message, runtime.command)
    for _, *more in diagnostics:
        yield from more


def _deployment(device: DeviceUnderTest, deployment: Deployment) -> list[Diagnostic]:
    """The runtime of a deployment, and what else its format asks of a board."""
    format = format_of_backend(deployment.backend)
    if format is not None and format.board_check:
        return list(plugins.resolve(format.board_check)(device))
    if format is None or not format.board_packages:
        said = f"{deployment.backend}, for {deployment.format}: built in"
        return [Diagnostic(f"runtime-{deployment.backend}", "ok", said)]
    package = _package(device, deployment.backend, format.board_packages)
    return [
        Diagnostic(package.code, package.level, f"{package.message}, for {deployment.format} files", package.command)
    ]


def _package(device: DeviceUnderTest, backend: str, packages: tuple[str, ...]) -> Diagnostic:
    """The first package that works; else what is wrong with the one that is there; else how to get it."""
    code = backend if backend == "numpy" else f"runtime-{backend}"
    level: Level = "fail" if backend == "numpy" else "warn"
    tried = {package: device.facts.package(package) for package in packages}
    if all(one.installed is None for one in tried.values()):
        return Diagnostic(code, "unknown", f"whether {backend} works was not told")
    for package, one in tried.items():
        if one.works:
            return Diagnostic(code, "ok", f"{package.replace('_', '-')} {one.version or ''}".strip())
    for package, one in tried.items():
        if one.installed:
            return Diagnostic(code, level, _broken(package, one), _command(device, backend, again=True))
    return Diagnostic(code, level, f"{packages[0].replace('_', '-')} is missing", _command(device, backend))


def _broken(package: str, one: RuntimePackage) -> str:
    number = one.signal
    name = package.replace("_", "-")
    if number == signal.SIGILL:
        return f"{name} uses an instruction that this processor does not have (SIGILL): it was built for a newer one"
    if number is not None:
        return f"{name} crashes when it is loaded ({signal_name(int(number))}): {one.error}"
    return f"{name} does not load: {one.error}"


def _command(device: DeviceUnderTest, backend: str, *, again: bool = False) -> str:
    """One command for all that is missing, so that it is typed once."""
    platform = Platform.of(device.facts)
    if platform is None:
        return ""
    lacking = [name for name in _lacking(device) if name != backend]
    packages = [wheel for name in (backend, *lacking) for wheel in wheels(name, platform) or ()]
    if (device.facts.jetpack or "").startswith("6.") and '"numpy<2"' not in packages:
        packages.append('"numpy<2"')  # what TensorRT 10.3's bindings were built with
    return install(device, sorted(packages), again=again) if wheels(backend, platform) else ""


def _lacking(device: DeviceUnderTest) -> list[str]:
    wanted = {item.backend: item.board_packages for item in known_formats() if item.board_packages}
    wanted = {"numpy": ("numpy",), **wanted}
    used = {"numpy", *(item.backend for item in device.profile.deployments)}
    return [
        backend
        for backend, packages in wanted.items()
        if backend in used and all(device.facts.package(package).installed is False for package in packages)
    ]
