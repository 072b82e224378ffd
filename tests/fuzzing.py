"""Fuzzing of parsers: how many examples, always the same ones, and bytes that were a file once."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(count: int) -> settings:
    """Settings for `count` examples that are the same in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=slow, print_blob=False
    )


def damaged(*files: bytes) -> st.SearchStrategy[bytes]:
    """One of `files` with some bytes replaced, doubled, taken out or cut off."""

    def change(raw: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, other in edits:
            start = at % (len(raw) + 1)
            raw = raw[:start] + other + raw[start + length :]
        return raw

    edit = st.tuples(st.integers(0, 1 << 20), st.integers(0, 40), st.binary(max_size=12))
    some = st.builds(change, st.sampled_from(files), st.lists(edit, min_size=1, max_size=4))
    return some | st.builds(lambda raw, end: raw[: end % len(raw)], st.sampled_from(files), st.integers(0, 1 << 20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
"""Whatever JSON, YAML and pickles can say."""
