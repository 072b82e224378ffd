"""Stand-ins for TensorRT's Python bindings and for libcudart, where there is no GPU: they are neither.

`bindings(version)` has the names that the adapter uses, as the real module has them since 8.5; the network is the mean
over the pixels. `Cudart` is a library object for ctypes whose device memory is this process's memory.
"""

from __future__ import annotations

import ctypes
import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np


class Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class TensorIOMode(Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(Enum):
    FLOAT, HALF, INT8, INT32, BOOL = range(5)


class ILogger:
    """The real one must be initialised by whoever inherits from it."""

    def __init__(self) -> None:
        self.initialised = True


class ICudaEngine:
    """x (n, 3, 8, 8) -> y (n, 3)."""

    num_io_tensors = 2
    names = ("x", "y")

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def create_execution_context(self) -> Context:
        return Context()


class Context:
    def __init__(self) -> None:
        self._batch = -1
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._batch, 3, 8, 8) if name == "x" else (self._batch, 3)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        x = _at(self._addresses["x"], (self._batch, 3, 8, 8))
        _at(self._addresses["y"], (self._batch, 3))[:] = x.mean(axis=(2, 3))
        return stream != 0


def _at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * size).from_address(address)).reshape(shape)


def bindings(version: str) -> Any:
    """A module `tensorrt` of a version, which takes the stub's engines of the same version."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            assert logger.initialised
            self._logger = logger

        def deserialize_cuda_engine(self, blob: bytes) -> ICudaEngine | None:
            if json.loads(blob)["version"] == version[: len(json.loads(blob)["version"])]:
                return ICudaEngine()
            words = (
                "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match."
            )
            self._logger.log(Severity.ERROR, f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization ({words})")
            return None

    return SimpleNamespace(__version__=version, ILogger=ILogger, Runtime=Runtime, ICudaEngine=ICudaEngine)


class Cudart:
    """Functions with the signatures of cuda_runtime_api.h. `failing` maps a function's name to the code it answers."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        self.memory: dict[int, Any] = {}
        self.streams = 0
        pointer, size, code = ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_int
        self._keep = (self._malloc, self._free, self._copy, self._create, self._destroy)
        self.cudaMalloc = ctypes.CFUNCTYPE(code, pointer, size)(self._malloc)
        self.cudaFree = ctypes.CFUNCTYPE(code, ctypes.c_void_p)(self._free)
        self.cudaMemcpyAsync = ctypes.CFUNCTYPE(code, ctypes.c_void_p, ctypes.c_void_p, size, code, ctypes.c_void_p)(
            self._copy
        )
        self.cudaStreamCreate = ctypes.CFUNCTYPE(code, pointer)(self._create)
        self.cudaStreamDestroy = ctypes.CFUNCTYPE(code, ctypes.c_void_p)(self._destroy)
        self.cudaStreamSynchronize = ctypes.CFUNCTYPE(code, ctypes.c_void_p)(self._synchronise)
        self.cudaGetErrorString = ctypes.CFUNCTYPE(ctypes.c_void_p, code)(self._words)
        self._text = ctypes.create_string_buffer(b"an illegal memory access was encountered")

    def _malloc(self, pointer: Any, size: int) -> int:
        if "cudaMalloc" not in self.failing:
            block = ctypes.create_string_buffer(size)
            pointer[0] = ctypes.addressof(block)
            self.memory[ctypes.addressof(block)] = block
        return self.failing.get("cudaMalloc", 0)

    def _free(self, pointer: int) -> int:
        del self.memory[pointer]
        return 0

    def _copy(self, target: int, source: int, size: int, kind: int, stream: int) -> int:
        assert kind == (1 if target in self.memory else 2)
        assert stream == 0x51
        assert size <= len(self.memory[target if kind == 1 else source])
        ctypes.memmove(target, source, size)
        return 0

    def _create(self, pointer: Any) -> int:
        pointer[0] = 0x51
        self.streams += 1
        return self.failing.get("cudaStreamCreate", 0)

    def _destroy(self, stream: int) -> int:
        self.streams -= 1
        return 0

    def _synchronise(self, stream: int) -> int:
        return self.failing.get("cudaStreamSynchronize", 0)

    def _words(self, code: int) -> int:
        return ctypes.addressof(self._text)
