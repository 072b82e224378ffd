"""Import of a runtime: absent, made for another machine, or broken are told apart."""

from __future__ import annotations

import platform
import re
from importlib import import_module
from typing import Any

from ..errors import ProbeError, first_line

FOREIGN = re.compile(
    r"wrong ELF class|invalid ELF header|[Ee]xec format error|incompatible architecture|is not a valid Win32"
)
OLD_SYSTEM = re.compile(r"version `(GLIBC(?:XX)?_[\d.]+)' not found")
MISSING_LIBRARY = re.compile(r"(\S+): cannot open shared object file")


def import_runtime(module: str, *, backend: str, package: str, hint: str) -> Any:
    """The module. Raises ProbeError missing-runtime when it is not installed, wrong-architecture when it was made for
    another machine or a newer system, broken-runtime when it does not start. An illegal instruction ends the process:
    who started it sees the signal."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(backend, package, error, hint) from error
    except Exception as error:  # ImportError and OSError from the loader, anything from a package's own start
        raise why_not(error, backend=backend, package=package, hint=hint) from error


def why_not(error: BaseException, *, backend: str, package: str, hint: str) -> ProbeError:
    """What a failed import means."""
    message = str(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing(backend, package, error, hint)
    if FOREIGN.search(message) or OLD_SYSTEM.search(message):
        libc = " ".join(platform.libc_ver()).strip() or "an unknown C library"
        return ProbeError(
            "wrong-architecture",
            f"the package {package} on this machine was made for another one",
            f"{first_line(error)}; this is {platform.machine()} with {libc}",
            f"install it here, not elsewhere: {hint}",
        )
    library = MISSING_LIBRARY.search(message)
    why = f"the library {library.group(1)} is missing" if library else f"{type(error).__name__}: {first_line(error)}"
    return ProbeError("broken-runtime", f"the package {package} does not start", why, hint)


def _missing(backend: str, package: str, error: BaseException, hint: str) -> ProbeError:
    return ProbeError("missing-runtime", f"backend {backend} needs the package {package}", first_line(error), hint)
