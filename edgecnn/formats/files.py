"""Model files from anywhere as artifacts, for measuring alone."""

from __future__ import annotations

from pathlib import Path

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.paths import irregularity
from edgecnn.formats.registry import formats_of_suffix, known_formats
from edgecnn.probe.engines import ELSEWHERE


def open_artifact(path: Path) -> Artifact:
    """The file at `path`, format by suffix.

    Inputs and outputs are left empty and precision is not looked at: the probe loads the file, where the runtime is.
    """
    if (kind := irregularity(path)) or not path.is_file():
        raise InputError(
            "no-such-file",
            f"{path} is {kind}" if kind else f"there is no file {path}",
            hint=f"look with: ls -l {path.parent}",
        )
    if path.suffix.lower() in ELSEWHERE:
        raise InputError(
            "engine-from-elsewhere",
            f"{path.name} is a TensorRT engine, and engines are not taken",
            why="it fits one version of TensorRT and one GPU only, and loading it runs native code that is in it",
            hint="give the .onnx that it was built from: the engine is built on the board",
        )
    formats = formats_of_suffix(path.suffix)
    if not formats:
        broken = [f"{item.name} files are not, for {item.why}" for item in plugins.broken("formats")]
        raise InputError(
            "unknown-format",
            f"{path.name}: '{path.suffix}' is not a model file that can be measured",
            why="; ".join(
                ("measurable: " + ", ".join(dict.fromkeys(item.suffix for item in known_formats())), *broken)
            ),
            hint=f"export it first: edgecnn export {path}" if path.suffix in (".pth", ".pt", ".safetensors") else "",
        )
    if not path.stat().st_size:
        raise InputError("empty-file", f"{path} is empty", hint="export or copy the model again")
    return Artifact(path, formats[0].name, "fp32", (), (), sha256_of(path))
