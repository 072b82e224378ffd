"""Earlier run in the output folder: the results of one network are not replaced by those of another unasked."""

from __future__ import annotations

import json
from pathlib import Path

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError

ALWAYS_CALLED_SO = ("best", "last")
"""Every training ends in files of these names: what tells them apart is the folder of the run."""


def run_name(checkpoint: Path) -> str:
    """What a checkpoint is called: its name without the suffix, or that of the training run it lies in."""
    folder = checkpoint.absolute().parent
    if checkpoint.stem not in ALWAYS_CALLED_SO or not _is_training(folder):
        return checkpoint.stem or "model"
    if folder.name.startswith("fold-") and _is_training(folder.parent):
        return f"{folder.parent.name}-{folder.name}"
    return folder.name


def require_same_network(out: Path, checkpoint: Path, network_sha256: str) -> None:
    """Raises InputError `other-run` where `out` holds the results of another checkpoint and another network."""
    try:
        earlier = json.loads((out / "run.json").read_text(encoding="utf-8"))
        of_file, of_network = str(earlier["checkpoint"]["sha256"]), str(earlier["model"]["sha256"])
        file = str(earlier["checkpoint"]["file"])
    except (OSError, ValueError, LookupError, TypeError):
        return
    digest = sha256_of(checkpoint) if checkpoint.is_file() else network_sha256  # a network in memory is no file yet
    if of_file != digest and of_network != network_sha256:
        raise InputError(
            "other-run",
            f"{out} holds the results of another network",
            why=f"they are of {file} (sha256 {of_file[:12]}); this is {checkpoint} (sha256 {digest[:12]})",
            hint="choose another folder with --out, or replace those results with --again",
        )


def _is_training(folder: Path) -> bool:
    return (folder / "train.json").is_file() or (folder / ".store" / "run.json").is_file()
