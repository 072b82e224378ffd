"""State of a run on disk: a killed run goes on from it and ends with the same weights, bit for bit.

`last.pt` holds the state after the last epoch (or step, where somebody interrupted), `best-N.pt` the weights of the
epoch that is kept. Each file is written beside its place and renamed, and `last.pt` names the other, so whenever the
process dies the two belong together. Both are read with `weights_only=True`. Random numbers need no place in it: they
depend on seed, epoch, batch and process alone (`randomness.py`).
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.store import digest_of, make_folder, sweep, write_atomically
from edgecnn.train.settings import FREE_TO_CHANGE, TrainingImages, TrainSettings

FORMAT = "edgecnn.training/1"
LAST = "last.pt"
WORDS = {
    "architecture": "another network",
    "data": "other images",
    "settings": "other settings",
    "seed": "another seed",
    "objective": "another objective",
    "task": "another task",
    "processes": "another number of processes",
    "arithmetic": "another kind of device or number format",
}


def identity(module: nn.Module, settings: TrainSettings, *, images: TrainingImages, **more: Any) -> dict[str, Any]:
    """What has to be the same for a state to fit. `more` are JSON values named in `WORDS`."""
    shapes = [(name, list(value.shape)) for name, value in module.state_dict().items() if hasattr(value, "shape")]
    printed = re.sub(r"0x[0-9a-f]+", "", repr(module))
    return {
        "architecture": digest_of([printed, shapes]),
        "data": [None if part is None else part.digest for part in (images.train, images.validation)],
        "settings": settings.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)),
        **more,
    }


class RunState:
    """The state under `folder`. Raises CannotWrite when the disk refuses; what was there before is then still whole."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._identity = dict(identity)
        self._written: int | None = None
        make_folder(folder)
        sweep(folder)

    def save(self, content: Mapping[str, Any], best: Mapping[str, Any], *, number: int) -> None:
        """Write `content`, and the weights of epoch `number` where they are not there yet."""
        if number != self._written:
            write_atomically(self._best(number), _bytes(best))
        write_atomically(self._folder / LAST, _bytes({"format": FORMAT, "identity": self._identity, **content}))
        if number != self._written:
            self._written = number
            for old in self._folder.glob("best-*.pt"):
                if old != self._best(number):
                    with contextlib.suppress(OSError):
                        old.unlink()

    def load(self) -> bytes:
        """`last.pt`, or nothing where there is none. Raises InputError when it is the state of another run."""
        try:
            raw = (self._folder / LAST).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._damaged(error) from error
        content = self.unpack(raw)
        self._require_same(content.get("identity", {}))
        return raw

    def load_best(self, number: int) -> bytes:
        """The weights of epoch `number`."""
        try:
            raw = self._best(number).read_bytes()
        except OSError as error:
            raise self._damaged(error) from error
        self.unpack(raw)
        self._written = number
        return raw

    def unpack(self, raw: bytes) -> dict[str, Any]:
        try:
            return unpack(raw)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise self._damaged(error) from error

    def _best(self, number: int) -> Path:
        return self._folder / f"best-{number:04}.pt"

    def _require_same(self, saved: Mapping[str, Any]) -> None:
        for part, words in WORDS.items():
            if saved.get(part) != self._identity.get(part):
                raise InputError(
                    f"resume-{part}",
                    f"the state in {self._folder} is of a run with {words}",
                    why=_difference(saved.get(part), self._identity.get(part)),
                    hint=f"start again as that run was started, or begin anew: rm -r {self._folder}",
                )

    def _damaged(self, error: Exception) -> StepError:
        return StepError(
            "damaged-state",
            f"the state in {self._folder} cannot be read",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint=f"begin anew: rm -r {self._folder}",
        )


def unpack(raw: bytes) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
    return content


def _bytes(content: Mapping[str, Any]) -> bytes:
    written = io.BytesIO()
    torch.save(dict(content), written)
    return written.getvalue()


def _difference(then: Any, now: Any) -> str:
    """What a person can compare: words and numbers, no digests."""
    if isinstance(then, dict) and isinstance(now, dict):
        names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        shown = [_difference(then.get(name), now.get(name)) for name in names]
        return ", ".join(f"{name} {line}".strip() for name, line in zip(names, shown, strict=True))
    if any(isinstance(value, str) and len(value) == 64 for value in (then, now)):
        return ""
    return f"was {then}, is now {now}"
