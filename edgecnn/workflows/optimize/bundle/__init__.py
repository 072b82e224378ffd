"""The bundle: a folder to copy to the board. Model, preprocessing, labels, and code that needs numpy, Pillow and
one runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecnn import __version__, probe
from edgecnn.core.artifact import Artifact
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.store import beside, cannot_write
from edgecnn.data import pixels

PROBE = Path(probe.__file__).parent
TRAVELS = ("errors.py", "specs.py", "normalise.py", "backends/__init__.py", "backends/importing.py")
REQUIREMENTS = {
    "onnxruntime": ("numpy", "Pillow>=8", "onnxruntime"),
    "tflite": ("numpy", "Pillow>=8", "ai-edge-litert"),
}
# What was judged is in the graph. TensorRT up to 10 needs flags for the precisions it may use; 11 has no such flags.
TRTEXEC_FLAGS = {"fp32": "", "fp16": " --fp16", "int8": " --int8"}
TRTEXEC = """
`model.onnx` is built into an engine on the board, because an engine belongs to one GPU and one TensorRT version:

    trtexec --onnx=model.onnx --saveEngine=model.engine{flags}  # TensorRT 8.5 to 10
    trtexec --onnx=model.onnx --saveEngine=model.engine  # TensorRT 11, strongly typed

The batch is free; add `--shapes=input:1x{shape}` for one image at a time. {more}`infer.py` runs the same file in ONNX
Runtime, on the CPU.
"""
TRTEXEC_INT8 = "Adding `--fp16` lets the layers outside INT8 run in half precision: faster, but not what was judged. "


def write_bundle(
    folder: Path,
    artifact: Artifact,
    *,
    backend: str,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    decoder: Path,
    facts: Mapping[str, Any],
) -> Path:
    """Fill `folder` (replaced as a whole) for `artifact`, which `backend` runs and whose outputs the task's `decoder`
    reads; `facts` go into the manifest."""
    unfinished = beside(folder)
    try:
        _write_code(unfinished / "edge", backend, decoder)
        shutil.copyfile(Path(__file__).with_name("infer.py"), unfinished / "infer.py")
        _fill(unfinished, artifact, backend=backend, preprocessing=preprocessing, labels=labels, facts=facts)
        _replace(folder, unfinished)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write_code(folder: Path, backend: str, decoder: Path) -> None:
    """The code that travels: what runs the model, reads images and decodes outputs."""
    (folder / "backends").mkdir(parents=True)
    for name in (*TRAVELS, f"backends/{backend}.py"):
        shutil.copyfile(PROBE / name, folder / name)
    (folder / "__init__.py").write_text('"""What the model was measured and judged with."""\n')
    shutil.copyfile(str(pixels.__file__), folder / "pixels.py")
    shutil.copyfile(decoder, folder / "decode.py")


def _fill(
    folder: Path,
    artifact: Artifact,
    *,
    backend: str,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    model = f"model{artifact.path.suffix}"
    shutil.copyfile(artifact.path, folder / model)
    manifest = {
        "model": model,
        "format": artifact.format,
        "precision": artifact.precision,
        "sha256": artifact.sha256,
        "backend": backend,
        "options": {"graph_optimization": "disabled"} if artifact.format == "tensorrt" else {},
        "inputs": [_spec(spec) for spec in artifact.inputs],
        "outputs": [_spec(spec) for spec in artifact.outputs],
        "edgecnn": __version__,
        **facts,
    }
    _write_json(folder / "manifest.json", manifest)
    _write_json(folder / "preprocessing.json", preprocessing.to_dict())
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in REQUIREMENTS[backend]))
    (folder / "README.md").write_text(_readme(artifact, preprocessing), encoding="utf-8")


def _readme(artifact: Artifact, preprocessing: Preprocessing) -> str:
    text = (
        f"# {artifact.format} {artifact.precision}\n\nCopy this folder to the board, then:\n\n"
        "    pip install -r requirements.txt\n    python infer.py photo.jpg\n"
    )
    if artifact.format == "tensorrt":
        text += TRTEXEC.format(
            flags=TRTEXEC_FLAGS[artifact.precision],
            shape="x".join(map(str, (preprocessing.channels, *preprocessing.crop))),
            more=TRTEXEC_INT8 if artifact.precision == "int8" else "",
        )
    return text


def _replace(folder: Path, unfinished: Path) -> None:
    """Put `unfinished` where `folder` is; a folder cannot be renamed over a full one, so the old one steps aside."""
    old = unfinished.with_name(unfinished.name + ".old")
    if folder.exists():
        folder.rename(old)
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / "manifest.json").is_file():  # else another run put its own there first
            raise
    shutil.rmtree(old, ignore_errors=True)


def _spec(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "layout": spec.layout}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
