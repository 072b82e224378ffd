"""Interruption by Ctrl-C or SIGTERM: the first stops the training at the next good moment, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.asked = False
        self.number: int = signal.SIGINT

    def error(self) -> KeyboardInterrupt:
        """What stopping raises: a KeyboardInterrupt that carries the signal's number."""
        return KeyboardInterrupt(self.number)


@contextmanager
def noticed() -> Iterator[Interruption]:
    """Inside the block the first SIGINT or SIGTERM only sets `asked`; the second does what the first would have done
    before, or raises KeyboardInterrupt.

    Under torchrun every one of them only sets `asked`: one Ctrl-C comes twice there, from the terminal and from
    torchrun, which itself ends what takes too long. Handlers are those of before afterwards. Outside the main thread,
    and for signals that are ignored, nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before: dict[int, Any] = {}

    launched = "TORCHELASTIC_RUN_ID" in os.environ

    def on_signal(number: int, frame: FrameType | None) -> None:
        if launched or not interruption.asked:
            interruption.asked, interruption.number = True, number
        elif callable(before[number]):
            before[number](number, frame)
        else:
            raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, on_signal)
    try:
        yield interruption
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
