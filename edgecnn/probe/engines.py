"""TensorRT engines: built here from the ONNX file, kept under everything they depend on, never taken from elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import cuda, system, trtexec
from .errors import ProbeError, first_line
from .facts import memory_bytes
from .onnx_file import OnnxFile
from .sensors.jetson import power_mode
from .sensors.machine import Machine
from .specs import check_batch

CACHE = os.path.join("~", ".cache", "edgecnn", "cache")
ELSEWHERE = (".engine", ".plan", ".trt")
BUILD_S = 3600.0
MIB = 1 << 20
BASE_MIB = 1024
"""For CUDA, TensorRT and its builder alone. A log of 8.6: `Init builder kernel library: CPU +889, GPU +174`."""
COPIES = 4
"""Of the weights while an engine is built: parsed, in the network, in the engine, and the engine as it is written."""
WORKSPACE_MIB = 1024
BUILT = re.compile(r"Engine built in ([\d.]+) sec")


class Engine(NamedTuple):
    """`argv` built it in `build_s` seconds, now or, if `cached`, earlier. `batch` is what it takes at a time."""

    path: str
    model: OnnxFile
    batch: int
    argv: list[str]
    build_s: float | None
    cached: bool


def validate_built_here(path: str) -> None:
    """Raise ProbeError engine-from-elsewhere for a file that is named like an engine."""
    if path.lower().endswith(ELSEWHERE):
        raise ProbeError(
            "engine-from-elsewhere",
            "an engine file is not taken",
            "it fits one version of TensorRT and one GPU only, and loading it runs native code that is in it",
            "give the .onnx that it was built from: the engine is built on the board",
        )


def engine(tool: trtexec.Tool, model: OnnxFile, options: Mapping[str, Any]) -> Engine:
    """The engine of a model: out of the cache, else built, one at a time on a machine.

    Options: `cache` (folder), `batch`, `workspace_mib`, `build_timeout_s`. Raises ProbeError fixed-batch,
    too-big-for-memory, and what the build's words mean.
    """
    batch = int(options.get("batch", 1))
    if not options.get("shapes"):
        check_batch(model.inputs, batch)
    workspace_mib = int(options.get("workspace_mib", default_workspace_mib()))
    flags = trtexec.build_flags(tool, model, batch=batch, workspace_mib=workspace_mib)
    folder = os.path.expanduser(str(options.get("cache") or CACHE))
    place = machine_key(tool)
    key = _digest(system.sha256_of(model.path), place, *flags)
    path = os.path.join(folder, "engine-" + key + ".plan")
    with _one_at_a_time(folder):
        about = _kept(path)
        if about is not None:
            return Engine(path, model, batch, about["argv"], about["build_s"], cached=True)
        validate_size(os.path.getsize(model.path), workspace_mib, system.memory_available_bytes())
        timing_cache = os.path.join(folder, "timing-" + _digest(place) + ".cache")
        argv = trtexec.build_argv(tool, model, engine=path + ".part", timing_cache=timing_cache, flags=flags)
        return _build(Engine(path, model, batch, argv, None, cached=False), options)


def discard(found: Engine) -> None:
    """Forget an engine, so that it is built again."""
    for path in (found.path + ".json", found.path):
        with contextlib.suppress(OSError):
            os.unlink(path)


def validate_size(model_bytes: int, workspace_mib: int, available_bytes: int | None) -> None:
    """Raise ProbeError too-big-for-memory when a build cannot fit: 1 GiB for CUDA and the builder, the workspace, and
    the weights four times. On a Jetson the GPU has the same memory."""
    needed = (BASE_MIB + workspace_mib) * MIB + COPIES * model_bytes
    if available_bytes is not None and needed > available_bytes:
        raise ProbeError(
            "too-big-for-memory",
            "the model is too big for the memory of the board: TensorRT would not finish building its engine",
            f"about {needed / 1e6:.0f} MB are needed for a model of {model_bytes / 1e6:.1f} MB and a workspace of"
            f" {workspace_mib} MiB, and {available_bytes / 1e6:.0f} MB are available",
            "close other programs there, stop the desktop (sudo systemctl isolate multi-user.target) or add swap",
        )


def default_workspace_mib() -> int:
    """An eighth of the memory, at most 1 GiB. Of all memory, not of what is free: it is part of the engine's key."""
    total = memory_bytes()
    return WORKSPACE_MIB if total is None else max(128, min(WORKSPACE_MIB, total // (8 * MIB) // 64 * 64))


def machine_key(tool: trtexec.Tool) -> str:
    """What an engine and the times of its kernels depend on: version, GPU, and the power mode they were timed in."""
    gpu = cuda.device()
    return "; ".join(
        (
            "TensorRT " + tool.full_version,
            "unknown GPU" if gpu is None else f"{gpu.name}, compute capability {gpu.compute_capability}",
            "power mode " + (power_mode(Machine()) or "unknown"),
        )
    )


def _build(wanted: Engine, options: Mapping[str, Any]) -> Engine:
    part = wanted.path + ".part"
    try:
        log = trtexec.run(wanted.argv, timeout_s=float(options.get("build_timeout_s", BUILD_S))).log
        if not os.path.isfile(part) or not os.path.getsize(part):
            raise ProbeError("cannot-load", "trtexec built no engine", "it ended well, and there is no file")
        match = BUILT.search(log)
        build_s = float(match.group(1)) if match else None
        with open(wanted.path + ".json", "w", encoding="utf-8") as stream:
            json.dump({"argv": wanted.argv, "build_s": build_s}, stream)
        os.replace(part, wanted.path)
    except OSError as error:
        raise _cannot_write(os.path.dirname(part), error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
    return wanted._replace(build_s=build_s)


def _kept(path: str) -> dict[str, Any] | None:
    """How the engine at `path` was built; None when there is none. It counts as used now."""
    try:
        with open(path + ".json", encoding="utf-8") as stream:
            about = json.load(stream)
        for used in (path, path + ".json"):
            os.utime(used)
        return {"argv": [str(word) for word in about["argv"]], "build_s": about["build_s"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _one_at_a_time(folder: str) -> Iterator[None]:
    """Hold the cache: two builds at once would run out of memory and spoil each other's timings."""
    import fcntl

    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, "engines.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _cannot_write(folder: str, error: OSError) -> ProbeError:
    return ProbeError("cannot-write", "cannot keep engines in " + folder, first_line(error), "free some space there")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
