"""`edgecnn data`: the images, before anything is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options
from edgecnn.cli.command import command, rendered, wrote

app = typer.Typer(
    help="Look at your images before you train or judge on them.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
@command(
    "edgecnn.workflows.audit:audit",
    printer=rendered("edgecnn.report.audit.document:document", "audit.md"),
    note=wrote("edgecnn.report.audit.document:files"),
    preprocessing_before="out",
)
def audit(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with train/ and val/, a folder per class; or a CSV.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model whose confident answers are held against the labels.")
    ] = None,
    model: options.ModelName = None,
    weights: options.WeightsName = None,
    class_map: options.ClassMapFile = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the model runs, such as cuda. Default: cpu.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads of the model; all usable cores unless given.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write audit.md, audit.json, copies.png and suspicious.png there."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Look at every image and say what is wrong with the data.

    Broken files, copies by bytes and by look, class balance, sizes, odd modes; with --checkpoint, labels a model
    confidently disagrees with. Exit code 1 when something spoils a verdict: files that cannot be read, an image
    of val that is in train, one image with two labels, a class that is in val only, a single class, or look-alikes of
    train that make up 1 % of val or more. Anything else is a remark, and exit code 0.
    """
