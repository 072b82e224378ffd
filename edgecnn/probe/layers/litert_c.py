"""LiteRT's C interface by ctypes: the Python package has no door to the profiler, its shared library has.

Checked with ai-edge-litert 2.1.3, 2.1.6, 2.2.0 and 2.3.0. Handles are pointers that only the library looks into; the
size of a structure is checked before anything in it is believed. Source: `litert/c/*.h` of google-ai-edge/LiteRT.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..errors import ProbeError

LIBRARIES = ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll")
CPU = 1
WRITE = 1
TENSOR_TYPE_BYTES = 512
"""More than `LiteRtRankedTensorType` has in any version; it is passed on, never read but for its first number."""
FLOAT32, FLOAT16, INT8, UINT8 = 1, 10, 9, 3
OPERATOR, DELEGATE_OPERATOR = 1 << 1, (1 << 2) | (1 << 3)
MAX_EVENTS = 1 << 16
TAG_BYTES = 400


class ProfilerEvent(NamedTuple):
    """One timed operator: `tag` is its name, `node` its number in the graph or inside the delegate."""

    tag: str
    delegated: bool
    node: int
    ns: int


class _Event(ctypes.Structure):
    """`ProfiledEventData` with two `MemoryUsage` of three numbers each."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("node", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


class Library:
    """`call("LiteRtName", ...)` raises ProbeError for a status that is not zero, or a name that is not there."""

    def __init__(self, folder: str) -> None:
        paths = [os.path.join(folder, name) for name in LIBRARIES]
        found = next((path for path in paths if os.path.isfile(path)), None)
        if found is None:
            raise unsupported("this package has no " + LIBRARIES[0])
        try:
            self._library = ctypes.CDLL(found)
        except OSError as error:
            raise unsupported(str(error)) from error

    def status(self, name: str, *arguments: Any) -> int:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise unsupported("its library has no " + name) from error
        function.restype = ctypes.c_int
        return int(function(*arguments))

    def call(self, name: str, *arguments: Any) -> None:
        status = self.status(name, *arguments)
        if status:
            code = "cannot-run" if name == "LiteRtRunCompiledModel" else "cannot-load"
            raise ProbeError(code, "LiteRT cannot run the model", f"{name} answered {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """The handle that a call writes through its last argument."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        if not handle:
            raise unsupported(name + " gave nothing")
        return handle

    def count(self, name: str, *arguments: Any) -> int:
        number = ctypes.c_size_t()
        self.call(name, *arguments, ctypes.byref(number))
        return int(number.value)


def unsupported(why: str) -> ProbeError:
    return ProbeError(
        "no-layer-times", "this LiteRT does not tell how long its layers take", why, "pip install -U ai-edge-litert"
    )


class LitertModel:
    """A compiled model with its inputs filled at random. Its memory is given back when the process ends."""

    def __init__(self, library: Library, path: str, *, threads: int, profiled: bool, seed: int) -> None:
        self._library, self._kept = library, []  # type: tuple[Library, list[Any]]
        environment = library.made("LiteRtCreateEnvironment", ctypes.c_int(0), None)
        model = _open(library, environment, path)
        options = self._options(threads, profiled=profiled)
        self._model = library.made("LiteRtCreateCompiledModel", environment, model, options)
        signature = library.made("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
        rng = np.random.default_rng(seed)
        self._inputs = self._buffers("Input", environment, signature, lambda *about: self._fill(rng, *about))
        self._outputs = self._buffers("Output", environment, signature, lambda *about: None)
        self.profiler = library.made("LiteRtCompiledModelGetProfiler", self._model) if profiled else None

    def run(self) -> None:
        self._library.call(
            "LiteRtRunCompiledModel",
            self._model,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self._inputs)),
            self._inputs,
            ctypes.c_size_t(len(self._outputs)),
            self._outputs,
        )

    def start(self) -> None:
        """Let the profiler forget what it saw and watch the next run."""
        self._library.call("LiteRtResetProfiler", self.profiler)
        self._library.call("LiteRtStartProfiler", self.profiler)

    def events(self) -> list[ProfilerEvent]:
        """The operators of the run since `start`, in the order of execution."""
        self._library.call("LiteRtStopProfiler", self.profiler)
        number = ctypes.c_int()
        self._library.call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(number))
        return self._events(number.value)

    def _events(self, number: int) -> list[ProfilerEvent]:
        if not 0 < number <= MAX_EVENTS:
            raise unsupported(f"the profiler has {number} events")
        size = ctypes.sizeof(_Event)
        # Twice the room, marked, shows how long the library's structure is before its pointers are followed.
        room = ctypes.create_string_buffer(b"\xa5" * (2 * size * number), 2 * size * number)
        self._library.call("LiteRtGetProfilerEvents", self.profiler, ctypes.c_int(number), room)
        written = len(room.raw.rstrip(b"\xa5"))
        if not size * number - 4 <= written <= size * number:
            raise unsupported(f"the events have another layout: {written} bytes for {number}")
        events = []
        for event in (_Event * number).from_buffer(room):
            if event.kind & (OPERATOR | DELEGATE_OPERATOR):
                tag = (event.tag or b"?")[:TAG_BYTES].decode("utf-8", "replace")
                delegated = bool(event.kind & DELEGATE_OPERATOR)
                events.append(ProfilerEvent(tag, delegated, int(event.node), int(event.elapsed_us) * 1000))
        return events

    def _options(self, threads: int, *, profiled: bool) -> ctypes.c_void_p:
        options = self._library.made("LiteRtCreateOptions")
        self._library.call("LiteRtSetOptionsHardwareAccelerators", options, ctypes.c_int(CPU))
        self._add(options, b"xnnpack", f"num_threads = {threads}\n")
        if profiled:
            self._add(options, b"runtime_options_string", "enable_profiling = true\n")
        return options

    def _add(self, options: ctypes.c_void_p, identifier: bytes, toml: str) -> None:
        nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _payload: None)
        name, payload = ctypes.create_string_buffer(identifier), ctypes.create_string_buffer(toml.encode())
        self._kept += [nothing, name, payload]
        opaque = self._library.made("LiteRtCreateOpaqueOptions", name, ctypes.cast(payload, ctypes.c_void_p), nothing)
        self._library.call("LiteRtAddOpaqueOptions", options, opaque)

    def _buffers(
        self, side: str, environment: Any, signature: Any, prepare: Callable[[ctypes.c_void_p, int], None]
    ) -> Any:
        library = self._library
        number = library.count(f"LiteRtGetNumSignature{side}s", signature)
        buffers = (ctypes.c_void_p * number)()
        for index in range(number):
            at = ctypes.c_size_t(index)
            tensor = library.made(f"LiteRtGetSignature{side}TensorByIndex", signature, at)
            kind = ctypes.create_string_buffer(TENSOR_TYPE_BYTES)
            library.call("LiteRtGetRankedTensorType", tensor, kind)
            needs = library.made(f"LiteRtGetCompiledModel{side}BufferRequirements", self._model, ctypes.c_size_t(0), at)
            buffer = library.made("LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, needs)
            buffers[index] = buffer.value
            prepare(buffer, int.from_bytes(kind.raw[:4], "little"))
        return buffers

    def _fill(self, rng: np.random.Generator, buffer: ctypes.c_void_p, kind: int) -> None:
        size = self._library.count("LiteRtGetTensorBufferPackedSize", buffer)
        address = ctypes.c_void_p()
        self._library.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), ctypes.c_int(WRITE))
        ctypes.memmove(address, _values(rng, kind, size), size)
        self._library.call("LiteRtUnlockTensorBuffer", buffer)


def _open(library: Library, environment: ctypes.c_void_p, path: str) -> ctypes.c_void_p:
    """The model in a file. Since 2.1.4 the call takes the environment as well; it refuses arguments out of place."""
    model = ctypes.c_void_p()
    name = os.fsencode(path)
    if library.status("LiteRtCreateModelFromFile", environment, name, ctypes.byref(model)) or not model:
        return library.made("LiteRtCreateModelFromFile", name)
    return model


def _values(rng: np.random.Generator, kind: int, size: int) -> bytes:
    """Standard normal values for floats, any byte for 8-bit integers, zeros for the rest."""
    if kind == FLOAT32:
        return rng.standard_normal(size // 4, dtype=np.float32).tobytes().ljust(size, b"\0")
    if kind == FLOAT16:
        return rng.standard_normal(size // 2, dtype=np.float32).astype(np.float16).tobytes().ljust(size, b"\0")
    return rng.bytes(size) if kind in (INT8, UINT8) else bytes(size)
