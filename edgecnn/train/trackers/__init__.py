"""Trackers of a training run: TensorBoard always, others where they are asked for.

A tracker is found by entry point (group `edgecnn.trackers`) and made with the run's folder and name.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from edgecnn.core import plugins
from edgecnn.core.errors import EdgecnnError, MissingError, StepError, install_hint
from edgecnn.core.events import Listener, Warned
from edgecnn.core.third_party import first_line
from edgecnn.train.settings import Epoch

ALWAYS = "tensorboard"
_OTHER = re.compile(r"[^\w./ -]")


class Tracker(Protocol):
    """Writes one run down. `begin` comes first and `end` last; a run that goes on after a break begins again.

    `settings` are JSON values, which may hold others; `status` is finished, failed or interrupted. Any exception ends
    the tracker, never the run.
    """

    @property
    def where(self) -> str:
        """Where it writes, and how that is looked at: one line."""
        ...

    def begin(self, settings: Mapping[str, Any]) -> None: ...
    def epoch(self, number: int, epoch: Epoch) -> None: ...
    def picture(self, name: str, path: Path) -> None: ...
    def artifact(self, path: Path) -> None: ...
    def end(self, status: str) -> None: ...


class Trackers:
    """Several trackers as one, of which none can stop the run: what fails is said once, and left out from then on.

    Raises InputError for a name nobody knows and MissingError for a package that is not installed, before any work.
    """

    def __init__(self, names: Sequence[str], *, folder: Path, name: str, listener: Listener) -> None:
        wanted = dict.fromkeys((ALWAYS, *names))
        self._live: dict[str, Tracker] = {word: plugins.load("trackers", word)(folder, name) for word in wanted}
        self._listener = listener

    @property
    def where(self) -> dict[str, str]:
        return {word: tracker.where for word, tracker in self._live.items()}

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Raises StepError: a tracker that cannot begin was asked for in vain, and nothing is lost yet."""
        for word, tracker in self._live.items():
            try:
                tracker.begin(settings)
            except EdgecnnError:
                raise
            except Exception as error:
                raise StepError(
                    "tracker-failed",
                    f"{word} cannot begin to write this run down",
                    why=first_line(error),
                    hint=f"mend that, or leave out --tracker {word}",
                ) from error

    def epoch(self, number: int, epoch: Epoch) -> None:
        self._each(lambda tracker: tracker.epoch(number, epoch))

    def picture(self, name: str, path: Path) -> None:
        self._each(lambda tracker: tracker.picture(name, path))

    def artifact(self, path: Path) -> None:
        self._each(lambda tracker: tracker.artifact(path))

    def end(self, status: str) -> None:
        self._each(lambda tracker: tracker.end(status))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for word, tracker in list(self._live.items()):
            try:
                call(tracker)
            except Exception as error:
                del self._live[word]
                self._listener(
                    Warned(
                        "tracker-failed",
                        f"{word} failed and is left out from here on: {first_line(error)}",
                        "the training goes on; OUT/history.json has every epoch",
                    )
                )


def metrics(epoch: Epoch) -> dict[str, float]:
    """The numbers of an epoch by name; what is not known is left out."""
    return {name: float(value) for name, value in asdict(epoch).items() if value is not None}


def flat(settings: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Settings as (dotted name, plain value), nested ones unfolded, lists and None as text."""
    for name, value in settings.items():
        path = f"{at}.{name}" if at else _OTHER.sub("_", str(name))
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value if isinstance(value, str | int | float | bool) else str(value)


def require(package: str, extra: str) -> None:
    """Raises MissingError where `package` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingError(
            "missing-extra", f"--tracker {extra} needs {package}, which is not installed", hint=install_hint(extra)
        )
