"""Exit codes of a worker that ended without a result, explained by the kernel's counters and its log."""

from __future__ import annotations

import signal

from .errors import ProbeError

LOG_LINES = 12
SIGILL, SIGKILL = 4, 9
"""Everywhere; the host that reads this may be one whose `signal` has no such names."""


def explain(
    code: int, *, title: str, backend: str = "", log: str = "", out_of_memory: bool | None = None
) -> ProbeError:
    """The error for a worker that ended with `code` (negative: the signal), as subprocess counts.

    `title` names the job, `log` is the end of its stderr, `out_of_memory` whether the kernel's counter of kills rose
    meanwhile, None where it was not read. Codes: out-of-memory, probe-killed, wrong-instruction, probe-crashed.
    """
    if code == -SIGKILL:
        return _killed(title, log, out_of_memory)
    if code == -SIGILL:
        return ProbeError(
            "wrong-instruction",
            f"{title} used an instruction that this CPU does not have (SIGILL)",
            log or "the runtime was built for a newer CPU",
            f"install another version of {backend or 'the runtime'}",
        )
    how = signal_name(-code) if code < 0 else f"exit code {code}"
    return ProbeError("probe-crashed", f"{title} ended without a result ({how})", log)


def tail(log: bytes) -> str:
    """The last lines."""
    return "\n".join(log.decode("utf-8", "replace").splitlines()[-LOG_LINES:])


def _killed(title: str, log: str, out_of_memory: bool | None) -> ProbeError:
    if out_of_memory:
        return ProbeError(
            "out-of-memory",
            f"{title} was killed because memory ran out",
            log or "the kernel's count of such kills rose meanwhile",
            "close other programs there, add swap, or try a smaller model or batch",
        )
    if out_of_memory is None:
        return ProbeError(
            "probe-killed",
            f"{title} was killed, probably because memory ran out",
            log or "the process ended with signal 9 (SIGKILL)",
            "close other programs or add swap, then run again",
        )
    return ProbeError(
        "probe-killed",
        f"{title} was killed by somebody",
        log or "the process ended with signal 9 (SIGKILL), and not because memory ran out",
        "run it again",
    )


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; the number where this system has no name for it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
