"""Kernels of the toy format: those of ONNX, with four bytes put before the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.device import Deployment
from edgecnn.core.errors import InputError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context, Model
from edgecnn.formats.fusion import Fusion
from edgecnn.formats.inspect import ExportedModel
from edgecnn.formats.onnx import export as onnx_export
from edgecnn.formats.onnx import lint as onnx_lint
from edgecnn.formats.onnx import quantize as onnx_quantize
from edgecnn.formats.onnx import read as onnx_read
from edgecnn.quantize.options import QuantizeOptions
from edgecnn_toy import MAGIC

AS_ONNX = Deployment(format="onnx", backend="onnxruntime", family="onnxruntime")


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise InputError("damaged-file", f"{path} is not a readable toy file")
    with TemporaryDirectory() as folder:
        inner = Path(folder) / "inner.onnx"
        inner.write_bytes(content[len(MAGIC) :])
        yield inner


def packed(made: Artifact, out: Path) -> Artifact:
    out.write_bytes(MAGIC + made.path.read_bytes())
    return replace(made, path=out, format="toy", sha256=sha256_of(out))


def export(model: Model, out: Path, *, preprocessing: Preprocessing, task: str = "classification") -> Artifact:
    with TemporaryDirectory() as folder:
        inner = Path(folder) / "inner.onnx"
        return packed(onnx_export.export(model, inner, preprocessing=preprocessing, task=task), out)


def quantize(source: Artifact, out: Path, *, options: QuantizeOptions, context: Context) -> Artifact:
    target = context.target.model_copy(update={"deployments": (AS_ONNX,)})
    with unpacked(source.path) as inner:
        here = replace(context, target=target, format="onnx")
        source = replace(source, path=inner)
        made = onnx_quantize.quantize(source, inner.with_name("int8.onnx"), options=options, context=here)
        return packed(made, out)


def lint(artifact: Artifact) -> Fusion:
    with unpacked(artifact.path) as inner:
        return replace(onnx_lint.lint(replace(artifact, path=inner)), runtime="toy")


def read(path: Path) -> ExportedModel:
    with unpacked(path) as inner:
        return replace(onnx_read.read(inner), format="toy", size_bytes=path.stat().st_size)
