"""A request that no inputs could make right is refused before any work."""

from __future__ import annotations

import pytest


def test_a_latency_budget_for_a_board_that_is_not_asked_is_refused(bench, invoke) -> None:
    ended = invoke(
        "plan", *bench.source, "--data", str(bench.data), "--target", "raspberry-pi-5", "--max-latency", "5ms"
    )
    assert (ended.code, ended.error) == (2, "unmeasurable-budget")


@pytest.mark.parametrize(("flag", "text"), [("--max-drop", "two"), ("--max-latency", "5 apples"), ("--max-size", "-1")])
def test_budgets_that_cannot_be_read(bench, invoke, flag: str, text: str) -> None:
    ended = invoke("plan", *bench.source, "--data", str(bench.data), flag, text)
    assert (ended.code, ended.error) == (2, f"bad{flag[1:]}")
