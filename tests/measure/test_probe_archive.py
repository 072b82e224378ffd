from __future__ import annotations

import os
import zipfile

from edgecnn.measure.probe_archive import archive_bytes, probe_archive


def test_the_same_sources_give_the_same_bytes() -> None:
    assert archive_bytes() == archive_bytes() == probe_archive().read_bytes()


def test_it_holds_the_probe_and_nothing_above_it() -> None:
    with zipfile.ZipFile(probe_archive()) as archive:
        names = archive.namelist()
    assert names == sorted(names)
    assert {"__main__.py", "edgecnn_probe/normalise.py", "edgecnn_probe/backends/onnxruntime.py"} <= set(names)
    assert all(name == "__main__.py" or name.startswith("edgecnn_probe/") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_nobody_else_can_replace_it() -> None:
    assert os.stat(probe_archive().parent).st_mode & 0o077 == 0  # noqa: PTH116
