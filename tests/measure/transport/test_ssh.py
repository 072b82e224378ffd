"""The real ssh and scp against a real server."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.core.device import Connect
from edgecnn.core.errors import EdgecnnError, InputError, MissingError, StepError
from edgecnn.measure.transport import Limits
from edgecnn.measure.transport.ssh import OPTIONS, SshTransport
from edgecnn.measure.transport.ssh_errors import explain

WORDS = ["a b", "$HOME", "'; touch /tmp/x; '", "*", "`id`", '"', "\\", "-n", "~", "ü"]


def failing(transport: SshTransport) -> EdgecnnError:
    with pytest.raises(EdgecnnError) as caught:
        transport.run(["true"], Limits(30, 100))
    transport.close()
    return caught.value


@pytest.fixture
def there(sshd: Any) -> SshTransport:
    return SshTransport(sshd.connect, name="pi")


def test_a_command_there_and_back(there: SshTransport) -> None:
    done = there.run(["sh", "-c", "cat; echo words >&2; exit 3"], Limits(30, 100), stdin=b"given")
    assert (done.code, done.stdout, done.stderr) == (3, b"given", b"words\n")
    there.close()


def test_no_word_is_read_by_the_shell_there(there: SshTransport) -> None:
    done = there.run(["printf", "%s|", *WORDS], Limits(30, 1000))
    assert done.stdout.decode() == "".join(word + "|" for word in WORDS)
    there.close()


def test_lines_come_as_they_are_written(there: SshTransport) -> None:
    came: list[tuple[bytes, float]] = []
    there.run(
        ["sh", "-c", "echo one; sleep 0.3; echo two"],
        Limits(30, 100),
        on_line=lambda line: came.append((line, time.monotonic())),
    )
    assert [line for line, _at in came] == [b"one", b"two"]
    assert came[1][1] - came[0][1] > 0.2
    there.close()


def test_files_there_and_back(there: SshTransport, tmp_path: Path) -> None:
    source = tmp_path / "with : and blank"
    source.write_bytes(os.urandom(300_000))
    target = str(tmp_path / "arrived.part")
    there.put(source, target)
    assert there.get(target, limit_bytes=300_000) == source.read_bytes()
    with pytest.raises(StepError) as caught:
        there.get(target, limit_bytes=299_999)
    assert caught.value.code == "board-sent-too-much"
    with pytest.raises(StepError) as caught:
        there.put(source, str(tmp_path / "no" / "folder" / "x"))
    assert caught.value.code == "cannot-copy"
    there.close()


@pytest.mark.parametrize("path", ["a b", "$(id)", "a;b", "-o", "a'b", "", "a\nb", "a*"])
def test_paths_that_a_shell_might_read_are_refused(path: str, tmp_path: Path) -> None:
    transport = SshTransport(Connect(ssh="nowhere"), name="pi")
    for call in (lambda: transport.put(tmp_path / "x", path), lambda: transport.get(path, limit_bytes=1)):
        (tmp_path / "x").write_text("")
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == "bad-path"
    transport.close()


def test_one_connection_serves_all_and_ends_with_the_transport(there: SshTransport, sshd: Any) -> None:
    there.run(["true"], Limits(30, 100))
    (master,) = there._folder.iterdir()
    assert there._folder.stat().st_mode & 0o777 == 0o700
    sshd.lock_out()  # a second connection would not be let in
    assert there.run(["true"], Limits(30, 100)).code == 0
    assert master.is_socket()
    there.close()
    there.close()
    assert not there._folder.exists()


def test_nothing_of_the_users_safety_is_weakened(there: SshTransport) -> None:
    assert OPTIONS["StrictHostKeyChecking"] == "yes" and OPTIONS["BatchMode"] == "yes"
    assert {OPTIONS[key] for key in ("ForwardAgent", "ForwardX11", "PasswordAuthentication")} == {"no"}
    words = there._ssh("-T")
    assert words[0] == "ssh" and words[-2] == "--"
    assert len(str(there._folder)) + 58 <= 104
    there.close()


def test_a_command_and_silence_of_the_users_configuration_do_not_stand_in_the_way(sshd: Any) -> None:
    """`RemoteCommand tmux` suits a terminal, and `LogLevel QUIET` keeps from us why it failed."""
    config = sshd.connect.config
    config.write_text(config.read_text() + " RemoteCommand tmux attach\n LogLevel QUIET\n")
    transport = SshTransport(sshd.connect, name="pi")
    assert transport.run(["echo", "here"], Limits(30, 100)).stdout == b"here\n"
    transport.close()
    sshd.distrust()
    assert failing(SshTransport(sshd.connect, name="pi")).code == "host-key-unknown"


def test_too_much_ends_the_command(there: SshTransport) -> None:
    begin = time.monotonic()
    with pytest.raises(StepError) as caught:
        there.run(["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyy; done"], Limits(30, 10_000))
    assert caught.value.code == "board-sent-too-much"
    assert time.monotonic() - begin < 10
    there.close()


def test_time_and_silence_have_an_end(there: SshTransport) -> None:
    for limits, code in ((Limits(0.6, 100), "board-timeout"), (Limits(30, 100, silence_s=0.6), "board-silent")):
        with pytest.raises(StepError) as caught:
            there.run(["sleep", "20"], limits)
        assert caught.value.code == code
    assert there.run(["echo", "still"], Limits(30, 100)).stdout == b"still\n"
    there.close()


def test_a_cut_connection_is_lost_and_found_again(there: SshTransport, sshd: Any) -> None:
    there.run(["true"], Limits(30, 100))

    def cut(line: bytes) -> None:
        sshd.cut()

    with pytest.raises(StepError) as caught:
        there.run(["sh", "-c", "echo go; sleep 20"], Limits(30, 100), on_line=cut)
    assert caught.value.code == "connection-lost"
    assert there.run(["true"], Limits(30, 100)).code == 0
    there.close()


def test_an_unknown_host_key_says_how_to_meet(there: SshTransport, sshd: Any) -> None:
    sshd.distrust()
    error = failing(there)
    assert isinstance(error, MissingError)
    assert error.code == "host-key-unknown"
    assert "ssh -F" in error.hint and "fingerprint" in error.hint


def test_a_changed_host_key_is_refused_and_the_line_named(there: SshTransport, sshd: Any, tmp_path: Path) -> None:
    sshd.stop()
    sshd.change_host_key()
    sshd.start()
    error = failing(there)
    assert error.code == "host-key-changed"
    assert str(tmp_path / "sshd" / "known_hosts") + ":1" in error.why
    assert "ssh-keygen" in error.hint and f"[127.0.0.1]:{sshd.port}" in error.hint
    assert "only if" in error.hint


def test_a_missing_key_says_how_to_bring_one(there: SshTransport, sshd: Any) -> None:
    sshd.lock_out()
    error = failing(there)
    assert isinstance(error, MissingError)
    assert error.code == "ssh-key-missing"
    assert "ssh-copy-id" in error.hint


def test_nobody_listening_is_refused(there: SshTransport, sshd: Any) -> None:
    sshd.stop()
    error = failing(there)
    assert isinstance(error, MissingError)
    assert error.code == "ssh-refused"
    assert "Connection refused" in error.why


def test_a_port_that_is_no_ssh_server_is_refused(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(10)
        config = tmp_path / "config"
        config.write_text(f"Host board\n HostName 127.0.0.1\n Port {server.getsockname()[1]}\n")
        transport = SshTransport(Connect(ssh="board", config=config), name="pi")

        def hang_up() -> None:
            server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        error = failing(transport)
    assert error.code == "ssh-refused"


def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    error = failing(SshTransport(Connect(ssh="pi@board.invalid", config=tmp_path / "config"), name="pi"))
    assert error.code == "ssh-refused"
    assert "board.invalid" in error.message


def test_a_broken_configuration_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Sesame open\n")
    error = failing(SshTransport(Connect(ssh="pi", config=tmp_path / "config"), name="pi"))
    assert isinstance(error, InputError)
    assert error.code == "ssh-config"
    assert "sesame" in error.why.lower()


def test_no_ssh_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    transport = SshTransport(Connect(ssh="pi"), name="pi")
    monkeypatch.setenv("PATH", str(tmp_path))
    error = failing(transport)
    assert isinstance(error, MissingError)
    assert error.code == "ssh-missing"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ssh: connect to host pi port 22: Connection timed out", "ssh-refused"),
        ("ssh: connect to host pi port 22: No route to host", "ssh-refused"),
        ("Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures", "ssh-key-missing"),
        ("No ED25519 host key is known for pi and you have requested strict checking.", "host-key-unknown"),
        ("mux_client_request_session: read from master failed: Broken pipe", "connection-lost"),
        ("client_loop: send disconnect: Broken pipe", "connection-lost"),
        ("", "connection-lost"),
    ],
)
def test_what_ssh_says_has_a_name(said: str, code: str) -> None:
    assert explain(said.encode(), name="pi", connect=Connect(ssh="pi"), was_connected=True).code == code


def test_what_the_other_side_says_cannot_command_the_terminal() -> None:
    said = b"\x1b]0;owned\x07\x1b[31mPermission denied (publickey).\x1b[0m\xe2\x80\xae"
    error = explain(said, name="pi", connect=Connect(ssh="pi"), was_connected=False)
    assert error.why == "Permission denied (publickey)."


def test_addresses_of_the_sixth_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for written in ("pi@[fe80::1%eth0]", "pi@fe80::1%eth0"):
        transport = SshTransport(Connect(ssh=written), name="pi")
        assert transport._ssh()[-1] == "pi@fe80::1%eth0"
        assert transport._scp_host == "pi@[fe80::1%eth0]"
        transport.close()


def test_leaving_a_call_ends_its_command(there: SshTransport, wait_for: Callable[[Callable[[], bool]], None]) -> None:
    def interrupt(line: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        there.run(["sh", "-c", "echo go; sleep 20"], Limits(30, 100), on_line=interrupt)
    assert there.run(["true"], Limits(30, 100)).code == 0
    there.close()
