"""Folder of a training run: its identity, its lock, its progress and its results.

    OUT/best.safetensors  last.safetensors  history.json  train.json  tensorboard/
    OUT/.store/run.json   the identity of the run; fit/: the state of an unfinished one

`train.json` is written last: a folder that has it holds a finished run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.core.artifact import sha256_of
from edgecnn.core.errors import InputError
from edgecnn.core.events import Listener, Warned
from edgecnn.core.store import cannot_write, digest_of, make_folder, one_at_a_time, sweep, write_atomically
from edgecnn.core.units import short
from edgecnn.train.settings import FREE_TO_CHANGE, Epoch, History

SCHEMA = "edgecnn.train/1"
BEST, LAST, HISTORY, RESULT = "best.safetensors", "last.safetensors", "history.json", "train.json"
OURS = (BEST, LAST, HISTORY, RESULT, "confusion.png", "tensorboard")
"""What `--again` removes beside the store; folders of other trackers keep their runs."""
WORDS = {
    "architecture": "the network",
    "source_files": "the network's code",
    "pretrained": "the pretrained weights",
    "preprocessing": "the preprocessing",
    "data": "the images",
    "class_names": "the classes",
    "settings": "the settings",
    "seed": "the seed",
    "folds": "the number of folds",
    "task": "the task",
}


def identity(described: Mapping[str, Any], folds: int) -> dict[str, Any]:
    """What makes a run the same run, of `preparing.described`."""
    pretrained = described["pretrained"]
    settings = {name: value for name, value in described["settings"].items() if name not in FREE_TO_CHANGE}
    return {
        **{name: described[name] for name in ("architecture", "source_files", "class_names", "seed")},
        "preprocessing": described["preprocessing"],
        "pretrained": pretrained and pretrained["sha256"],
        "data": described["data"]["digests"],
        "settings": settings,
        "folds": folds,
        **({"task": described["task"]} if "task" in described else {}),
    }


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder. `writes` is False in all processes of a parallel run but the first: they only read."""

    out: Path
    writes: bool = True

    @property
    def store(self) -> Path:
        return self.out / ".store"

    @property
    def scratch(self) -> Path:
        return self.store / "fit"

    def fold(self, number: int) -> RunFolder:
        """The folder of one fold's run."""
        return RunFolder(self.out / f"fold-{number}", self.writes)

    @contextlib.contextmanager
    def held(self, listener: Listener) -> Iterator[None]:
        """Lock the folder: a second run waits for the first. Raises StepError when the folder cannot be written."""
        if not self.writes:
            yield
            return
        busy = Warned(
            "waiting", f"another run is at work in {self.out}: waiting for it to end", "or choose another --out"
        )
        with one_at_a_time(self.store / "lock", on_wait=lambda: listener(busy)):
            sweep(self.out)
            sweep(self.store)
            yield

    def begin(self, about: Mapping[str, Any], *, again: bool) -> dict[str, Any] | None:
        """What train.json holds where this very run is finished, else None and the folder is this run's.

        Raises InputError where another run lies there; `again` forgets whatever does.
        """
        if again:
            self._forget()
        else:
            self._require_same(about)
            finished = self._finished(about)
            if finished is not None:
                return finished
        if self.writes:
            make_folder(self.store)
            text = json.dumps({"schema": SCHEMA, "identity": about}, indent=2, ensure_ascii=False)
            write_atomically(self.store / "run.json", text + "\n")
        return None

    def _forget(self) -> None:
        if not self.writes:
            return
        folds = [path.name for path in self.out.glob("fold-*") if (path / ".store" / "run.json").is_file()]
        kept = {"lock"}
        inside = [path for path in self.store.glob("*") if path.name not in kept]
        for path in (*(self.out / name for name in (*OURS, *folds)), *inside):
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error

    def _require_same(self, about: Mapping[str, Any]) -> None:
        try:
            saved = json.loads((self.store / "run.json").read_text(encoding="utf-8"))["identity"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            saved = {}
        differ = [name for name in WORDS if saved.get(name) != about.get(name)]
        if differ and self._has_begun():
            raise InputError(
                "other-run",
                f"{self.out} holds another run",
                why="; ".join(_difference(name, saved.get(name), about.get(name)) for name in differ),
                hint="choose another folder with --out, or forget that run with --again",
            )

    def _has_begun(self) -> bool:
        """Whether there is anything to lose: a run that was refused at its start has left nothing."""
        results = (self.out / name for name in (BEST, LAST, HISTORY, RESULT))
        return any(path.exists() for path in (*results, *self.scratch.glob("*"), *self.out.glob("fold-*")))

    def _finished(self, about: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            result: dict[str, Any] = json.loads((self.out / RESULT).read_text(encoding="utf-8"))
            whole = all(sha256_of(self.out / name) == digest for name, digest in result["files"].items())
            return result if whole and result["run"] == digest_of(about) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def noted(self) -> list[Epoch]:
        """The epochs that an interrupted run has written so far."""
        try:
            epochs = json.loads((self.out / HISTORY).read_text(encoding="utf-8"))["epochs"]
            return [Epoch(**epoch) for epoch in epochs]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def note(self, epochs: list[Epoch], *, device: str = "", best: int = 0, stopped: str = "") -> None:
        """Write history.json anew."""
        about = {"device": device, "best": best, "stopped": stopped, "epochs": [epoch.to_dict() for epoch in epochs]}
        write_atomically(self.out / HISTORY, json.dumps({"schema": SCHEMA, **about}, indent=2) + "\n")

    def finish(self, about: Mapping[str, Any], result: Mapping[str, Any], files: tuple[str, ...]) -> dict[str, Any]:
        """Write train.json, the last of the files, and delete the state of the unfinished run."""
        digests = {name: sha256_of(self.out / name) for name in files}
        whole = {"schema": SCHEMA, "run": digest_of(about), **result, "files": digests}
        write_atomically(self.out / RESULT, json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n")
        shutil.rmtree(self.scratch, ignore_errors=True)
        return whole


def history_of(content: Mapping[str, Any]) -> History:
    """The history in a finished run's train.json."""
    raw = content["history"]
    return History(tuple(Epoch(**epoch) for epoch in raw["epochs"]), raw["device"], raw["best"], raw["stopped"])


def _difference(name: str, then: Any, now: Any) -> str:
    """`the settings: epochs was 10, is now 20`; of digests only that they differ."""
    words = WORDS[name]
    if isinstance(then, dict) and isinstance(now, dict) and name != "data":
        changed = [key for key in {**then, **now} if then.get(key) != now.get(key)]
        return f"{words}: " + ", ".join(
            f"{key} was {_value(then.get(key))}, is now {_value(now.get(key))}" for key in changed
        )
    if name in ("architecture", "seed", "folds"):
        return f"{words} was {_value(then)}, is now {_value(now)}"
    return f"{words} differ" if words.endswith("s") else f"{words} differs"


def _value(value: Any) -> str:
    return "nothing" if value is None else short(str(value), 60)
