"""Conversion to TFLite: the network is exported here, and litert-torch converts it in a process of its own.

Python cannot interrupt the converter, and libraries of it drop the exception that Ctrl-C raises; it ends the process
that it runs in where it cannot write its files, and its memory has no bound. The process starts while this one exports.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from edgecnn.core.child_process import Completed, Limits, last_lines, run_command
from edgecnn.core.errors import EdgecnnError, MissingError, StepError, install_hint
from edgecnn.core.stage import Model
from edgecnn.core.store import cannot_write
from edgecnn.core.temporary import temporary_folder
from edgecnn.core.third_party import quiet
from edgecnn.formats.export_errors import Explanation, explain, explain_text
from edgecnn.formats.tflite import converter
from edgecnn.formats.tflite.resize import ExactResize
from edgecnn.probe.system import is_full, out_of_memory_kills

NEEDED = "litert_torch"


class ChannelsLast(nn.Module):
    """A network that takes its image as (1, H, W, C)."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.wrapped(image.permute(0, 3, 1, 2))
        return answer


def converted(module: nn.Module, model: Model) -> bytes:
    """The converter's bytes. It folds batch norms into convolutions and turns global pooling into MEAN by itself.

    Raises MissingError, and StepError cannot-convert, converter-crashed, out-of-memory or cannot-write.
    """
    if find_spec(NEEDED) is None:
        raise _missing("it is not installed")
    kills = out_of_memory_kills()
    try:
        with temporary_folder("tflite") as folder:
            completed = run_converter(module, model, folder)
            if (folder / converter.FAILURE).exists():
                raise _said(module, model, json.loads((folder / converter.FAILURE).read_text()))
            file = folder / converter.CONVERTED
            if completed.code == 0 and file.exists():
                return file.read_bytes()
            raise _crashed(model, completed, folder, out_of_memory_kills() > kills)
    except OSError as error:
        raise _no_room(Path(error.filename or "the temporary folder"), error) from error


def run_in_own_process(module: nn.Module, model: Model, folder: Path) -> Completed:
    """Export the network into `folder`, and have it converted there. Whatever ends this call ends the process."""

    def exported() -> bytes:
        export_program(module, model, folder)
        return str(folder).encode()

    return run_command(
        converter.COMMAND,
        Limits(math.inf, stderr_bytes=math.inf),
        name="the TFLite converter",
        stdin=exported,
        env=converter.environment(os.environ),
    )


run_converter = run_in_own_process


def export_program(module: nn.Module, model: Model, folder: Path) -> None:
    """Write `program.pt2`: the network as a graph of operators, which needs none of its source."""
    channels, height, width = model.input_shape
    example, file = (torch.zeros(1, height, width, channels),), folder / converter.PROGRAM
    try:
        with quiet(), ExactResize():
            program = torch.export.export(ChannelsLast(module).eval(), example, strict=False)
            torch.export.save(program, file)
    except Exception as error:  # torch.export raises whatever the network raises
        if is_full(str(folder), error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise _refused(model, explain(error, "TFLite", module, model.input_shape)) from error


def _missing(why: str) -> MissingError:
    return MissingError(
        "missing-extra",
        "litert-torch is needed for TFLite and cannot be imported",
        why=why,
        hint=install_hint("tflite"),
    )


def _refused(model: Model, explained: Explanation) -> StepError:
    return StepError(
        "cannot-convert",
        f"{model.name} cannot be converted to TFLite",
        why=explained.why,
        hint=explained.hint,
    )


def _said(module: nn.Module, model: Model, failure: dict[str, str]) -> EdgecnnError:
    """What the converter itself said."""
    if failure["kind"] == "missing":
        return _missing(failure["why"])
    if failure["kind"] == "memory":
        return _no_memory(model, failure["why"])
    return _refused(model, explain_text(failure["why"], "TFLite", module, model.input_shape))


def _no_memory(model: Model, why: str) -> StepError:
    return StepError(
        "out-of-memory",
        f"memory ran out while {model.name} was converted to TFLite",
        why=why,
        hint="close other programs, or add swap space",
    )


def _no_room(place: Path, error: OSError) -> EdgecnnError:
    cannot = cannot_write(place, error)
    cannot.hint = "free some space there, or name another folder for temporary files: TMPDIR=/path edgecnn ..."
    return cannot


def _crashed(model: Model, completed: Completed, folder: Path, out_of_memory: bool) -> EdgecnnError:
    said = last_lines(completed.stderr)
    if is_full(str(folder)) or os.strerror(errno.ENOSPC) in said:
        return _no_room(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    sigkill = getattr(signal, "SIGKILL", 9)
    if out_of_memory or completed.code == -sigkill or "bad_alloc" in said or "out of memory" in said.lower():
        return _no_memory(model, said or "the system ended the converter (SIGKILL), as it does when memory is short")
    how = f"exit code {completed.code}" if completed.code >= 0 else signal.Signals(-completed.code).name
    return StepError(
        "converter-crashed",
        f"the TFLite converter ended without a file for {model.name} ({how})",
        why=said,
        hint="edgecnn doctor says whether its packages work; other formats do not need it",
    )
