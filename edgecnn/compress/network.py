"""Network that a stage trains or prunes: the images it learns from, and the checkpoint it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgecnn.core.artifact import Artifact, sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.stage import Context, LabelledImages
from edgecnn.data.classes import known_names

if TYPE_CHECKING:
    from torch import nn


def training_images(context: Context, *, why: str) -> LabelledImages:
    """The images to learn from. Raises InputError `no-training-images` where there are none; `why` says what for."""
    images = context.data.training
    if images is None or not len(images):
        raise InputError(
            "no-training-images",
            "there are no images to learn from",
            why=why,
            hint="give --data DIR with a train/ folder beside val/; `export` and `quantize` need none",
        )
    return images


def write_checkpoint(
    module: nn.Module, source: Artifact, context: Context, *, classes: int, kind: str, variant: str, **facts: Any
) -> Artifact:
    """Write `module` to `context.workdir/model.safetensors`: what the stage `kind` makes of `source`. `facts` are the
    architecture and the plan, as `edgecnn.models.save` takes them."""
    from edgecnn.models import save

    path = context.workdir / "model.safetensors"
    names = known_names(context.data.class_names) or getattr(context.model, "class_names", None)
    history = (*source.history, kind)
    save(
        path,
        module,
        num_classes=classes,
        preprocessing=context.data.preprocessing,
        class_names=names if names and len(names) == classes else None,
        history=history,
        **facts,
    )
    return Artifact(path, "torch", "fp32", (), (), sha256_of(path), history, variant=variant)
