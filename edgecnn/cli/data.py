"""`edgecnn data`: the images, before anything is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecnn.cli import options

app = typer.Typer(
    help="Look at your images before you train or judge on them.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def audit(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder with train/ and val/, a folder per class; or a CSV.")
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="A model whose confident answers are held against the labels."
        ),
    ] = None,
    model: options.ModelName = None,
    class_map: options.ClassMap = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Where the model runs, such as cuda. Default: cpu.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, max=256, help="Threads of the model; all usable cores unless given."),
    ] = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    interpolation: options.Interpolation = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
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
    from edgecnn.cli import console
    from edgecnn.data.preprocessing import Source
    from edgecnn.workflows import audit as room

    flags = options.preprocessing_fields(
        resize=resize, crop=crop, interpolation=interpolation, mean=mean, std=std, color=color
    )
    if checkpoint is None and (model or class_map or device or threads or flags):
        raise typer.BadParameter("options of a model need --checkpoint FILE")
    source = None if checkpoint is None else Source(checkpoint, model, folder, class_map, flags)
    with console.listener() as listener:
        found = room.audit(room.Request(folder, source, device, threads), listener=listener)
    written = room.write(found, out) if out is not None else []
    if json:
        console.json(found)
    else:
        from edgecnn.report.audit import text

        console.result(text.render(found, place="" if out is None else str(out / "audit.md")))
    if written:
        console.note(f"wrote {', '.join(map(str, written))}")
    if room.serious(found):
        raise typer.Exit(1)
