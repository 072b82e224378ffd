"""Ctrl-C once is a wish to stop at the next good moment; twice, it is an order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def noticed() -> Iterator[Interruption]:
    """Inside the block the first SIGINT only sets `asked`; the second does what the first would have done before.

    So does one SIGTERM under torchrun, which sends it to every process when it is interrupted itself. Handlers are
    those of before afterwards. Outside the main thread, and where SIGINT is ignored, nothing changes.
    """
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    before: dict[int, Any] = {}

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if not found.asked:
            found.asked = True
        elif callable(before[number]):
            before[number](number, frame)
        else:
            raise KeyboardInterrupt

    def on_end(number: int, frame: FrameType | None) -> None:
        found.asked = True

    wanted: dict[int, Any] = {signal.SIGINT: on_interrupt}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        wanted[signal.SIGTERM] = on_end
    for number, handler in wanted.items():
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handler)
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
