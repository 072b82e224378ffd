"""Runtimes that work here. Each is tried in a process of its own: a wheel made for a newer CPU takes that down."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .python import python_command
from .system import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "ai_edge_litert.interpreter",
    "tflite_runtime": "tflite_runtime.interpreter",
    "tensorrt": "tensorrt",
    "torch": "torch",
}
"""A package, and the module of it that the backends import."""
TRIAL_S = 120.0
BEAT_S = 5.0
"""Who asked hears of us at least so often."""
WORDS = 300
TRIAL = """
import importlib, json, sys
package, module = sys.argv[1:]
importlib.import_module(module)
if package == "numpy":
    numpy = sys.modules["numpy"]
    assert (numpy.ones((8, 8), numpy.float32) @ numpy.ones((8, 8), numpy.float32)).sum() == 512
try:
    from importlib.metadata import version
    found = version(package.replace("_", "-"))
except Exception:
    found = getattr(sys.modules[package], "__version__", None)
print("\\n" + json.dumps(None if found is None else str(found)))
"""


def try_all(on_try: Callable[[str, int, int], None]) -> dict[str, dict[str, Any]]:
    """By package: `installed`, `version`, `error` (its last words), `signal` (what ended it, such as 4 for SIGILL).

    One after the other: `on_try` is told which, how many were tried, and how many there are; again every few seconds.
    """
    results = {}
    for done, (package, module) in enumerate(MODULES.items()):
        results[package] = try_one(package, module, beat=partial(on_try, package, done, len(MODULES)))
    return results


def try_one(
    package: str, module: str, *, beat: Callable[[], None] = lambda: None, limit_s: float = TRIAL_S
) -> dict[str, Any]:
    """Import one module in a fresh process of this Python. `beat` is called at once and while it takes long."""
    beat()
    if not _is_installed(package):
        return {"installed": False, "version": None, "error": "not installed", "signal": None}
    child = subprocess.Popen(
        python_command(TRIAL, package, module, options=("-W", "ignore")),
        env=clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    answer = _wait(child, beat, limit_s)
    if answer is None:
        return {"installed": True, "version": None, "error": f"no answer in {limit_s:g} s", "signal": None}
    if child.returncode == 0:
        return {"installed": True, "version": _version(answer[0]), "error": "", "signal": None}
    errors = answer[1].decode("utf-8", "replace").strip().splitlines()
    last = errors[-1][:WORDS] if errors else "it ended without a word"
    signal = -child.returncode if child.returncode < 0 else None
    return {"installed": True, "version": None, "error": last, "signal": signal}


def _wait(child: subprocess.Popen[bytes], beat: Callable[[], None], limit_s: float) -> tuple[bytes, bytes] | None:
    """What it said on stdout and stderr; None when it took too long, and was ended."""
    limit = time.monotonic() + limit_s
    try:
        while time.monotonic() < limit:
            try:
                return child.communicate(timeout=min(BEAT_S, limit_s))
            except subprocess.TimeoutExpired:
                beat()
        return None
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # a module of that name that is no package, left by something else
        return False


def _version(said: bytes) -> str | None:
    try:
        version = json.loads(said.decode("utf-8", "replace").splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return version if isinstance(version, str) else None
