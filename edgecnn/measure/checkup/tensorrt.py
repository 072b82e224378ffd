"""TensorRT on a board: trtexec, which builds and times, and the Python bindings, which accuracy needs."""

from __future__ import annotations

from collections.abc import Iterator

from edgecnn.measure.checkup.diagnostic import DeviceUnderTest, Diagnostic
from edgecnn.measure.checkup.wheels import version_of

TENSORRT = "sudo apt update\nsudo apt install -y nvidia-jetpack"
BINDINGS = "sudo apt install -y python3-libnvinfer"


def check(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """The runtime, then its bindings."""
    yield _runtime(device)
    yield from _bindings(device)


def _runtime(device: DeviceUnderTest) -> Diagnostic:
    """Whether trtexec is there, and which TensorRT it belongs to."""
    tool, code, expected = device.facts.tensorrt, "runtime-tensorrt", device.profile.jetpack
    if tool is None:
        return Diagnostic(code, "unknown", "whether trtexec works was not told")
    version = tool.version
    if not tool.trtexec:
        if device.profile.local:
            return Diagnostic(code, "warn", "no trtexec here: TensorRT files are judged in a stand-in, and not timed")
        return Diagnostic(code, "warn", tool.error or "trtexec is missing", TENSORRT)
    numbers = version_of(version)
    listed = expected.tensorrt if expected else []
    known = [version_of(text) for text in listed]
    if numbers and known and not any(one and numbers[: len(one)] == one for one in known):
        return Diagnostic(code, "ok", f"TensorRT {version}, which is new here: the profile knows {', '.join(listed)}")
    return Diagnostic(code, "ok", f"TensorRT {version or 'of an unknown version'}")


def _bindings(device: DeviceUnderTest) -> Iterator[Diagnostic]:
    """Accuracy on the board needs TensorRT's Python bindings; latency does not."""
    one, tool = device.facts.package("tensorrt"), device.facts.tensorrt
    if device.profile.local or tool is None or not tool.trtexec or one.installed is None:
        return
    if one.works:
        yield Diagnostic("tensorrt-python", "ok", f"TensorRT's Python bindings {one.version or ''}".strip())
    else:
        what = "missing" if not one.installed else f"broken: {one.error}"
        yield Diagnostic(
            "tensorrt-python", "warn", f"TensorRT's Python bindings are {what}: accuracy needs them", BINDINGS
        )
