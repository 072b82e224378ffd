"""A folder of stubs that speak as NVIDIA's programs on a Jetson do: trtexec, tegrastats, nvpmodel. None of them is one.

`Jetson(folder).trtexec("10.16.2", mode="parser-error")` gives the path of a stub for a version and a way to fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "probe" / "jetson"
FLAGS = {"8.5.2": "8.5", "8.6.1": "8.6.1", "10.3.0": "10.3.0", "10.16.2": "10.16", "11.1.0": "11.1"}
"""The versions there are stubs for, by the name of their list of flags in `data/`."""
BUILDS = {"10.16.2": "10", "11.1.0": "106"}
MODES = {"0": "15W", "1": "25W", "2": "MAXN_SUPER"}


class Jetson:
    """`bin` is the folder with the programs, to stand first on a PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "jetson-bin"
        self.bin.mkdir(parents=True)
        self._calls = folder / "trtexec-calls.jsonl"

    def trtexec(self, version: str = "10.3.0", /, **about: Any) -> Path:
        """`mode` is a key of ERRORS or BROKEN in the stub, killed, illegal-instruction, hangs or writes-no-engine;
        `latency_ms` what a query takes."""
        fields = {"version": version, "build": BUILDS.get(version), "calls": str(self._calls), "gpu": "Orin"}
        flags = HERE / "data" / f"trtexec_flags_v{FLAGS[version]}.txt"
        return self._install("trtexec", {**fields, "flags": str(flags), "compute_capability": "8.7", **about})

    def tegrastats(self, lines: Sequence[str]) -> Path:
        """Prints these lines in turn."""
        source = self.bin / "tegrastats.lines"
        source.write_text("\n".join(lines) + "\n")
        return self._install("tegrastats", {"lines": str(source)})

    def nvpmodel(self, mode: int = 2, modes: dict[str, str] | None = None) -> Path:
        return self._install("nvpmodel", {"mode": mode, "modes": modes or MODES})

    def calls(self) -> list[list[str]]:
        """What trtexec was called with so far, `--help` left out."""
        if not self._calls.exists():
            return []
        calls = [json.loads(line) for line in self._calls.read_text().splitlines()]
        return [call for call in calls if call != ["--help"]]

    def _install(self, name: str, about: dict[str, Any]) -> Path:
        program = self.bin / name
        (self.bin / f"{name}.json").write_text(json.dumps(about))
        source = (HERE / "stubs" / f"{name}.py").read_text()
        program.write_text(f"#!{sys.executable} -ISB\n{source}")
        program.chmod(0o755)
        return program
