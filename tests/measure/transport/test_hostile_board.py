"""A board that lies: whatever it sends, the host says so and goes on."""

from __future__ import annotations

import base64
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.core.errors import EdgecnnError, StepError
from edgecnn.measure.board import Board

MakeBoard = Callable[..., Board]
ATTACHED = {"event": "attached", "agent": True, "boot_id": "b"}


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def told(raw: bytes, **other: Any) -> dict[str, Any]:
    return {"bytes": len(raw), "base64": base64.b64encode(raw).decode(), **other}


def done(outputs: Any = None, **other: Any) -> dict[str, Any]:
    return {"event": "result", "state": "done", "result": {}, "outputs": {} if outputs is None else outputs, **other}


@pytest.fixture
def liar(tmp_path: Path, make_board: MakeBoard) -> Callable[..., Board]:
    """`liar(line, line)`: a board whose Python writes these lines, whatever it is asked."""

    def make(*lines: Any, then: str = "") -> Board:
        said = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        (tmp_path / "said").write_bytes(said)
        program = tmp_path / "liar"
        program.write_text(
            f"#!{sys.executable}\nimport sys, shutil\nsys.stdin.read()\n"
            f"shutil.copyfileobj(open({str(tmp_path / 'said')!r}, 'rb'), sys.stdout.buffer)\n"
            f"sys.stdout.flush()\n{then}\n"
        )
        program.chmod(0o755)
        return make_board(python=str(program))

    return make


@pytest.fixture
def caught(tmp_path: Path, latency_job: dict[str, Any], model: Path) -> Callable[..., EdgecnnError]:
    def run(board: Board, on_event: Any = None) -> EdgecnnError:
        with pytest.raises(EdgecnnError) as caught:
            board.run(
                latency_job,
                files={"model": model},
                outputs={"output": tmp_path / "o.npy"},
                on_event=on_event,
                timeout_s=5,
            )
        assert not (tmp_path / "o.npy").exists()
        assert "pi" in caught.value.message
        return caught.value

    return run


@pytest.mark.parametrize(
    "line",
    [
        b"{not json",
        b"{" * 10,
        b'{"event": ' + b"[" * 200_000,
        b'{"event": "phase", "x": ' + b"[" * 700 + b"]" * 700 + b"}",
        b'{"event": "phase", "seq": 0, "x": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"event": "phase", "seq": 0, "x": ' + b'{"y": ' * 60 + b"1" + b"}" * 60 + b"}",
        b'{"event": 3}',
        b'{"event": null}',
        b'{"noevent": 1}',
        b'{"event": "result", "state": "done", "result": {"x": NaN}}',
        b'{"event": "result", "state": "done", "result": {"x": Infinity}}',
        b'{"event": "result", "state": "done", "result": {"x": 1e999}}',
        b'{"event": "result", "x": ' + b"9" * 100_000 + b"}",
        b'{"event": "result", "state": "done", "result": [1]}',
        b'{"event": "result", "state": "done", "result": {}, "outputs": []}',
        b'{"event": "result", "state": "done", "result": {}, "outputs": {}}',
        b'{"event": "result", "state": "elsewhere"}',
        b'{"event": "result"}',
        b'{"event": "result", "state": "missing", "fields": "model"}',
        b'{"event": "result", "state": "missing", "fields": ["../../etc/passwd"]}',
        b'{"event": "result", "state": "missing", "fields": [{"a": 1}]}',
        b'{"event": "phase", "name": "x"}',
        b'{"event": "phase", "name": "x", "seq": "1"}',
        b'{"event": "phase", "name": "x", "seq": 1e3}',
        b'{"event": "phase", "name": "x", "seq": true}',
        b'{"event": "phase", "name": "x", "seq": 7}',
        b'{"event": "\xff\xfe"}',
    ],
)
def test_what_no_probe_says_is_an_error(
    line: bytes, liar: Callable[..., Board], caught: Callable[..., EdgecnnError]
) -> None:
    assert caught(liar(ATTACHED, line)).code == "bad-answer"


def test_a_file_that_stays_missing_is_not_sent_for_ever(
    liar: Callable[..., Board], caught: Callable[..., EdgecnnError], agent_folder: Path
) -> None:
    (agent_folder / "files").mkdir(parents=True)
    board = liar({"event": "result", "state": "missing", "fields": ["model"]})
    assert caught(board).code == "bad-answer"
    assert board.copied_bytes == 5000


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"bytes": "5"},
        {"bytes": -1},
        {"bytes": 5, "base64": 7},
        {"bytes": 5, "base64": "!!!!"},
        {"bytes": 5, "base64": ""},
        told(b"no array"),
        told(npy(np.zeros(4)) + b"more"),
        told(npy(np.zeros(4))[:-1]),
        told(npy(np.zeros(4)).replace(b"(4,)", b"(5,)")),
        told(npy(np.zeros(4)).replace(b"(4,), }          ", b"(999999999999,), }")),
        told(npy(np.zeros((2, 2))).replace(b"(2, 2)", b"(2,-2)")),
        told(npy(np.array([{"a": 1}], object), allow_pickle=True)),
        told(npy(np.array(["text"]))),
        told(npy(np.zeros(2, [("a", "<i4")]))),
        told(npy(np.zeros((1,) * 5))),
        told(npy(np.zeros((2, 3), order="F"))),
        told(npy(np.zeros(2, ">f8"))),
        told(npy(np.zeros(2)).replace(b"{'descr': '<f8'", b"{'descr': __im'")),
    ],
)
def test_an_array_that_is_none_is_never_written(
    output: Any, liar: Callable[..., Board], caught: Callable[..., EdgecnnError]
) -> None:
    error = caught(liar(ATTACHED, done({"output": output})))
    assert error.code in ("bad-answer", "board-sent-too-much")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "<i8", "<i4", "|i1", "|u1"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3, 4)])
def test_plain_arrays_pass(
    dtype: str,
    shape: tuple[int, ...],
    liar: Callable[..., Board],
    latency_job: dict[str, Any],
    tmp_path: Path,
) -> None:
    array = np.ones(shape, dtype)
    board = liar(ATTACHED, done({"output": told(npy(array))}))
    board.run(latency_job, files={}, outputs={"output": tmp_path / "o.npy"}, timeout_s=5)
    assert np.array_equal(np.load(tmp_path / "o.npy"), array)


def test_an_array_bigger_than_any_answer_is_not_fetched(
    liar: Callable[..., Board], caught: Callable[..., EdgecnnError]
) -> None:
    assert caught(liar(ATTACHED, done({"output": {"bytes": 1 << 40}}))).code == "board-sent-too-much"


def test_an_array_is_read_no_further_than_it_was_announced(
    liar: Callable[..., Board], caught: Callable[..., EdgecnnError], agent_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count: "ab" * count)
    folder = agent_folder / "jobs" / ("ab" * 8)
    folder.mkdir(parents=True)
    (folder / "output.npy").write_bytes(bytes(100_000))
    assert caught(liar(ATTACHED, done({"output": {"bytes": 500}}))).code == "board-sent-too-much"
    (folder / "output.npy").write_bytes(bytes(100))
    assert caught(liar(ATTACHED, done({"output": {"bytes": 500}}))).code == "bad-answer"


def test_a_line_without_end_is_cut_short(liar: Callable[..., Board], caught: Callable[..., EdgecnnError]) -> None:
    board = liar(then="while True: sys.stdout.write('{' + 'x' * 65536)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert caught(board).code == "board-sent-too-much"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_events_without_end_are_cut_short(liar: Callable[..., Board], caught: Callable[..., EdgecnnError]) -> None:
    endless = (
        "import json\nfor n in range(10**9):\n"
        "    print(json.dumps({'event': 'phase', 'name': 'x' * 500_000, 'seq': n}))\n"
    )
    begin = time.monotonic()
    assert caught(liar(ATTACHED, then=endless)).code == "board-sent-too-much"
    assert time.monotonic() - begin < 20


def test_stderr_without_end_is_cut_short(liar: Callable[..., Board], caught: Callable[..., EdgecnnError]) -> None:
    assert caught(liar(ATTACHED, then="while True: sys.stderr.write('y' * 65536)")).code == "board-sent-too-much"


def test_texts_cannot_command_the_terminal(liar: Callable[..., Board], caught: Callable[..., EdgecnnError]) -> None:
    evil = "\x1b[2J\x1b]0;title\x07\x1b]8;;http://x\x1b\\gone\u202e\ud800\x00\x9b31m\r\x08"
    seen: list[Any] = []
    error = {"event": "error", "code": "cannot-run", "message": f"bad{evil}", "why": evil, "hint": evil}
    board = liar(ATTACHED, {"event": "phase", "name": evil, "seq": 0, "deep": {evil: [evil]}}, error)
    raised = caught(board, seen.append)
    for text in (str(raised), json.dumps(seen[0], ensure_ascii=False)):
        assert not any(ord(character) < 32 and character != "\n" for character in text)
        assert not set("\x1b\x9b\u202e\ud800") & set(text)
    assert raised.message.startswith("pi: badgone")


def test_an_error_may_be_anything_but_is_one(liar: Callable[..., Board], caught: Callable[..., EdgecnnError]) -> None:
    error = caught(liar(ATTACHED, {"event": "error", "code": ["x"], "message": {"a": "b" * 100_000}, "why": 7}))
    assert isinstance(error, StepError)
    assert error.code == "probe-failed"
    assert len(str(error)) < 10_000


def test_a_greeting_of_the_login_shell_is_passed_over(liar: Callable[..., Board], latency_job: dict[str, Any]) -> None:
    board = liar(b"Welcome to pi!", b"", ATTACHED, done())
    assert board.run({**latency_job}, files={}, outputs={}, timeout_s=5) == {}


def test_a_board_that_never_ends_is_left(
    liar: Callable[..., Board], latency_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.measure.board.job.SHORT_S", 0.2)
    heartbeat = json.dumps({"event": "heartbeat", "agent": True})
    board = liar(ATTACHED, then=f"import time\nwhile True: print({heartbeat!r}, flush=True); time.sleep(0.05)")
    board._agent.patience = replace(board._agent.patience, reconnect_s=0.1)
    with pytest.raises(StepError) as caught:
        board.run(latency_job, files={}, outputs={}, timeout_s=0.5)
    assert caught.value.code == "board-timeout"
