"""Probe archive: one file that any Python runs; the same sources give the same bytes."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import edgecnn.probe
from edgecnn.core.temporary import lasting_folder
from edgecnn.formats.registry import backend_source, known_formats

EPOCH = (1980, 1, 1, 0, 0, 0)
PACKAGE = "edgecnn_probe"
STARTER = f"import sys\n\nfrom {PACKAGE}.__main__ import main\n\nsys.exit(main())\n"


@cache
def probe_archive() -> Path:
    """`probe.pyz` in a private folder that goes when this process ends."""
    path = lasting_folder("probe") / "probe.pyz"
    path.write_bytes(archive_bytes())
    return path


def archive_bytes() -> bytes:
    """The zip itself, independent of clock, user and file order."""
    sources = {"__main__.py": STARTER.encode(), **_sources()}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(sources):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, sources[name], zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def _sources() -> dict[str, bytes]:
    folder = Path(edgecnn.probe.__path__[0])
    sources = {f"{PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in folder.rglob("*.py")}
    added = [item.backend for item in known_formats() if item.backend_module]
    return {**sources, **{f"{PACKAGE}/backends/{name}.py": backend_source(name).read_bytes() for name in added}}
