"""Weights & Biases tracker: online where there is a key, else a folder that `wandb sync` takes."""

from __future__ import annotations

import netrc
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgecnn.core.store import write_atomically
from edgecnn.core.third_party import quiet
from edgecnn.train.settings import Epoch
from edgecnn.train.trackers import metrics, require

PROJECT = "edgecnn"
_HOST = "https://api.wandb.ai"


class WandB:
    """One run of Weights & Biases; its id lies in `folder/.store`, so that training that goes on goes on in it.

    WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE and the rest of its variables are its own. Nothing is asked: without a key
    the run is written offline.
    """

    def __init__(self, folder: Path, name: str) -> None:
        require("wandb", "wandb")
        self._folder = folder
        self._name = name
        self._id_file = folder / ".store" / "wandb-run"
        self._run: Any = None
        self._where = ""

    @property
    def where(self) -> str:
        return self._where

    def begin(self, settings: Mapping[str, Any]) -> None:
        with quiet("wandb"):
            import wandb

            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=self._name,
                id=self._id(),
                resume="allow",
                config=dict(settings),
                dir=str(self._folder),
                mode=None if "WANDB_MODE" in os.environ else "online" if _has_key() else "offline",
                settings=wandb.Settings(console="off", silent=True),
            )
            place = Path(self._run.dir).parent
            self._where = self._run.url or f"wandb sync {shlex.quote(str(place))}"

    def epoch(self, number: int, epoch: Epoch) -> None:
        self._run.log(metrics(epoch), step=number)

    def picture(self, name: str, path: Path) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path))})

    def artifact(self, path: Path) -> None:
        import wandb

        kind = "model" if path.suffix == ".safetensors" else "file"
        artifact = wandb.Artifact(f"{self._run.id}-{path.stem}", type=kind)
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def end(self, status: str) -> None:
        if self._run is not None:
            with quiet("wandb"):
                self._run.finish(exit_code=0 if status == "finished" else 1)
            self._run = None

    def _id(self) -> str:
        try:
            return self._id_file.read_text()
        except OSError:
            run_id = secrets.token_hex(4)
            write_atomically(self._id_file, run_id)
            return run_id


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _HOST)).hostname
    try:
        return host is not None and netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
