"""Measurement profiles (`smoke`, `quick`, …): more processes and samples allow stronger claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgecnn.core.errors import InputError, did_you_mean


@dataclass(frozen=True, slots=True)
class Profile:
    """`processes` fresh processes for each candidate; in each, at least `min_iterations` samples and `min_s`, at most
    `max_s`, after a warm-up of at least 10 runs and `warmup_s`. Before each, the board may cool for `cool_s` at
    most."""

    name: str
    processes: int
    min_iterations: int
    min_s: float
    max_s: float
    warmup_s: float = 1.0
    cool_s: float = 0.0

    def job_fields(self) -> dict[str, Any]:
        """The `warmup` and `measure` fields of a latency job; the warm-up is capped at 10 times its least length."""
        return {
            "warmup": {
                "min_runs": 10,
                "min_s": self.warmup_s,
                "max_s": 10 * self.warmup_s,
                "max_runs": 300,
                "limit_s": self.max_s,
            },
            "measure": {"min_iterations": self.min_iterations, "min_s": self.min_s, "max_s": self.max_s},
        }

    @property
    def timeout_s(self) -> float:
        """When to give up on one process: loading may be slow on a board, so this is generous."""
        return 300 + 4 * self.max_s + self.cool_s


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("smoke", 1, 30, 1.0, 20.0, warmup_s=0.3),
        Profile("quick", 3, 100, 3.0, 60.0, cool_s=10.0),
        Profile("standard", 5, 662, 10.0, 120.0, cool_s=60.0),
        Profile("mlperf", 3, 1024, 600.0, 1800.0, cool_s=60.0),
    )
}


def profile_named(name: str) -> Profile:
    """The profile called `name`. Raises InputError unknown-profile with the nearest names."""
    if name not in PROFILES:
        raise InputError("unknown-profile", f"no profile is called '{name}'", hint=did_you_mean(name, list(PROFILES)))
    return PROFILES[name]
