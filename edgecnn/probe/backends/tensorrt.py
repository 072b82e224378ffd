"""TensorRT: trtexec and its clock for latency, the Python bindings for accuracy, one engine for both.

The engine is built on the board from the ONNX file (`engines`). Options: `batch`, `trtexec` (path), `cache` (folder),
`workspace_mib`, `build_timeout_s`.

The bindings' part was not run on a GPU yet. What is tested: the building, parsing and error texts with a stub of
trtexec made from real outputs, the session with bindings and a CUDA runtime of the same interface.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import cuda, engines, loop, onnx_file, times, trtexec
from ..errors import ProbeError
from ..specs import InputSpec, layout_of, with_shapes
from ..tensorrt_errors import last_error, meaning
from .importing import import_runtime

T = TypeVar("T")

NAME = "tensorrt"
RUNS = ("tensorrt", "onnx")
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
PILOT = ("--iterations=10", "--duration=0", "--warmUp=0")
MOST_QUERIES = 1_000_000
"""Of one series: their JSON is some 350 MB."""
GRACE_S = 300.0
"""For loading the engine and for the clock that is slower than the pilot."""
LOADED = re.compile(r"Engine (?:loaded|deserialized) in ([\d.eE+-]+) sec")
DEVICE_MEMORY = re.compile(r"in IExecutionContext creation: .*now: CPU \d+, GPU (\d+) \(MiB\)")
WARMED_UP = re.compile(r"Warmup completed (\d+) queries")
APT = (
    "on a Jetson: sudo apt install python3-libnvinfer, in a venv with --system-site-packages; else pip install tensorrt"
)


def version(options: Any = None) -> str:
    """TensorRT's, as trtexec tells it, else the bindings."""
    try:
        return "TensorRT " + trtexec.find(options or {}).full_version
    except ProbeError:
        try:
            return "TensorRT " + str(_bindings().__version__)
        except ProbeError:
            pass
        raise


def prepare(path: str, options: dict[str, Any]) -> None:
    """Build the engine unless it is kept: that takes minutes and warms the board."""
    _with_engine(path, options, lambda tool, engine: None)


def measure(path: str, options: dict[str, Any], plan: Any) -> dict[str, Any]:
    """Latency by trtexec's clock, GPU events around copy in, computation and copy out; samples in ns.

    A short run with no warm-up comes first: its first query is `first_ns`, and how long its queries take decides how
    many the plan has time for. `load_ns` is reading and deserialising the engine, as that run told.
    """
    return _with_engine(path, options, lambda tool, engine: _measured(tool, engine, plan))


def run_engine(path: str, options: dict[str, Any], *, more: list[str], timeout_s: float) -> str:
    """Run trtexec on the model's engine with flags `more`; the runtime's name and version."""

    def run(tool: trtexec.Tool, engine: engines.Engine) -> str:
        argv = trtexec.run_argv(tool, engine.model, engine=engine.path, batch=engine.batch, more=more)
        trtexec.run(argv, timeout_s=timeout_s)
        return "TensorRT " + tool.full_version

    return _with_engine(path, options, run)


def _with_engine(path: str, options: dict[str, Any], use: Callable[[trtexec.Tool, engines.Engine], T]) -> T:
    """What `use` makes of the model's engine; a kept one that does not fit any more is built again, once."""
    engines.validate_built_here(path)
    tool, model = trtexec.find(options), onnx_file.read(path)
    model = model._replace(inputs=with_shapes(model.inputs, options.get("shapes") or {}))
    engine = engines.engine(tool, model, options)
    try:
        return use(tool, engine)
    except ProbeError as error:
        if error.code != "engine-mismatch" or not engine.cached:
            raise
        engines.discard(engine)
        return use(tool, engines.engine(tool, model, options))


def _measured(tool: trtexec.Tool, found: engines.Engine, plan: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="trtexec-") as folder:
        exported = os.path.join(folder, "times.json")
        pilot_argv = _argv(tool, found, exported, PILOT)
        pilot_log = trtexec.run(pilot_argv, timeout_s=GRACE_S + plan.measure.max_s).log
        pilot = times.read(exported, warmup_ms=0.0).latency_ns
        warmup_ms = max(200, int(plan.warmup.min_s * 1000))
        iterations, duration_s = _amount(float(np.median(pilot)) / 1e9, plan.measure)
        argv = _argv(
            tool,
            found,
            exported,
            (f"--iterations={iterations}", f"--duration={duration_s}", f"--warmUp={warmup_ms}"),
        )
        with plan.watched():
            ran = trtexec.run(argv, timeout_s=GRACE_S + warmup_ms / 1e3 + 4 * plan.measure.max_s)
        taken = times.read(exported, warmup_ms=float(warmup_ms))
    warm = WARMED_UP.search(ran.log)
    memory = DEVICE_MEMORY.findall(ran.log)
    return {
        "samples": taken.latency_ns,
        "load_ns": round(sum(float(part) for part in LOADED.findall(pilot_log)) * 1e9),
        "first_ns": int(pilot[0]),
        "end_s": ran.end_s,
        "warmup_runs": int(warm.group(1)) if warm else 0,
        "steady": _steady(taken.latency_ns, plan.warmup.max_runs),
        "inputs": [spec._replace(shape=spec.sized(found.batch))._asdict() for spec in found.model.inputs],
        "facts": {
            "runtime": "TensorRT " + tool.full_version,
            "clock": "trtexec: GPU events around copy in, computation and copy out of one query",
            "argv": argv,
            "engine": {"argv": found.argv, "build_s": found.build_s, "cached": found.cached},
            "parts_ns": {
                part: float(np.median(values))
                for part, values in (("h2d", taken.h2d_ns), ("compute", taken.compute_ns), ("d2h", taken.d2h_ns))
            },
            "device_memory_bytes": int(memory[-1]) << 20 if memory else None,
        },
    }


def _argv(tool: trtexec.Tool, found: engines.Engine, exported: str, more: tuple[str, ...]) -> list[str]:
    return trtexec.run_argv(
        tool, found.model, engine=found.path, batch=found.batch, more=("--exportTimes=" + exported, *more)
    )


def _amount(query_s: float, plan: loop.Measurement) -> tuple[int, int]:
    """(iterations, whole seconds): trtexec stops when it has both; neither may take longer than the plan allows."""
    query_s = max(query_s, 1e-6)
    iterations = max(1, min(plan.min_iterations, int(plan.max_s / query_s), MOST_QUERIES))
    return iterations, max(0, min(int(np.ceil(plan.min_s)), int(MOST_QUERIES * query_s)))


def _steady(latency_ns: np.ndarray, runs: int) -> bool:
    """Whether two windows among the first `runs` look alike: what the loop waits for, where it is the clock."""
    early = [int(sample) for sample in latency_ns[: max(runs, 2 * loop.WINDOW)]]
    window = min(loop.WINDOW, len(early) // 2)
    if window < loop.SHORTEST_WINDOW:
        return False
    starts = range(0, len(early) - 2 * window + 1, max(1, window // 2))
    return any(
        loop.is_steady(early[start : start + window], early[start + window : start + 2 * window]) for start in starts
    )


def load(path: str, options: dict[str, Any]) -> Session:
    """The engine that `measure` runs, in this process, by the bindings. It takes `batch` images at a time."""
    engines.validate_built_here(path)
    bindings = _bindings()

    def opened(tool: trtexec.Tool, engine: engines.Engine) -> Session:
        if not str(bindings.__version__).startswith(tool.version):
            raise ProbeError(
                "runtime-mismatch",
                "TensorRT's Python bindings and trtexec are of different versions",
                f"the bindings are {bindings.__version__}, {tool.path} is {tool.version}",
                APT,
            )
        return Session(bindings, engine)

    return _with_engine(path, options, opened)


def _bindings() -> Any:
    bindings = import_runtime("tensorrt", backend=NAME, package="tensorrt", hint=APT)
    if not hasattr(getattr(bindings, "ICudaEngine", None), "num_io_tensors"):
        raise ProbeError(
            "old-runtime",
            "TensorRT's Python bindings are too old",
            "8.5 is the oldest that is supported",
            "update JetPack",
        )
    return bindings


class Session:
    """Tensors by name, which the bindings know since 8.5; outputs are in host memory when `infer` returns."""

    def __init__(self, bindings: Any, found: engines.Engine) -> None:
        self._logger = _logger(bindings)
        self._memory = cuda.CudaMemory()
        with self._memory.closed_on_error():
            with open(found.path, "rb") as stream:
                self._engine = bindings.Runtime(self._logger).deserialize_cuda_engine(stream.read())
            self._validate_pointer(self._engine, "cannot load the engine")
            self._context = self._engine.create_execution_context()
            self._validate_pointer(self._context, "cannot make a context for the engine")
            names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
            sizes = {spec.name: spec.sized(found.batch) for spec in found.model.inputs}
            entries = [name for name in names if self._mode(name) == "INPUT"]
            for name in entries:
                self._context.set_input_shape(name, sizes[name])
            self._shapes = {name: tuple(int(size) for size in self._context.get_tensor_shape(name)) for name in names}
            self._outputs = [name for name in names if name not in entries]
            self.inputs = [
                InputSpec(name, self._shapes[name], self._dtype(name).name, layout_of(self._shapes[name]))
                for name in entries
            ]
            self._addresses = {name: self._allocate(name) for name in names}

    def infer(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        sent = [self._feed(spec, feeds) for spec in self.inputs]
        for spec, array in zip(self.inputs, sent):  # noqa: B905 - Python 3.8 has no `strict`
            self._memory.put(self._addresses[spec.name], array)
        if not self._context.execute_async_v3(self._memory.stream):
            raise meaning(self._logger.said()) or ProbeError(
                "cannot-run", "TensorRT cannot run the model", last_error(self._logger.said())
            )
        outputs = [np.empty(self._shapes[name], self._dtype(name)) for name in self._outputs]
        for name, output in zip(self._outputs, outputs):  # noqa: B905
            self._memory.get(output, self._addresses[name])
        self._memory.synchronise()
        return outputs

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._context = self._engine = None
        self._memory.close()

    def _feed(self, spec: InputSpec, feeds: dict[str, np.ndarray]) -> np.ndarray:
        feed = feeds[spec.name]
        if feed.shape != spec.shape or feed.dtype != spec.dtype:
            raise ProbeError(
                "cannot-run",
                f"input '{spec.name}' does not fit",
                f"it is {feed.dtype} {list(feed.shape)}, the engine takes {spec.dtype} {list(spec.shape)}",
            )
        return np.ascontiguousarray(feed)

    def _allocate(self, name: str) -> int:
        shape = self._shapes[name]
        if min(shape, default=1) < 0:
            raise ProbeError("free-shape", f"the size of '{name}' depends on the data", str(list(shape)))
        address = self._memory.allocate(int(np.prod(shape, dtype=np.int64)) * self._dtype(name).itemsize)
        self._context.set_tensor_address(name, address)
        return address

    def _mode(self, name: str) -> str:
        return str(self._engine.get_tensor_mode(name)).rpartition(".")[2]

    def _dtype(self, name: str) -> np.dtype:
        kind = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
        if kind not in DTYPES:
            raise ProbeError("cannot-run", f"tensor '{name}' is of a type that numpy does not have", kind)
        return np.dtype(DTYPES[kind])

    def _validate_pointer(self, made: Any, what: str) -> None:
        """The bindings give None where they fail, and tell the logger why."""
        if made is None:
            said = self._logger.said()
            raise meaning(said) or ProbeError("cannot-load", "TensorRT " + what, last_error(said))


def _logger(bindings: Any) -> Any:
    """A logger that keeps the errors."""

    class Logger(bindings.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if str(severity).rpartition(".")[2] in ("ERROR", "INTERNAL_ERROR"):
                self._errors = [*self._errors[-15:], "[E] " + message]

        def said(self) -> str:
            return "\n".join(self._errors)

    return Logger()
