"""The other stubs speak as they should: rooms that read sensors rely on them."""

from __future__ import annotations

import subprocess

from jetson_stubs import Jetson


def test_tegrastats_repeats_its_lines(jetson: Jetson) -> None:
    path = jetson.tegrastats(["RAM 1/2MB", "RAM 2/2MB"])
    with subprocess.Popen([str(path), "--interval", "10"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        process.terminate()
    assert lines == ["RAM 1/2MB", "RAM 2/2MB", "RAM 1/2MB"]


def test_nvpmodel_tells_and_changes_the_mode(jetson: Jetson) -> None:
    path = str(jetson.nvpmodel(mode=2))
    assert subprocess.check_output([path, "-q"], text=True) == "NV Power Mode: MAXN_SUPER\n2\n"
    subprocess.check_call([path, "-m", "0"])
    assert subprocess.check_output([path, "-q"], text=True) == "NV Power Mode: 15W\n0\n"
