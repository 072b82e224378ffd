"""Demo: the main job on handwritten digits and a small ResNet that is trained on them; nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecnn.core.events import Listener, ignore
from edgecnn.data.demo import write_digits
from edgecnn.data.preprocessing import Source
from edgecnn.report.model import Report
from edgecnn.train.demo import ARCHITECTURE, train_demo
from edgecnn.workflows.arguments import PathLike
from edgecnn.workflows.optimize import pipeline
from edgecnn.workflows.optimize.command import request_of


def demo(
    *,
    out: PathLike = Path("demo"),
    target: str | None = None,
    profile: str | None = None,
    listener: Listener = ignore,
) -> Report:
    """Write the digits, train the network unless it is there, and take it to INT8; everything lies in `out`."""
    out = Path(out)
    data, checkpoint = out / "digits", out / "digits-resnet.pth"
    write_digits(data)
    if not checkpoint.is_file():
        train_demo(data, checkpoint, listener=listener)
    request = request_of(
        Source(checkpoint, ARCHITECTURE, data),
        target=target,
        recipe="int8",
        out=out / f"run-{target or 'host'}",
        profile=profile,
    )
    return replace(pipeline.run(request, listener=listener), out=request.out)
