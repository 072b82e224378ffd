"""Outputs of a network in PyTorch, in this process."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgecnn.core.errors import MissingError, StepError
from edgecnn.core.events import Listener, Progress, timed
from edgecnn.core.stage import Images, Model
from edgecnn.core.third_party import first_line
from edgecnn.models.one_image import largest_batch

LARGEST_BATCH = 256
BATCH_PIXELS = 32 * 224 * 224
"""What one batch holds at most: activations of a large network stay within a few hundred megabytes."""


def forward(
    module: nn.Module, images: Images, *, shape: tuple[int, int], device: str, threads: int, listener: Listener
) -> np.ndarray:
    """Outputs float32 (N, ...) for all images, in FP32 in eval mode on `device` (cpu, cuda, cuda:1, mps).

    `shape` is (height, width) of the input in pixels, `threads` are the CPU's; the module is moved. Raises MissingError
    where the device is not there, StepError when the network cannot be run.
    """
    before = torch.get_num_threads()
    batch = max(1, min(LARGEST_BATCH, BATCH_PIXELS // (shape[0] * shape[1])))
    with timed(listener, "answer PyTorch"):
        torch.set_num_threads(threads)
        try:
            outputs = _rows(_on(module.eval(), device), images, batch=batch, device=device, listener=listener)
        except RuntimeError as error:
            raise StepError(
                "cannot-run",
                f"the network cannot be run in PyTorch on {device}",
                why=first_line(error),
                hint="out of memory? close other programs, or use --device cpu",
            ) from error
        finally:
            torch.set_num_threads(before)
    return outputs


def _on(module: nn.Module, device: str) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise MissingError(
            "no-device", f"PyTorch has no device {device} here", why=first_line(error), hint="--device cpu"
        ) from error


def _rows(module: nn.Module, images: Images, *, batch: int, device: str, listener: Listener) -> np.ndarray:
    parts: list[np.ndarray] = []
    done, total = 0, len(images)
    # Not in TF32, which a GPU would take for convolutions by itself.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for pixels in images.batches(batch):
            parts.append(module(torch.from_numpy(pixels).to(device)).float().cpu().numpy())
            done += len(pixels)
            listener(Progress("answer PyTorch", done, total, "images"))
    return np.concatenate(parts)


def torch_outputs(model: Model, images: Images, *, listener: Listener) -> np.ndarray:
    """Outputs of the torch model in FP32 on the CPU, float32 (N, ...)."""
    module = model.module()
    parts: list[np.ndarray] = []
    done, size = 0, largest_batch(module, model.input_shape, 8)
    with torch.inference_mode():
        for batch in images.batches(size):
            parts.append(module(torch.from_numpy(batch)).float().numpy())
            done += len(batch)
            listener(Progress("verify", done, len(images), "images", "PyTorch"))
    outputs = np.concatenate(parts)
    if not np.isfinite(outputs).all():
        raise StepError(
            "not-finite",
            f"{model.name} answers NaN or infinity in PyTorch already",
            hint="check the weights and the preprocessing: `edgecnn inspect` shows both",
        )
    return outputs
