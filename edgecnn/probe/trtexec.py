"""trtexec, the program that comes with TensorRT: where it is, which version, how it is called, what its errors mean.

What a flag is called and what is on by default differ between versions, so every argv comes from `DIALECTS`. Flags:
`samples/common/sampleOptions.cpp` of github.com/NVIDIA/TensorRT at the tags v8.6.1, v10.3.0, v10.16 and v11.1; 8.5 is
8.6.1 less what 8.6 added.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from . import system
from .errors import ProbeError, first_line
from .onnx_file import OnnxFile
from .tensorrt_errors import explain, last_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOME = "/usr/src/tensorrt/bin/trtexec"
"""Where JetPack and NVIDIA's Debian packages put it; it is not on the PATH."""
BANNER = re.compile(r"\[TensorRT v(\d{4,6})\](?: \[b(\d{1,4})\])?")
HELP_S = 60.0
LOG_BYTES = 1 << 20
OLDEST = (8, 5)


class Tool(NamedTuple):
    """`version` as 10.16.2, `build` as 10 where the banner tells it (TensorRT 10 and later), else empty."""

    path: str
    version: str
    build: str

    @property
    def full_version(self) -> str:
        return self.version + ("." + self.build if self.build else "")

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))


class Dialect(NamedTuple):
    """How a range of versions spells what is needed. `typed`: precision is in the graph alone, and no flag exists."""

    build: tuple[str, ...]
    measure: tuple[str, ...]
    typed: bool = False


BUILD = ("--avgTiming=8", "--sparsity=disable", "--profilingVerbosity=detailed", "--device=0")
"""Detailed verbosity puts layer names into the engine and costs no time when it runs."""
MEASURE = ("--avgRuns=10", "--sleepTime=0", "--idleTime=0", "--exposeDMA", "--device=0")
"""Without --exposeDMA two queries are under way at once: the copies of one beside the computation of another."""
DIALECTS: dict[tuple[int, ...], Dialect] = {
    (8, 5): Dialect((*BUILD, "--minTiming=1", "--buildOnly"), (*MEASURE, "--streams=1")),
    (8, 6): Dialect(
        (*BUILD, "--minTiming=1", "--builderOptimizationLevel=3", "--skipInference"), (*MEASURE, "--infStreams=1")
    ),
    (10,): Dialect((*BUILD, "--builderOptimizationLevel=3", "--skipInference"), (*MEASURE, "--infStreams=1")),
    # 11 turned CUDA graphs and spinning on and transfers off: as before, so that figures compare.
    (11,): Dialect(
        (*BUILD, "--builderOptimizationLevel=3", "--skipInference"),
        (*MEASURE, "--infStreams=1", "--noCudaGraph", "--noSpinWait", "--includeDataTransfers"),
        typed=True,
    ),
}
"""By the first version that speaks so. 8.5 to 10 need no flag for what 11 needs three for: it is their default."""


def find(options: Mapping[str, Any]) -> Tool:
    """The trtexec of option `trtexec`, else JetPack's, else that on the PATH, with the version in its banner.

    Raises ProbeError missing-runtime when there is none or it does not start, old-runtime before TensorRT 8.5.
    """
    path = str(options["trtexec"]) if options.get("trtexec") else HOME
    program = path if os.access(path, os.X_OK) else None if options.get("trtexec") else shutil.which("trtexec")
    if program is None:
        raise _missing("there is none at " + path + ("" if options.get("trtexec") else ", and none on the PATH"))
    help_text = _help(program)
    banner = BANNER.search(help_text)
    if banner is None:
        raise _missing(program + " does not start: " + last_line(help_text))
    tool = Tool(program, _version(banner.group(1)), banner.group(2) or "")
    if tool.numbers < OLDEST:
        raise ProbeError(
            "old-runtime",
            f"TensorRT {tool.version} is too old",
            "8.5 is the oldest that is supported: JetPack 5.1",
            "update JetPack, or measure the .onnx with --backend onnxruntime",
        )
    return tool


def dialect(tool: Tool) -> Dialect:
    """The newest dialect that is not newer than the tool."""
    return DIALECTS[max(version for version in DIALECTS if version <= tool.numbers)]


def build_flags(tool: Tool, model: OnnxFile, *, batch: int, workspace_mib: int) -> list[str]:
    """All flags that decide what the engine is; a free batch becomes `batch`, from which the engine then cannot vary.

    Before TensorRT 11 a Q/DQ graph needs --int8, and --fp16 for its other layers; a graph with 16-bit weights --fp16.
    """
    speech = dialect(tool)
    precision: list[str] = []
    if not speech.typed:
        precision = (["--int8"] if model.quantized else []) + (["--fp16"] if model.quantized or model.half else [])
    shapes = _shapes(model, batch)
    profile = [f"--{place}Shapes={shapes}" for place in ("min", "opt", "max")] if shapes else []
    return [*speech.build, f"--memPoolSize=workspace:{workspace_mib}", *precision, *profile]


def build_argv(tool: Tool, model: OnnxFile, *, engine: str, timing_cache: str, flags: Sequence[str]) -> list[str]:
    """Build `engine` from the ONNX file and run nothing."""
    return [tool.path, "--onnx=" + model.path, "--saveEngine=" + engine, "--timingCacheFile=" + timing_cache, *flags]


def run_argv(tool: Tool, model: OnnxFile, *, engine: str, batch: int, more: Sequence[str]) -> list[str]:
    """Run `engine` one query after another, copies to and from the GPU included."""
    shapes = _shapes(model, batch)
    sized = ["--shapes=" + shapes] if shapes else []
    return [tool.path, "--loadEngine=" + engine, *dialect(tool).measure, *sized, *more]


class Ran(NamedTuple):
    """What trtexec printed, and when it ended, on the monotonic clock."""

    log: str
    end_s: float


def run(argv: Sequence[str], *, timeout_s: float) -> Ran:
    """Run trtexec to its end. Raises the ProbeError that its words mean; cannot-run after `timeout_s`."""
    kills = system.out_of_memory_kills()
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise _missing(first_line(error)) from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProbeError(
                "cannot-run", f"trtexec did not finish in {timeout_s:g} s", last_line(_tail(log))
            ) from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        end_s, said = time.monotonic(), _tail(log)
    if code:
        raise explain(code, said, out_of_memory=system.out_of_memory_kills() > kills)
    return Ran(said, end_s)


def _tail(log: Any) -> str:
    """The log without control characters; of a long one its end."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - LOG_BYTES))
    text = log.read().decode("utf-8", "replace")
    return "".join(char for char in text if char.isprintable() or char == "\n")


def _help(path: str) -> str:
    """What trtexec says of itself; the library behind it is large, and slow to load the first time."""
    try:
        done = subprocess.run(
            [path, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=HELP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return first_line(error)
    return done.stdout[:8192].decode("utf-8", "replace")


def _version(digits: str) -> str:
    """8502 is 8.5.2 and 101602 is 10.16.2."""
    number = int(digits)
    size = 1000 if number < 10000 else 10000
    return f"{number // size}.{number % size // 100}.{number % 100}"


def _missing(why: str) -> ProbeError:
    return ProbeError(
        "missing-runtime",
        "backend tensorrt needs trtexec",
        why,
        "on a Jetson: sudo apt install nvidia-jetpack (it brings " + HOME + ")",
    )


def _shapes(model: OnnxFile, batch: int) -> str:
    """The free inputs with their batch, as trtexec takes them; empty when no input is free."""
    free = [
        spec
        for spec in model.inputs
        if spec.name in model.free or not all(isinstance(size, int) for size in spec.shape)
    ]
    for spec in free:
        if "," in spec.name or "'" in spec.name:
            raise ProbeError("cannot-load", "trtexec cannot be told of an input of this name", repr(spec.name))
    return ",".join(spec.name + ":" + "x".join(str(size) for size in spec.sized(batch)) for spec in free)
