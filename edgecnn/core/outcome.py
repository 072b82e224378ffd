"""Outcome of a verdict: PASS, FAIL or INCONCLUSIVE, and the exit code of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
EXIT_CODES: Mapping[str, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
