"""`edgecnn demo`: the main job on data and a checkpoint that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    target: options.Target = None,
    profile: options.ProfileName = None,
    json: options.Json = False,
) -> None:
    """Train a small ResNet on scikit-learn's handwritten digits, then take it to INT8: measured and judged, in two
    minutes."""
    from edgecnn.cli import console
    from edgecnn.data.demo import write_digits
    from edgecnn.data.preprocessing import Source
    from edgecnn.report import text
    from edgecnn.train.demo import ARCHITECTURE, train_demo
    from edgecnn.workflows.optimize.pipeline import run

    data, checkpoint = out / "digits", out / "digits-resnet.pth"
    with console.listener() as listener:
        write_digits(data)
        if not checkpoint.is_file():
            train_demo(data, checkpoint, listener=listener)
        wanted = options.request(
            Source(checkpoint, ARCHITECTURE, data),
            target=target,
            recipe="int8",
            out=out / f"run-{target or 'host'}",
            profile=profile,
        )
        report = run(wanted, listener=listener)
    if json:
        console.json(report.to_dict())
    else:
        console.result(text.render(report))
        console.note(
            f"written to {wanted.out}/. Now with your own: edgecnn optimize CKPT --data DIR --target raspberry-pi-5"
        )
    raise typer.Exit(report.exit_code)
