"""The ONNX dialect that TensorRT builds: lint, build and trace.

The files are ONNX; engines belong to one GPU and one version of TensorRT and are built on the board.
"""

from __future__ import annotations

from edgecnn.core.packages import Package
from edgecnn.formats.registry import Format, RuntimeCheck, StandIn

LOAD_THE_BUILDER = """
import ctypes, importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx").origin).parent
for name in ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"):
    ctypes.CDLL(str(sorted(folder.glob(name + "*"))[0]), mode=ctypes.RTLD_GLOBAL)
import tensorrt_rtx_bindings as trt
assert trt.Builder(trt.Logger(trt.Logger.ERROR)) is not None
"""
MODULES = ("tensorrt_rtx_bindings", "onnxruntime_ep_nv_tensorrt_rtx")

FORMAT = Format(
    name="tensorrt",
    title="TensorRT",
    suffix=".onnx",
    backend="tensorrt",
    family="tensorrt",
    runtime="TensorRT",
    rank=30,
    dialect="tensorrt",
    export="edgecnn.formats.onnx.export:export",
    quantize="edgecnn.formats.onnx.quantize:quantize",
    cast="edgecnn.formats.onnx.half:to_half",
    lint="edgecnn.formats.tensorrt.lint:lint",
    read="edgecnn.formats.onnx.read:read",
    activations="edgecnn.formats.onnx.quantize:activations",
    trace="edgecnn.formats.tensorrt.trace:nodes",
    qat="edgecnn.compress.qat.onnx:prepare",
    precisions=("fp32", "fp16", "int8"),
    extra="tensorrt",
    packages=(
        Package("tensorrt-rtx-cu13-bindings", MODULES[0], "tensorrt"),
        Package("onnxruntime-ep-nv-tensorrt-rtx-cu13", MODULES[1], "tensorrt"),
    ),
    tools=("onnx", "onnxscript", "onnx-ir", "onnxruntime"),
    platforms=(("linux", "x86_64"),),
    check=RuntimeCheck(MODULES, "parses and builds; running needs a GPU", LOAD_THE_BUILDER),
    # Its Q/DQ pairs stay float arithmetic on the quantization grid, which is what TensorRT's kernels round to.
    stand_in=StandIn("onnxruntime", {"graph_optimization": "disabled"}),
    on_gpu=True,
    build_s=3600.0,
    lint_counts_pairs=True,
    board_check="edgecnn.measure.checkup.tensorrt:check",
    readme="edgecnn.formats.tensorrt.readme:readme",
)
