"""Installation of the probe on a board: once, under the name of its content; run by a fixed command."""

from __future__ import annotations

import hashlib
import re

from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, MissingError, StepError
from edgecnn.measure.probe_archive import PACKAGE, archive_bytes
from edgecnn.measure.transport import Completed, Limits, Transport, checked
from edgecnn.measure.transport.ssh_errors import printable_tail, ssh_command
from edgecnn.probe.python import ISOLATION

OLDEST = (3, 8)
INSTALL_S = 120.0
ANSWER_BYTES = 1 << 16
INSTALL = """
import sys
if sys.version_info < (3, 8):
    sys.stderr.write("edgecnn needs Python 3.8, this is %d.%d\\n" % sys.version_info[:2])
    sys.exit(3)
import hashlib, os
folder, digest = sys.argv[1:]
place = os.path.join(folder, "probe", digest + ".pyz")
os.umask(0o077)
try:
    os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
    content = sys.stdin.buffer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        sys.stderr.write("edgecnn: the probe arrived damaged\\n")
        sys.exit(4)
    with open(place + ".%d.part" % os.getpid(), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(stream.name, place)
except OSError as error:
    sys.stderr.write("edgecnn: cannot write %s: %s\\n" % (place, error))
    sys.exit(5)
"""
"""What a bare board is given to run: constant, and in the Python of long ago, so that an old one can say what it is."""
ABSENT = re.compile(
    r"can't (open file|find '__main__' module)|ZipImportError|zipimport|bad local file header|bad magic"
)
"""What Python says of an archive that is not there or not whole."""


class InstalledProbe:
    """How to call the probe of this edgecnn on a board called `name`, and why it does not answer."""

    def __init__(self, name: str, connect: Connect) -> None:
        self._name = name
        self._connect = connect
        self.python = _relative(connect.python)
        self.folder = _relative(connect.folder)
        self._content = archive_bytes()
        self._digest = hashlib.sha256(self._content).hexdigest()

    @property
    def command(self) -> list[str]:
        return [self.python, "-E", "-B", checked(f"{self.folder}/probe/{self._digest}.pyz")]

    def is_absent(self, completed: Completed) -> bool:
        """Whether `command` ended like this because the archive is not on the board, or not all of it: what is left of
        one is read as a program, an empty one too."""
        stderr = completed.stderr.decode("utf-8", "replace")
        read_as_text = "SyntaxError" in stderr and f".pyz/{PACKAGE}/" not in stderr
        return ABSENT.search(stderr) is not None or read_as_text or (completed.code == 0 and not stderr)

    def install(self, transport: Transport) -> None:
        """Raises MissingError python-missing or python-too-old, StepError wrong-architecture, disk-full, cannot-write
        or damaged-transfer."""
        words = [self.python, "-E", "-c", ISOLATION + INSTALL, self.folder, self._digest]
        completed = transport.run(words, Limits(INSTALL_S, ANSWER_BYTES), stdin=self._content)
        if completed.code:
            raise self.refusal(completed) or StepError(
                "cannot-install", f"{self._name}: cannot put the probe there", why=printable_tail(completed.stderr)
            )

    def refusal(self, completed: Completed) -> EdgecnnError | None:
        """The error for a command that could not be run there at all; None when it is none of those."""
        stderr = printable_tail(completed.stderr)
        reads = f"its answer: {stderr.splitlines()[-1] if stderr else completed.code}"
        python, there = self._connect.python, f"on {self._name}"
        if completed.code == 3 or "SyntaxError" in stderr:
            return MissingError(
                "python-too-old",
                f"{python} {there} is older than {'.'.join(map(str, OLDEST))}",
                why=reads,
                hint=f"install a newer Python there, and name it as `python:` in the device's file, under `connect:`\n"
                f"{self.by_hand(python, '--version')}",
            )
        if "Exec format error" in stderr or "cannot execute binary" in stderr:
            return StepError(
                "wrong-architecture",
                f"{python} {there} is a program for another kind of processor",
                why=reads,
                hint=f"{self.by_hand('uname', '-m')}\nthen install a Python for that",
            )
        if completed.code in (126, 127):
            return MissingError(
                "python-missing",
                f"there is no {python} {there}",
                why=reads,
                hint=f"on the board: sudo apt install python3; or name another one as `python:` in the device's file, "
                f"under `connect:`\n{self.by_hand('which', python)}",
            )
        if completed.code == 5:
            full = re.search("No space left|Disk quota", stderr) is not None
            code, what = ("disk-full", "the disk is full") if full else ("cannot-write", "cannot put the probe there")
            return StepError(code, f"{self._name}: {what}", why=reads, hint=self.by_hand("df", "-h", self.folder))
        if completed.code == 4:
            return StepError("damaged-transfer", f"{self._name}: the probe arrived damaged", why=reads)
        return None

    def by_hand(self, *words: str) -> str:
        """What a person types to run a command on the board."""
        return ssh_command(self._connect, *words)

    def pip_install(self, hint: str) -> str:
        """`pip install X` as a command for the board's Python; any other hint as it is."""
        wanted = re.fullmatch(r"pip install ([\w .<>=!~,'\"\[\]-]+)", hint)
        return self.by_hand(self._connect.python, "-m", "pip", "install", *wanted[1].split()) if wanted else hint


def _relative(path: str) -> str:
    """Commands start in the home folder, and `~` in quotes means nothing to a shell."""
    return path[2:] if path.startswith("~/") else path
