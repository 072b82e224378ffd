"""The board's software: operating system, JetPack, Python, and a working runtime for each way to run a model."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from edgecnn.core.device import Deployment
from edgecnn.measure.checkup.finding import Finding, Level, Seen
from edgecnn.measure.checkup.wheels import OLDEST, Platform, install, version_of, wheels
from edgecnn.measure.untrusted import Untrusted

PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "tflite": ("ai_edge_litert", "tflite_runtime"),
    "torch": ("torch",),
}
"""What runs a backend: the first that works."""
TENSORRT = "sudo apt update\nsudo apt install -y nvidia-jetpack"
BINDINGS = "sudo apt install -y python3-libnvinfer"


def system(seen: Seen) -> Iterator[Finding]:
    """Operating system and width, JetPack, Python."""
    told = seen.facts
    name = told.text("os") or told.text("system")
    if told.number("bits") == 32:
        word = "onnxruntime and ai-edge-litert are made for 64-bit systems only: install the 64-bit one"
        yield Finding("os", "warn", f"{name or 'its system'}, 32 bit: {word}", "rpi-imager")
    elif name is None:
        yield Finding("os", "unknown", "which operating system it runs cannot be read")
    else:
        yield Finding("os", "ok", ", ".join(filter(None, (name, "64 bit", told.text("libc")))))
    yield from _jetpack(seen)
    yield _python(told)


def _jetpack(seen: Seen) -> Iterator[Finding]:
    told, expected = seen.facts, seen.profile.jetpack
    if expected is None:
        return
    found, l4t = told.text("jetpack"), told.text("l4t")
    number, least, most = version_of(found), version_of(expected.min), version_of(expected.max)
    if number is None or least is None or most is None:
        what = f"L4T {l4t} belongs to no JetPack known here" if l4t else "its JetPack cannot be read"
        yield Finding("jetpack", "unknown", what, "cat /etc/nv_tegra_release")
    elif least <= number and number[: len(most)] <= most:
        yield Finding("jetpack", "ok", f"JetPack {found} (L4T {l4t})")
    else:
        span = f"the profile knows {expected.min} to {expected.max}"
        yield Finding("jetpack", "warn", f"JetPack {found} (L4T {l4t}): {span}")


def _python(told: Untrusted) -> Finding:
    text, platform = told.text("python"), Platform.of(told)
    if platform is None:
        return Finding("python", "unknown", "its Python's version cannot be read")
    if platform.python < OLDEST:
        return Finding("python", "fail", f"Python {text} is too old: 3.8 is the oldest that works")
    if wheels("onnxruntime", platform) is None and wheels("tflite", platform) is None:
        return Finding("python", "warn", f"Python {text}: no runtime is made for it on {told.text('libc')}")
    return Finding("python", "ok", f"Python {text}")


def runtimes(seen: Seen) -> Iterator[Finding]:
    """numpy, and what runs each deployment of the profile; `fail` where nothing could be run at all."""
    numpy = _package(seen, "numpy", ("numpy",))
    found = [_deployment(seen, item) for item in seen.profile.deployments]
    works = any(finding.level in ("ok", "unknown") for finding in found)
    yield numpy
    for finding in found:
        stops = not works and finding.level == "warn"
        yield Finding(finding.code, "fail" if stops else finding.level, finding.message, finding.command)
    yield from _bindings(seen)


def _deployment(seen: Seen, deployment: Deployment) -> Finding:
    if deployment.backend == "tensorrt":
        return _tensorrt(seen)
    if deployment.backend not in PACKAGES:
        return Finding(
            f"runtime-{deployment.backend}", "ok", f"{deployment.backend}, for {deployment.format}: built in"
        )
    found = _package(seen, deployment.backend, PACKAGES[deployment.backend])
    return Finding(found.code, found.level, f"{found.message}, for {deployment.format} files", found.command)


def _package(seen: Seen, backend: str, packages: tuple[str, ...]) -> Finding:
    """The first package that works; else what is wrong with the one that is there; else how to get it."""
    code = backend if backend == "numpy" else f"runtime-{backend}"
    level: Level = "fail" if backend == "numpy" else "warn"
    tried = {package: seen.facts.inner("runtimes").inner(package) for package in packages}
    if not any(one.has("installed") for one in tried.values()):
        return Finding(code, "unknown", f"whether {backend} works was not told")
    for package, one in tried.items():
        if one.flag("installed") and not one.text("error") and one.number("signal") is None:
            return Finding(code, "ok", f"{package.replace('_', '-')} {one.text('version') or ''}".strip())
    for package, one in tried.items():
        if one.flag("installed"):
            return Finding(code, level, _broken(package, one), _command(seen, backend, again=True))
    return Finding(code, level, f"{packages[0].replace('_', '-')} is missing", _command(seen, backend))


def _broken(package: str, one: Untrusted) -> str:
    number = one.number("signal")
    name = package.replace("_", "-")
    if number == signal.SIGILL:
        return f"{name} uses an instruction that this processor does not have (SIGILL): it was built for a newer one"
    if number is not None:
        return f"{name} crashes when it is loaded ({_signal_name(int(number))}): {one.text('error')}"
    return f"{name} does not load: {one.text('error')}"


def _command(seen: Seen, backend: str, *, again: bool = False) -> str:
    """One command for all that is missing, so that it is typed once."""
    platform = Platform.of(seen.facts)
    if platform is None:
        return ""
    lacking = [name for name in _lacking(seen) if name != backend]
    packages = [wheel for name in (backend, *lacking) for wheel in wheels(name, platform) or ()]
    if (seen.facts.text("jetpack") or "").startswith("6.") and '"numpy<2"' not in packages:
        packages.append('"numpy<2"')  # what TensorRT 10.3's bindings were built with
    return install(seen, sorted(packages), again=again) if wheels(backend, platform) else ""


def _lacking(seen: Seen) -> list[str]:
    tried = seen.facts.inner("runtimes")
    wanted = {"numpy": ("numpy",), **PACKAGES}
    used = {"numpy", *(item.backend for item in seen.profile.deployments)}
    return [
        backend
        for backend, packages in wanted.items()
        if backend in used and all(tried.inner(package).flag("installed") is False for package in packages)
    ]


def _tensorrt(seen: Seen) -> Finding:
    told, code = seen.facts.inner("tensorrt"), "runtime-tensorrt"
    path, found, expected = told.text("trtexec"), told.text("version"), seen.profile.jetpack
    if not seen.facts.has("tensorrt"):
        return Finding(code, "unknown", "whether trtexec works was not told")
    if not path:
        if seen.profile.local:
            return Finding(code, "warn", "no trtexec here: TensorRT files are judged in a stand-in, and not timed")
        return Finding(code, "warn", told.text("error") or "trtexec is missing", TENSORRT)
    numbers = version_of(found)
    known = [version_of(text) for text in expected.tensorrt] if expected else []
    if numbers and known and not any(one and numbers[: len(one)] == one for one in known):
        return Finding(code, "ok", f"TensorRT {found}, which is new here: the profile knows {_listed(seen)}")
    return Finding(code, "ok", f"TensorRT {found or 'of an unknown version'}")


def _bindings(seen: Seen) -> Iterator[Finding]:
    """Accuracy on the board needs TensorRT's Python bindings; latency does not."""
    wanted = any(item.backend == "tensorrt" for item in seen.profile.deployments) and not seen.profile.local
    one = seen.facts.inner("runtimes").inner("tensorrt")
    if not wanted or not seen.facts.inner("tensorrt").text("trtexec") or not one.has("installed"):
        return
    if one.flag("installed") and not one.text("error") and one.number("signal") is None:
        yield Finding("tensorrt-python", "ok", f"TensorRT's Python bindings {one.text('version') or ''}".strip())
    else:
        what = "missing" if not one.flag("installed") else f"broken: {one.text('error')}"
        yield Finding(
            "tensorrt-python", "warn", f"TensorRT's Python bindings are {what}: accuracy needs them", BINDINGS
        )


def _listed(seen: Seen) -> str:
    return ", ".join(seen.profile.jetpack.tensorrt) if seen.profile.jetpack else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
