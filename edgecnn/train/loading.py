"""Loading of batches: in this process, or by worker processes ahead of the loop."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import types
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.data.images import in_order
from edgecnn.train.decoding import BatchTask, PixelSource, stack

MOST_WORKERS = 8
WORTH_STARTING = 5_000
"""Images to decode in all, below which starting processes (some seconds each) takes longer than they save."""
ENDING_S = 5.0


class Loader(Protocol):
    """Makes batches in the order of the tasks."""

    def batches(self, tasks: Iterable[BatchTask]) -> Generator[tuple[BatchTask, Tensor], None, None]:
        """Each task with its uint8 (N, H, W, C)."""
        ...

    def close(self) -> None: ...


def worker_count(wanted: int | None, *, device: torch.device, images: int, world: int = 1) -> int:
    """How many processes pay: as many as `wanted`; else, beside an accelerator, one less than the cores.

    On a CPU the network uses all cores itself, and threads of this process decode as fast. `images` are those of all
    epochs together, `world` the processes that train.
    """
    if wanted is not None:
        return wanted
    if device.type == "cpu" or images < WORTH_STARTING:
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, max(1, cores // here - 1))


class InProcessLoader:
    """This process: held images in the loop itself, files by threads that decode a few images ahead."""

    def __init__(self, source: PixelSource) -> None:
        self._source = source

    def batches(self, tasks: Iterable[BatchTask]) -> Generator[tuple[BatchTask, Tensor], None, None]:
        if self._source.held is not None:
            for task in tasks:
                yield task, self._source.pixels(task)
            return
        ahead, behind = itertools.tee(tasks)
        rows = ((task, row) for task in ahead for row in range(len(task.indices)))
        with closing(in_order(lambda at: self._source.image(*at), rows)) as images:  # type: ignore[type-var]
            for task in behind:
                yield task, self._source.vary(stack([next(images) for _ in task.indices]), task.draws)

    def close(self) -> None:
        """Nothing to end: the threads end with their epoch."""


class WorkerLoader:
    """Processes that work ahead of the loop, started at the first epoch and kept until `close`.

    They are spawned, not forked: a fork copies locks that other threads hold. Raises StepError when one of them dies.
    """

    def __init__(self, source: PixelSource, count: int, *, pin_memory: bool) -> None:
        self._queue = _Queue()
        self._processes: list[BaseProcess] = []
        self._iterator: Any = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of more workers than cores: they were asked for
            self._loader: DataLoader[Any] | None = DataLoader(
                _Work(source),
                sampler=self._queue,
                batch_size=None,
                num_workers=count,
                collate_fn=_as_it_is,
                pin_memory=pin_memory,
                worker_init_fn=_begin,
                multiprocessing_context="spawn",
                persistent_workers=True,
                generator=torch.Generator(),  # else it draws from the global one
            )

    def batches(self, tasks: Iterable[BatchTask]) -> Generator[tuple[BatchTask, Tensor], None, None]:
        self._queue.begin(tasks)
        with self._errors():
            results = self._start()
        while True:
            with self._errors():
                done = next(results, None)
            if done is None:
                return
            if isinstance(done, EdgecnnError):
                raise done
            yield self._queue.given.popleft(), done

    def close(self) -> None:
        """End the processes."""
        self._iterator = self._loader = None
        for process in self._processes:
            if process.is_alive():
                process.terminate()
        for process in self._processes:
            process.join(ENDING_S)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes = []

    def _start(self) -> Iterator[Any]:
        if self._loader is None:
            raise RuntimeError("the feed is closed")
        if self._iterator is not None:
            self._iterator = iter(self._loader)
        else:
            known = set(multiprocessing.active_children())
            with _quiet_start():
                self._iterator = iter(self._loader)
            self._processes = [child for child in multiprocessing.active_children() if child not in known]
        started: Iterator[Any] = self._iterator
        return started

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError, EOFError) as error:
            dead = [process for process in self._processes if not process.is_alive()]
            if not dead:
                raise
            raise StepError(
                "loader-died",
                "a process that loads images has ended",
                why=_cause(dead[0].exitcode),
                hint="set workers to a smaller number, or to 0 to load in the main process (--workers 0)",
            ) from error


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    reason = {
        "SIGKILL": "; the system does that when memory is short",
        "SIGBUS": "; there is too little shared memory (/dev/shm)",
    }
    return f"it was ended by {name}{reason.get(name, '')}"


class _Queue:
    """What the data loader takes its work from: the tasks of this epoch. `given` are those not back yet."""

    def __init__(self) -> None:
        self._tasks: Iterable[BatchTask] = ()
        self.given: deque[BatchTask] = deque()

    def begin(self, tasks: Iterable[BatchTask]) -> None:
        self._tasks = tasks

    def __iter__(self) -> Iterator[BatchTask]:
        self.given.clear()
        for task in self._tasks:
            self.given.append(task)
            yield task


class _Work(Dataset[Any]):
    """A worker's side: a task in, pixels or what went wrong out."""

    def __init__(self, source: PixelSource) -> None:
        self._source = source

    def __getitem__(self, task: BatchTask) -> Tensor | EdgecnnError:
        try:
            pixels = self._source.pixels(task)
        except EdgecnnError as error:
            return error
        try:
            # Left to the queue, this fails in a thread of its own and the main process waits for ever.
            return pixels.share_memory_()  # type: ignore[no-any-return, no-untyped-call]
        except (RuntimeError, OSError) as error:
            return StepError(
                "no-shared-memory",
                f"{pixels.nbytes / 1e6:.1f} MB of images cannot be handed to the main process",
                why=str(error),
                hint="give more shared memory (docker run --shm-size 2g), or set workers to 0 (--workers 0)",
            )


def _as_it_is(made: Any) -> Any:
    return made


def _begin(_: int) -> None:
    """In a new worker: Ctrl-C is the main process's affair, and what is to be said is said there.

    The hook silences the thread that hands tensors over: it shows a traceback when the main process goes meanwhile.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    sys.excepthook = _say_nothing


def _say_nothing(*_: object) -> None:
    """An exception hook that does not print."""


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes that neither import the user's script or current folder nor hear Ctrl-C, and leave the signal
    handlers as found.

    A spawned process imports `__main__` again, which runs a script that has no guard. The data loader's handler of
    SIGCHLD raises wherever the main thread happens to be; without it a death shows at the next batch, within seconds.
    A process starts isolated (-I), and only then takes over the path of this one.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    main, handler = sys.modules["__main__"], signal.getsignal(signal.SIGCHLD)
    options = util._args_from_interpreter_flags  # type: ignore[attr-defined]
    util._args_from_interpreter_flags = lambda: [*options(), "-I"]  # type: ignore[attr-defined]
    resource_tracker.ensure_running()  # its start would unblock the signal again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        util._args_from_interpreter_flags = options  # type: ignore[attr-defined]
        if main_thread and handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
