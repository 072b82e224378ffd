"""How a worker ended, by its exit code and the kernel's counter."""

from __future__ import annotations

import pytest

from edgecnn.probe.ending import explain


@pytest.mark.parametrize(
    ("code", "out_of_memory", "expected"),
    [
        (-9, True, "out-of-memory"),
        (-9, False, "probe-killed"),
        (-9, None, "probe-killed"),
        (-4, False, "wrong-instruction"),
        (-4, True, "wrong-instruction"),
        (-11, False, "probe-crashed"),
        (3, True, "probe-crashed"),
        (0, False, "probe-crashed"),
        (-99, False, "probe-crashed"),
    ],
)
def test_ends_have_names(code: int, out_of_memory: bool | None, expected: str) -> None:
    assert explain(code, title="x", log="words", out_of_memory=out_of_memory).code == expected
