"""SSH errors: what ssh prints when it fails, as errors with a code and a way out."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError
from edgecnn.core.third_party import printable

SHOWN_LINES = 12


class _Case(NamedTuple):
    says: str
    code: str
    message: str
    hint: str


CASES = (
    _Case(
        "REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed|REVOKED HOST KEY",
        "host-key-changed",
        "{name} answers with another host key than before: another machine, or a new system on it",
        "ask whoever runs the board; only if the key is meant to be new: {forget}\nand then: {ssh}",
    ),
    _Case(
        "Host key verification failed|No .* host key is known",
        "host-key-unknown",
        "the host key of {name} is not known here yet",
        "{ssh}\nonce, by hand, and compare the fingerprint it shows with the board's: "
        "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    _Case(
        "Permission denied|Too many authentication failures|Authentication failed|no mutual signature",
        "ssh-key-missing",
        "{name} does not let you in with a key",
        "ssh-copy-id {target}\nthen try: {ssh}",
    ),
    _Case(
        "Could not resolve hostname|Name or service not known",
        "ssh-refused",
        "{name}: no machine is called {host}",
        "a name, address or Host of ~/.ssh/config is needed; a port goes there too. Try: {ssh}",
    ),
    _Case(
        "Connection refused",
        "ssh-refused",
        "{name} refuses the connection: no ssh server listens there",
        "on the board: sudo systemctl enable --now ssh; another port goes into ~/.ssh/config",
    ),
    _Case(
        "timed out|No route to host|Network is unreachable|Host is down",
        "ssh-refused",
        "{name} cannot be reached: it is off, or in another network",
        "switch it on, then try: {ssh}",
    ),
    _Case(
        "Bad configuration option|Bad owner or permissions|Can't open user config file|bad configuration options",
        "ssh-config",
        "ssh cannot read its configuration for {name}",
        "{ssh}",
    ),
)


def explain(stderr: bytes, *, name: str, connect: Connect, was_connected: bool) -> EdgecnnError:
    """The error for an ssh that ended with 255.

    MissingError ssh-refused, ssh-key-missing, host-key-unknown, host-key-changed; InputError ssh-config; StepError
    connection-lost when the board had been reached before, or had begun to answer.
    """
    text = printable_tail(stderr)
    host = connect.ssh.rpartition("@")[2].strip("[]")
    words = {"name": name, "host": host, "target": connect.ssh, "ssh": ssh_command(connect)}
    words["forget"] = _forget(text) or f"ssh-keygen -R {host}"
    for case in CASES:
        if re.search(case.says, text):
            family = InputError if case.code == "ssh-config" else MissingError
            why = {"host-key-changed": _offending(text), "ssh-config": text}.get(case.code, _last(text))
            return family(case.code, case.message.format(**words), why=why, hint=case.hint.format(**words))
    if was_connected:
        return StepError(
            "connection-lost",
            f"the connection to {name} was lost",
            why=_last(text),
            hint="look whether the board is on and in the network, then run it again",
        )
    return MissingError("ssh-refused", f"{name} ended the connection", why=text, hint=f"try: {words['ssh']}")


def ssh_command(connect: Connect, *words: str) -> str:
    """What a person types to get there, or to run a command there."""
    config = [] if connect.config is None else ["-F", str(connect.config)]
    return shlex.join(["ssh", *config, connect.ssh, *words])


def printable_tail(raw: bytes) -> str:
    """The last lines, without what a terminal would obey."""
    lines = [line.strip() for line in printable(raw.decode("utf-8", "replace").replace("\r", "\n")).splitlines()]
    return "\n".join([line for line in lines if line][-SHOWN_LINES:])


def _forget(said: str) -> str:
    """The command that ssh itself proposes: it knows the file, and the name with its port."""
    command = re.search(r'ssh-keygen -f "?[\w./~-]+"? -R "?[\w.:%\[\]-]+"?', said)
    return command[0] if command else ""


def _last(said: str) -> str:
    return said.splitlines()[-1] if said else "ssh did not say why"


def _offending(said: str) -> str:
    """`Offending ECDSA key in /home/ann/.ssh/known_hosts:7`, which is what a person must look at."""
    lines = [line for line in said.splitlines() if line.startswith(("Offending", "Host key for"))]
    return "\n".join(lines) or _last(said)
