from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from edgecnn.probe import facts


def test_this_machine_is_described_in_json_types() -> None:
    found = facts.describe()
    assert found["cores"] >= found["usable_cores"] >= 1
    assert (found["numpy"], found["bits"]) == (np.__version__, 8 * struct.calcsize("P"))
    assert json.loads(json.dumps(found)) == found


def test_describing_takes_little_time() -> None:
    """It is part of every job."""
    begin = time.perf_counter()
    facts.describe()
    assert time.perf_counter() - begin < 0.5


def test_others_load_is_what_is_left_of_busy_time() -> None:
    before = {"busy_s": 100.0, "own_s": 1.0, "wall_s": 50.0}
    cores = os.cpu_count() or 1
    after = {"busy_s": 100.0 + 3.0 * cores, "own_s": 1.0 + 1.0 * cores, "wall_s": 60.0}
    assert facts.other_load(before, after) == pytest.approx(0.2)
    assert facts.other_load(before, {**after, "busy_s": None}) is None
    assert facts.other_load(before, {**after, "busy_s": 100.0}) == 0.0
    assert facts.other_load(before, before) is None


def test_our_own_load_is_cpu_time_by_wall_time() -> None:
    before = {"busy_s": None, "own_s": 1.0, "wall_s": 50.0}
    assert facts.own_load(before, {**before, "own_s": 7.0, "wall_s": 60.0}) == pytest.approx(0.6)
    assert facts.own_load(before, before) is None


def test_peak_memory_sees_an_array_come() -> None:
    """In a process of its own: where the kernel cannot reset the peak, an earlier test's would hide the array."""
    program = """if True:
        import json, sys
        import numpy as np
        from edgecnn.probe import facts

        before = facts.peak_rss_bytes()
        block = np.ones(8_000_000)
        print(json.dumps([before, facts.peak_rss_bytes(), block.nbytes]))
    """
    before, after, nbytes = json.loads(subprocess.check_output([sys.executable, "-c", program]))
    assert after - before > 0.8 * nbytes


def test_a_reset_peak_is_no_larger_than_before() -> None:
    block = np.ones(8_000_000)
    del block
    before = facts.peak_rss_bytes()
    facts.reset_peak_rss()
    after = facts.peak_rss_bytes()
    assert before is not None and after is not None
    assert 0 < after <= before


def test_a_load_reading_has_no_negative_time() -> None:
    one, two = facts.load(), facts.load()
    assert two["wall_s"] >= one["wall_s"] and two["own_s"] >= one["own_s"]
