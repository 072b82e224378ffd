"""Parallel training: several processes train one network, each on its part of every batch, under torchrun or in a
process group of the caller.

    torchrun --nproc-per-node 2 -m edgecnn train DATA ...

`TrainSettings.batch` is what one process holds, so the batch that the learning rate must fit is that times the number
of processes. Gradients are averaged (`DistributedDataParallel`; gloo between CPUs, nccl between GPUs). Batch-norm
statistics are each process's own, taken over its part of the batch, and the first process's are kept: from about 16
images per process on that costs nothing. For fewer, and on CUDA only, convert the network before training with
`torch.nn.SyncBatchNorm.convert_sync_batchnorm`. One process reports, validates and saves: the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from edgecnn.core.errors import MissingError, StepError

if TYPE_CHECKING:
    import torch
    from torch import nn

LONGEST_WAIT = timedelta(hours=2)
"""For a process that waits while the first one validates."""


def place() -> tuple[int, int]:
    """(rank of this process, number of processes): of the group that is there, or of torchrun's environment.

    (0, 1) where neither is. Imports torch only where a group can be there.
    """
    import sys

    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of one training, seen from one of them. Alone, nothing here costs anything."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over the processes."""
        if self.world == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        own = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=own, gradient_as_bucket_view=True)

    def quiet(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Inside the block gradients are only added up: for all but the last part of an accumulated step."""
        if self.world == 1:
            return nullcontext()
        without_sync: AbstractContextManager[None] = wrapped.no_sync()  # type: ignore[operator]
        return without_sync

    def total(self, *values: float) -> list[float]:
        """Each value summed over the processes."""
        import torch.distributed as dist

        return self._exchanged(values, dist.all_reduce)

    def of_first(self, *values: float) -> list[float]:
        """The first process's values, in every process."""
        import torch.distributed as dist

        return self._exchanged(values, lambda tensor: dist.broadcast(tensor, 0))

    def _exchanged(self, values: tuple[float, ...], exchange: Callable[[torch.Tensor], object]) -> list[float]:
        if self.world == 1:
            return list(values)
        import torch

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        exchange(tensor)
        return [float(value) for value in tensor.tolist()]

    def bytes_of_first(self, content: bytes) -> bytes:
        """The first process's bytes, in every process: the others need not see its disk."""
        if self.world == 1:
            return content
        import torch
        import torch.distributed as dist

        size = int(self.of_first(len(content))[0])
        if not size:
            return b""
        sent = torch.empty(size, dtype=torch.uint8, device=self.device)
        if self.is_first:
            sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()

    def share_weights(self, module: nn.Module) -> None:
        """Every process gets the first one's parameters and buffers."""
        if self.world == 1:
            return
        import torch.distributed as dist

        for value in (*module.parameters(), *module.buffers()):
            whole = value.detach().contiguous()
            dist.broadcast(whole, 0)
            value.detach().copy_(whole)


@contextmanager
def joined(device: str | None) -> Iterator[ProcessGroup]:
    """The group of this process on `device` (None: CUDA where there is one, else the CPU); alone, a group of one.

    A group made here ends with the block. Raises MissingError for a device that is not there, StepError when another
    process is gone.
    """
    import torch.distributed as dist

    rank, world = place()
    chosen = _device(device)
    mine = world > 1 and not dist.is_initialized()
    if mine:
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=LONGEST_WAIT, device_id=chosen if chosen.type == "cuda" else None)
    try:
        yield ProcessGroup(rank, world, chosen)
    except RuntimeError as error:
        problem = problem_of_many(error) if world > 1 else None
        if problem is None:
            raise
        raise problem from error
    finally:
        if mine:
            dist.destroy_process_group()


def problem_of_many(error: RuntimeError) -> StepError | None:
    """What torch says of the other processes, in words; None where the error is not about them."""
    import torch.distributed as dist

    message = str(error)
    if "finished reduction in the prior iteration" in message:
        return StepError(
            "unused-weights",
            "the network has weights that take no part in its answer, and several processes cannot agree on them",
            why=message.splitlines()[0],
            hint="train in one process, or take the unused layers out of the network",
        )
    if isinstance(error, dist.DistError) or "gloo" in message.lower():
        return StepError(
            "process-lost",
            "another process of this training is gone",
            why=message.splitlines()[0],
            hint="see what that process said; then run the same command again",
        )
    return None


def _device(wanted: str | None) -> torch.device:
    import torch

    local = int(os.environ.get("LOCAL_RANK", "0"))
    try:
        chosen = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        if chosen.type == "cuda":
            chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
            torch.cuda.set_device(chosen)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MissingError(
            "no-device",
            f"there is no device '{wanted}' to train on",
            why=str(error).splitlines()[0],
            hint="leave the device out: CUDA is taken where there is one, else the CPU",
        ) from error
    return chosen
