"""Converter process: litert-torch at work on an exported program, where an abort, a signal or a lack of memory ends it
alone."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from edgecnn.core.third_party import first_line
from edgecnn.probe.__main__ import die_with_parent
from edgecnn.probe.python import python_command
from edgecnn.probe.system import clean_environment, memory_available_bytes

COMMAND = tuple(python_command("from edgecnn.formats.tflite.converter import main; main()"))
PROGRAM, CONVERTED, FAILURE = "program.pt2", "converted.tflite", "failure.json"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the process: no telemetry, no folder that is not named in full, and no GPU, which converting
    has no use for."""
    return {**clean_environment(environ), "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def main() -> None:
    """Convert `program.pt2` in the folder that comes on stdin."""
    die_with_parent()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limit_memory()
    gc.disable()  # there is little to collect in so short a life, and looking for it takes a tenth of the time
    try:
        importlib.import_module("litert_torch")
    except Exception as error:  # beside ImportError: one package built against another version of the next
        note(Path(sys.stdin.read()), "missing", error)
    else:
        attempt(Path(sys.stdin.read()))
    sys.stderr.flush()
    os._exit(0)  # what the libraries clear away at exit goes with the process


def attempt(folder: Path) -> None:
    """Convert `program.pt2` in a folder; what the converter raises comes to stand in `failure.json`."""
    try:
        convert(folder / PROGRAM, folder / CONVERTED)
    except MemoryError as error:
        note(folder, "memory", error)
    except Exception as error:  # the lowering and the MLIR passes each raise their own
        note(folder, "refused", error)


def note(folder: Path, kind: str, error: Exception) -> None:
    """Write why there is no file."""
    (folder / FAILURE).write_text(json.dumps({"kind": kind, "why": first_line(error)}))


def convert(program: Path, out: Path) -> None:
    """Write a program that `torch.export.save` has written as TFLite."""
    import litert_torch

    exported = torch.export.load(program)

    def as_exported(*args: Any, **kwargs: Any) -> torch.export.ExportedProgram:
        return exported

    # litert-torch takes modules only, and exports them itself: it is given what was exported already.
    with mock.patch("torch.export.export", as_exported):
        litert_torch.convert(torch.nn.Identity().eval(), exported.example_inputs[0]).export(str(out))


def limit_memory() -> None:
    """This process gets what memory is free now, and is the first to go where that was too much."""
    available_bytes = memory_available_bytes()
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        if available_bytes is not None:
            limit_bytes = _data_bytes() + available_bytes
            _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
            if hard == resource.RLIM_INFINITY or limit_bytes < hard:
                resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _data_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
