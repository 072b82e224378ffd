"""File names of what a run delivers."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.core.artifact import Artifact, Kind
from edgecnn.formats.registry import format_named
from edgecnn.workflows.optimize.execution import Execution


def file_name(kind: Kind) -> str:
    """`model.int8.tflite`, `model.pruned.int8.onnx`; TensorRT's dialect of ONNX says so: `model.tensorrt.int8.onnx`."""
    if kind.format == "torch":
        return f"model.{kind.variant}.safetensors"
    format = format_named(kind.format)
    return ".".join(filter(None, ("model", format.dialect, kind.variant, kind.precision))) + format.suffix


def network_files(executions: Sequence[Execution]) -> dict[str, Artifact]:
    """The changed checkpoints by the names they are delivered under. Formats may end in different ones, for each is
    searched for itself: then `model.onnx.pruned.safetensors` names the format."""
    named_files: dict[str, Artifact] = {}
    for kind in dict.fromkeys(kind for execution in executions for kind in execution.networks):
        made = {execution.format: execution.networks[kind] for execution in executions if kind in execution.networks}
        if len({artifact.sha256 for artifact in made.values()}) == 1:
            named_files[file_name(kind)] = next(iter(made.values()))
        else:
            named = {f"model.{format}.{kind.variant}.safetensors": artifact for format, artifact in made.items()}
            named_files.update(named)
    return named_files
