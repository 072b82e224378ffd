"""LiteRT's packages and file format: late imports, and the flatbuffer's object form."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.core.artifact import Artifact, Precision, TensorSpec, sha256_of
from edgecnn.core.errors import InputError, MissingError, install_hint
from edgecnn.core.store import write_atomically
from edgecnn.core.third_party import first_line, quiet
from edgecnn.formats.inspect import METADATA_KEY

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
FLOAT32, INT8 = 0, 9
DTYPES = {FLOAT32: np.float32, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16, INT8: np.int8}
"""By the codes of `TensorType` in the schema."""


def require(module: str) -> Any:
    """Import one of LiteRT's packages. Raises MissingError when the extra `tflite` is not installed, or is broken."""
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:  # beside ImportError: one package built against another version of the next
        raise MissingError(
            "missing-extra",
            f"{module.partition('.')[0].replace('_', '-')} is needed for TFLite and cannot be imported",
            why=first_line(error),
            hint=install_hint("tflite"),
        ) from error


def interpreter(path: Path, *, delegate: bool, keep_tensors: bool = False, threads: int = 1) -> Any:
    """A LiteRT interpreter with its tensors allocated; `delegate` is XNNPACK, which hides intermediate tensors.

    Raises InputError when the file is not a TFLite model.
    """
    runtime = require("ai_edge_litert.interpreter")
    kinds = runtime.OpResolverType
    try:
        with quiet():
            loaded = runtime.Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=kinds.AUTO if delegate else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=keep_tensors,
            )
            loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError("cannot-load", f"LiteRT does not load {path.name}", why=first_line(error)) from error
    return loaded


def describe(path: Path, *, precision: Precision, history: tuple[str, ...]) -> Artifact:
    """A TFLite file on disk as an Artifact. Four-dimensional tensors are NHWC."""
    loaded = interpreter(path, delegate=False)
    return Artifact(
        path=path,
        format="tflite",
        precision=precision,
        inputs=tuple(map(_spec, loaded.get_input_details())),
        outputs=tuple(map(_spec, loaded.get_output_details())),
        sha256=sha256_of(path),
        history=history,
    )


def _spec(detail: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in detail["shape"])
    return TensorSpec(str(detail["name"]), shape, np.dtype(detail["dtype"]).name, "NHWC" if len(shape) == 4 else None)


class Graph:
    """The first subgraph of a TFLite file, open for edits (schema_generated's object API underneath)."""

    def __init__(self, raw: bytes, *, name: str = "the file") -> None:
        self._flatbuffers = require("ai_edge_litert.tools.flatbuffer_utils")
        self._schema = require("ai_edge_litert.schema_py_generated")
        try:
            with quiet():
                self.model = self._flatbuffers.read_model_from_bytearray(bytearray(raw))
            self.subgraph = self.model.subgraphs[0]
        except Exception as error:  # the generated reader raises struct, index and type errors on foreign bytes
            raise InputError("not-tflite", f"{name} is not a TFLite model", why=first_line(error)) from error

    @classmethod
    def read(cls, path: Path) -> Graph:
        return cls(path.read_bytes(), name=path.name)

    def write(self, path: Path) -> None:
        write_atomically(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        with quiet():
            return bytes(self._flatbuffers.convert_object_to_bytearray(self.model))

    @property
    def tensors(self) -> list[Any]:
        return list(self.subgraph.tensors)

    @property
    def operators(self) -> list[Any]:
        return list(self.subgraph.operators or [])

    def op(self, operator: Any) -> str:
        """The operator's name in the schema, such as CONV_2D."""
        return str(self._flatbuffers.opcode_to_name(self.model, operator.opcodeIndex))

    def layer(self, operator: Any) -> str:
        """A layer bears the name of its first output."""
        return self.name(operator.outputs[0])

    def name(self, index: int) -> str:
        return str(self.subgraph.tensors[index].name.decode())

    def is_constant(self, index: int) -> bool:
        return self.model.buffers[self.subgraph.tensors[index].buffer].data is not None

    def constant(self, index: int) -> np.ndarray:
        """A copy of a constant, in the tensor's shape."""
        tensor = self.subgraph.tensors[index]
        raw = bytes(bytearray(self.model.buffers[tensor.buffer].data))
        values: np.ndarray = np.frombuffer(raw, dtype=DTYPES[tensor.type]).reshape(tuple(tensor.shape)).copy()
        return values

    def set_constant(self, index: int, values: np.ndarray) -> None:
        """Give the tensor these values: in its buffer, or in a new one where others share that."""
        tensors = [tensor for subgraph in self.model.subgraphs for tensor in subgraph.tensors]
        tensor = self.subgraph.tensors[index]
        if sum(other.buffer == tensor.buffer for other in tensors) > 1:
            self.model.buffers.append(self._schema.BufferT())
            tensor.buffer = len(self.model.buffers) - 1
        self.model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), dtype=np.uint8)

    def add_constant(self, name: str, values: np.ndarray) -> int:
        """The index of a new float32 constant."""
        tensor, buffer = self._schema.TensorT(), self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        tensor.name, tensor.type, tensor.buffer = name.encode(), FLOAT32, len(self.model.buffers) - 1
        tensor.shape = np.array(values.shape, dtype=np.int32)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def to_depthwise(self, operator: Any, inputs: list[int], *, fused: int) -> None:
        """Make the operator a 1x1 DEPTHWISE_CONV_2D of (tensor, weight, bias); `fused` is an ActivationFunctionType."""
        options = self._schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideW, options.strideH = self._schema.Padding.VALID, 1, 1
        options.depthMultiplier, options.dilationWFactor, options.dilationHFactor = 1, 1, 1
        options.fusedActivationFunction = fused
        operator.opcodeIndex, operator.inputs = self.opcode("DEPTHWISE_CONV_2D"), np.array(inputs, dtype=np.int32)
        operator.builtinOptionsType = self._schema.BuiltinOptions.DepthwiseConv2DOptions
        operator.builtinOptions = options

    def activations(self) -> dict[str, int]:
        """Index by name of the float32 tensors that are computed or fed."""
        used = [*self.subgraph.inputs]
        for operator in self.operators:
            used += [index for index in (*operator.inputs, *operator.outputs) if index != -1]
        floats = [index for index in used if self.subgraph.tensors[index].type == FLOAT32]
        return {self.name(index): int(index) for index in floats if not self.is_constant(index)}

    def alone(self, operator: Any, *, shape: tuple[int, ...]) -> bytes:
        """A file of this one operator, from its first input to its first output, both of `shape`."""
        schema = self._schema
        tensors = []
        for index in (operator.inputs[0], operator.outputs[0]):
            known, tensor = self.subgraph.tensors[index], schema.TensorT()
            tensor.name, tensor.type, tensor.quantization = known.name, known.type, known.quantization
            tensor.shape, tensor.buffer = np.array(shape, dtype=np.int32), 0
            tensors.append(tensor)
        only, subgraph, model = schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
        only.opcodeIndex, only.inputs, only.outputs = 0, np.array([0], np.int32), np.array([1], np.int32)
        only.builtinOptionsType, only.builtinOptions = operator.builtinOptionsType, operator.builtinOptions
        subgraph.tensors, subgraph.operators, subgraph.inputs, subgraph.outputs = tensors, [only], [0], [1]
        model.version, model.buffers, model.subgraphs = 3, [schema.BufferT()], [subgraph]
        model.operatorCodes = [self.model.operatorCodes[operator.opcodeIndex]]
        with quiet():
            return bytes(self._flatbuffers.convert_object_to_bytearray(model))

    def opcode(self, name: str) -> int:
        """Index of the operator code `name`, added to the model if it is not there."""
        code = getattr(self._schema.BuiltinOperator, name)
        for index, known in enumerate(self.model.operatorCodes):
            if known.builtinCode == code:
                return index
        added = self._schema.OperatorCodeT()
        added.builtinCode, added.deprecatedBuiltinCode, added.version = code, min(code, 127), 1
        self.model.operatorCodes.append(added)
        return len(self.model.operatorCodes) - 1

    def set_metadata(self, facts: dict[str, Any]) -> None:
        """Write `facts` as JSON under the metadata name `edgecnn`, in place of what was there."""
        kept = [entry for entry in self.model.metadata or [] if entry.name != METADATA_KEY.encode()]
        buffer, entry = self._schema.BufferT(), self._schema.MetadataT()
        buffer.data = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        entry.name, entry.buffer = METADATA_KEY.encode(), len(self.model.buffers) - 1
        self.model.metadata = [*kept, entry]

    def metadata(self) -> dict[str, Any]:
        """What `set_metadata` wrote; empty for a file of other origin."""
        for entry in self.model.metadata or []:
            if entry.name == METADATA_KEY.encode():
                found: dict[str, Any] = json.loads(bytes(bytearray(self.model.buffers[entry.buffer].data)))
                return found
        return {}
