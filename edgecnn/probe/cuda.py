"""The few calls of CUDA that the bindings of TensorRT leave to their user, by ctypes: no package is needed.

Not run on a GPU yet: tests give it a library of the same interface, and NVIDIA's own where there is no GPU.
Signatures and numbers: cuda_runtime_api.h, driver_types.h and cuda.h, the same from CUDA 11 to 13.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .errors import ProbeError, first_line

RUNTIMES = (
    "libcudart.so.13",
    "libcudart.so.12",
    "libcudart.so.11.0",
    "libcudart.so",
    "/usr/local/cuda/lib64/libcudart.so",
)
DRIVER = "libcuda.so.1"
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
"""cudaMemcpyKind."""
OUT_OF_MEMORY = 2
NO_DEVICE = (3, 34, 35, 100, 101, 803, 804)
"""cudaErrorInitializationError, StubLibrary, InsufficientDriver, NoDevice, InvalidDevice, SystemDriverMismatch,
CompatNotSupportedOnDevice."""
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


class CudaGpu(NamedTuple):
    name: str
    compute_capability: str


def device(library: Any = None) -> CudaGpu | None:
    """The first GPU, as the driver tells; None without a driver or a GPU."""
    with contextlib.suppress(OSError, AttributeError):
        driver = library or ctypes.CDLL(DRIVER)
        number, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        major, minor = ctypes.c_int(), ctypes.c_int()
        answers = (
            driver.cuInit(ctypes.c_uint(0)),
            driver.cuDeviceGet(ctypes.byref(number), ctypes.c_int(0)),
            driver.cuDeviceGetName(name, ctypes.c_int(len(name)), number),
            driver.cuDeviceGetAttribute(ctypes.byref(major), ctypes.c_int(MAJOR), number),
            driver.cuDeviceGetAttribute(ctypes.byref(minor), ctypes.c_int(MINOR), number),
        )
        if not any(answers):
            return CudaGpu(name.value.decode("utf-8", "replace"), f"{major.value}.{minor.value}")
    return None


class CudaMemory:
    """One stream, and the device memory that was asked for; leaving the with-block frees both.

    Raises ProbeError missing-runtime, cuda-unavailable, out-of-memory or cuda-error.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library or _runtime()
        self._pointers: list[ctypes.c_void_p] = []
        self._stream = ctypes.c_void_p()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._call("cudaStreamCreate", ctypes.byref(self._stream))

    @property
    def stream(self) -> int:
        return self._stream.value or 0

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(max(1, size)))
        self._pointers.append(pointer)
        return pointer.value or 0

    def put(self, address: int, array: np.ndarray) -> None:
        """Begin to copy a contiguous array to the device; it must live until `synchronise`."""
        self._copy(ctypes.c_void_p(address), ctypes.c_void_p(array.ctypes.data), array.nbytes, HOST_TO_DEVICE)

    def get(self, array: np.ndarray, address: int) -> None:
        """Begin to fill a contiguous array from the device."""
        self._copy(ctypes.c_void_p(array.ctypes.data), ctypes.c_void_p(address), array.nbytes, DEVICE_TO_HOST)

    def synchronise(self) -> None:
        """Wait for all that was begun. What failed on the GPU meanwhile is raised here."""
        self._call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        for pointer in self._pointers:
            self._library.cudaFree(pointer)
        self._pointers = []
        if self._stream:
            self._library.cudaStreamDestroy(self._stream)
            self._stream = ctypes.c_void_p()

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _copy(self, target: ctypes.c_void_p, source: ctypes.c_void_p, size: int, kind: int) -> None:
        self._call("cudaMemcpyAsync", target, source, ctypes.c_size_t(size), ctypes.c_int(kind), self._stream)

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            raise _failed(name, code, self._library.cudaGetErrorString(ctypes.c_int(code)) or b"")


def _failed(name: str, code: int, words: bytes) -> ProbeError:
    why = f"{name} answered {code}: {words.decode('utf-8', 'replace')}"
    if code == OUT_OF_MEMORY:
        return ProbeError("out-of-memory", "the GPU has no memory left", why, "close other programs there")
    if code in NO_DEVICE:
        return ProbeError(
            "cuda-unavailable",
            "CUDA does not work here",
            why,
            "on a Jetson: sudo apt install nvidia-jetpack; elsewhere look with nvidia-smi",
        )
    return ProbeError("cuda-error", "the GPU failed", why, "run it again; if it comes back, restart the board")


def _runtime() -> Any:
    reasons = []
    for name in RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            reasons.append(first_line(error))
    raise ProbeError(
        "missing-runtime",
        "the CUDA runtime is missing",
        reasons[0],
        "on a Jetson: sudo apt install nvidia-jetpack (libcudart); elsewhere: pip install nvidia-cuda-runtime-cu12",
    )
