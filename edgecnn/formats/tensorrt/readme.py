"""README of a bundle: how to build the TensorRT engine on the board."""

from __future__ import annotations

from edgecnn.core.artifact import Artifact
from edgecnn.core.preprocessing import Preprocessing

# What was judged is in the graph. TensorRT up to 10 needs flags for the precisions it may use; 11 has no such flags.
TRTEXEC_FLAGS = {"fp32": "", "fp16": " --fp16", "int8": " --int8"}
TRTEXEC = """
`infer.py` has `trtexec` build `model.onnx` into an engine the first time, which takes minutes, keeps it in
`~/.cache/edgecnn`, and runs it with TensorRT's Python bindings (`sudo apt install python3-libnvinfer`; a venv needs
`--system-site-packages`). An engine belongs to one GPU and one TensorRT version. `python infer.py --cpu photo.jpg`
runs the same file on the CPU (`pip install onnxruntime`).

An engine for another program:

    trtexec --onnx=model.onnx --saveEngine=model.engine{flags}  # TensorRT 8.5 to 10
    trtexec --onnx=model.onnx --saveEngine=model.engine  # TensorRT 11, strongly typed

The batch is free; add `--shapes=input:1x{shape}` for one image at a time. {more}
"""
TRTEXEC_INT8 = "Adding `--fp16` lets the layers outside INT8 run in half precision: faster, but not what was judged. "


def readme(artifact: Artifact, preprocessing: Preprocessing) -> str:
    """The part of a bundle's README about `trtexec`."""
    return TRTEXEC.format(
        flags=TRTEXEC_FLAGS[artifact.precision],
        shape="x".join(map(str, (preprocessing.channels, *preprocessing.crop))),
        more=TRTEXEC_INT8 if artifact.precision == "int8" else "",
    )
