"""Connection to a device: what it says of itself, and which runtimes answer there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgecnn.core.device import DeviceProfile
from edgecnn.core.errors import EdgecnnError
from edgecnn.measure.device import Device, ThisMachine
from edgecnn.measure.wire.answers import DeviceFacts
from edgecnn.measure.wire.events import clean_facts, field_of
from edgecnn.probe import facts as probed

FACTS_TIMEOUT_S = 120.0
RUNTIME_TROUBLE = frozenset(
    {
        *("missing-runtime", "broken-runtime", "old-runtime", "wrong-architecture", "wrong-instruction"),
        *("runtime-mismatch", "probe-crashed", "cuda-unavailable"),
    }
)
"""What keeps one runtime from answering, and leaves the others alone."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where files are run. `facts` are those of `edgecnn.probe.facts.describe`; `runtimes` the versions of the
    backends that were asked for, `missing` the errors of those that did not answer."""

    device: Device
    facts: Mapping[str, Any]
    runtimes: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, EdgecnnError] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        return self.device.local

    @property
    def emulated(self) -> bool:
        """Whether another machine plays the board: then its times say nothing."""
        return bool(self.facts.get("emulated"))

    @property
    def usable_cores(self) -> int:
        """1 where it does not say."""
        return DeviceFacts.read(self.facts).usable_cores or 1

    @property
    def machine(self) -> tuple[Any, ...]:
        """What tells its times from another machine's, and from those before a reboot."""
        return tuple(self.facts.get(key) for key in ("cpu", "cores", "machine", "boot_id"))

    def answers_as(self, backend: str) -> tuple[Any, ...]:
        """What tells this runtime's answers here from another's."""
        return (*(self.facts.get(key) for key in ("machine", "cpu", "libc", "emulated")), self.runtimes.get(backend))


def this_host() -> Connection:
    """This machine; its runtimes are the packages of this Python, so none is asked."""
    return Connection(ThisMachine(), probed.describe())


@contextmanager
def connect(
    profile: DeviceProfile, backends: Iterable[str] = (), *, on_open: Callable[[Device], None] = lambda device: None
) -> Iterator[Connection]:
    """Open the device of a profile, ask it what it is, and refuse one that the profile does not fit.

    Each of `backends` is asked for its version; `on_open` is given the device before it is asked anything. Raises
    EdgecnnError when the device cannot be reached, when it is another board, or when none of `backends` answers.
    """
    from edgecnn.measure.board import open_device
    from edgecnn.measure.checkup import validate_fit

    if profile.local:
        here = this_host()
        on_open(here.device)
        yield here
        return
    with open_device(profile) as device:
        on_open(device)
        facts = _ask(device)
        validate_fit(facts, profile)
        runtimes: dict[str, str] = {}
        missing: dict[str, EdgecnnError] = {}
        for backend in dict.fromkeys(backends):
            try:
                runtimes[backend] = str(DeviceFacts.read(_ask(device, backend=backend)).runtime)
            except EdgecnnError as error:
                if error.code not in RUNTIME_TROUBLE:
                    raise
                missing[backend] = error
        if missing and not runtimes:
            raise next(iter(missing.values()))
        yield Connection(device, facts, runtimes, missing)


def _ask(device: Device, **fields: str) -> dict[str, Any]:
    """Raises StepError bad-answer when what it says are no facts."""
    answer = device.run({"verb": "facts", **fields}, files={}, outputs={}, timeout_s=FACTS_TIMEOUT_S)
    return clean_facts(field_of(answer, "facts", dict, device=device.name))
