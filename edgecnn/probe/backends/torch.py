"""Programs of torch.export (.pt2) in PyTorch. Options: `threads`, `device` (cpu, or cuda: not run on a GPU yet).

`torch.export.load` would execute what is in a file: see `pt2` for what is refused. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from .. import pt2
from ..errors import ProbeError, first_line
from ..specs import InputSpec, layout_of
from .importing import import_runtime

NAME = "torch"
RUNS = ("torch",)
DEVICES = ("cpu", "cuda")


def _runtime() -> Any:
    return import_runtime("torch", backend=NAME, package="torch", hint="pip install torch")


def version() -> str:
    return str(_runtime().__version__)


def load(path: str, options: dict[str, Any]) -> Session:
    """The program as a module in evaluation mode, with an explicit number of threads."""
    torch = _runtime()
    device = options.get("device", "cpu")
    if device not in DEVICES:
        raise ProbeError("bad-job", f"device '{device}' is unknown", hint="known: " + ", ".join(DEVICES))
    if device == "cuda" and not torch.cuda.is_available():
        raise ProbeError(
            "cuda-unavailable",
            "this PyTorch does not reach a GPU",
            f"torch {torch.__version__}, built for CUDA {torch.version.cuda}",
            "install the torch wheel for this board, or leave option device out",
        )
    torch.set_num_threads(int(options.get("threads", 1)))
    with contextlib.suppress(RuntimeError):  # it can be set once in a process
        torch.set_num_interop_threads(1)
    with pt2.opened(path) as program:
        try:
            loaded = torch.export.load(program)
            if device == "cuda":
                loaded = torch.export.passes.move_to_device_pass(loaded, device)
            return Session(torch, loaded, device)
        except ProbeError:
            raise
        except Exception as error:  # torch raises what it likes
            raise ProbeError("cannot-load", "PyTorch cannot load the program", first_line(error), pt2.HINT) from error


class Session:
    def __init__(self, torch: Any, program: Any, device: str) -> None:
        self._torch, self._device = torch, device
        self._module = program.module()
        names = set(program.graph_signature.user_inputs)
        nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
        self.inputs = [_spec(node.name, node.meta["val"]) for node in nodes]

    def infer(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        torch = self._torch
        try:
            with torch.inference_mode():
                given = [torch.from_numpy(_writable(feeds[spec.name])).to(self._device) for spec in self.inputs]
                return [_array(torch, output) for output in _flat(self._module(*given))]
        except (RuntimeError, TypeError, ValueError, AssertionError, KeyError) as error:
            out = "out of memory" in str(error)
            raise ProbeError(
                "out-of-memory" if out else "cannot-run", "PyTorch cannot run the program", first_line(error)
            ) from error

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._module = None


def _spec(name: str, value: Any) -> InputSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    kind = str(value.dtype).rpartition(".")[2]
    try:
        dtype = np.dtype(kind).name
    except TypeError as error:
        raise ProbeError("cannot-load", f"input '{name}' is of a type that numpy does not have", kind) from error
    return InputSpec(name, shape, dtype, layout_of(shape))


def _writable(feed: np.ndarray) -> np.ndarray:
    """torch warns of an array that it could not write to, though it does not."""
    return feed if feed.flags.writeable else feed.copy()


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (tuple, list)):
        return [tensor for output in outputs for tensor in _flat(output)]
    return [outputs]


def _array(torch: Any, output: Any) -> np.ndarray:
    """On the host; copying from a GPU waits for it."""
    array: np.ndarray = (output.float() if output.dtype == torch.bfloat16 else output).cpu().numpy()
    return array
