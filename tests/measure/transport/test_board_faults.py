"""What a board lacks, refuses or damages, and a disk that fills up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import MakeBoard, failing
from local_transport import LocalTransport

from edgecnn.core.errors import InputError, MissingError, StepError


def test_no_python_on_the_board(make_board: MakeBoard, runtime_job: dict[str, Any]) -> None:
    error = failing(make_board(python="python9"), runtime_job)
    assert isinstance(error, MissingError)
    assert error.code == "python-missing"
    assert "python:" in error.hint
    assert failing(make_board(python="python9"), {"verb": "facts"}).code == "python-missing"


def test_an_old_python_on_the_board(make_board: MakeBoard, old_python: Path, runtime_job: dict[str, Any]) -> None:
    error = failing(make_board(python=str(old_python)), runtime_job)
    assert isinstance(error, MissingError)
    assert error.code == "python-too-old"
    assert "3.8" in error.message


def test_an_old_python_beside_a_probe_that_is_there(
    make_board: MakeBoard, old_python: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
    assert failing(make_board(python=str(old_python)), runtime_job).code == "python-too-old"


def test_a_python_for_another_processor(make_board: MakeBoard, tmp_path: Path, runtime_job: dict[str, Any]) -> None:
    wrong = tmp_path / "python3"
    wrong.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\x7f" + bytes(64))
    wrong.chmod(0o755)
    error = failing(make_board(python=str(wrong)), runtime_job)
    assert isinstance(error, StepError)
    assert error.code == "wrong-architecture"


def test_no_numpy_on_the_board(
    make_board: MakeBoard, board_python: Path, latency_job: dict[str, Any], model: Path
) -> None:
    (site,) = (board_python.parents[1] / "lib").glob("python*/site-packages")
    (site / "all.pth").unlink()
    error = failing(make_board(), latency_job, model=model)
    assert isinstance(error, MissingError)
    assert error.code == "missing-runtime"
    assert error.hint == f"ssh nowhere {board_python} -m pip install numpy"


def test_a_missing_runtime_says_what_to_type_here(
    make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any, board_python: Path
) -> None:
    fake_runtime("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    error = failing(make_board(), runtime_job)
    assert isinstance(error, MissingError)
    assert error.hint == f"ssh nowhere {board_python} -m pip install onnxruntime"


def test_a_model_the_runtime_refuses_is_named(make_board: MakeBoard, latency_job: dict[str, Any], model: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(StepError) as caught:
        make_board().run(
            {**latency_job, "backend": "onnxruntime"},
            files={"model": model},
            outputs={"output": model.with_name("o.npy")},
            timeout_s=60,
        )
    assert caught.value.code == "cannot-load"
    assert caught.value.message.startswith("pi: ") and str(model) in caught.value.message


def test_a_damaged_probe_is_replaced(
    make_board: MakeBoard, agent_folder: Path, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
    (probe,) = (agent_folder / "probe").iterdir()
    whole = probe.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole + b"\0"):
        probe.write_bytes(damaged)
        make_board().run(runtime_job, files={}, outputs={}, timeout_s=30)
        assert probe.read_bytes() == whole


def test_a_damaged_file_on_the_board_is_sent_again(
    make_board: MakeBoard, model: Path, latency_job: dict[str, Any], tmp_path: Path, agent_folder: Path
) -> None:
    board = make_board()
    for _ in range(2):
        board.run(latency_job, files={"model": model}, outputs={"output": tmp_path / "o.npy"}, timeout_s=30)
        (there,) = (agent_folder / "files").iterdir()
        assert there.read_bytes() == model.read_bytes()
        there.write_bytes(bytes(5000))
    assert board.copied_bytes == 10_000


def test_a_file_that_arrives_damaged_is_an_error(
    make_board: MakeBoard, home: Path, model: Path, latency_job: dict[str, Any], agent_folder: Path
) -> None:
    class Damaging(LocalTransport):
        def put(self, source: Path, target: str) -> None:
            super().put(source, target)
            (home / target).write_bytes(bytes(5000))

    error = failing(make_board(transport=Damaging(home)), latency_job, model=model)
    assert error.code == "damaged-transfer"
    assert not list((agent_folder / "files").iterdir())


def test_a_file_that_is_not_there_is_the_users_to_mend(
    make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    error = failing(make_board(), latency_job, model=tmp_path / "no.onnx")
    assert isinstance(error, InputError)
    assert error.code == "file-missing"


def test_a_model_too_big_for_the_memory(make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)

    board = make_board()
    board._files._digests[(str(huge.resolve()), 1 << 40, huge.stat().st_mtime_ns, huge.stat().st_ino)] = "0" * 64
    error = failing(board, latency_job, model=huge)
    assert error.code == "too-big-for-memory"
    assert str(huge) in error.message and "MB are available" in error.why
    assert board.copied_bytes == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    words = [str(mount), "-t", "tmpfs", "-o", "size=40m", "edgecnn-test", str(folder)]
    if not (mount and umount) or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small tmpfs here: it takes root")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=True)


def test_a_file_that_does_not_fit_is_refused_before_it_travels(
    small_disk: Path, make_board: MakeBoard, latency_job: dict[str, Any], tmp_path: Path
) -> None:
    big = tmp_path / "big.onnx"
    big.write_bytes(bytes(20 << 20))
    board = make_board(transport=LocalTransport(small_disk / "home"))
    error = failing(board, latency_job, model=big)
    assert error.code == "disk-full"
    assert "MB are needed" in error.why
    assert board.copied_bytes == 0


def test_a_disk_that_fills_during_the_job_is_told_as_that(
    small_disk: Path, make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    """The runtime fills the disk to the last byte, and then the worker dies or has much to tell."""
    fill = (
        "import os\n"
        f"with open({str(small_disk / 'ballast')!r}, 'wb', buffering=0) as stream:\n"
        "    try:\n"
        "        while stream.write(bytes(4096)): pass\n"
        "    except OSError: pass\n"
    )
    transport = LocalTransport(small_disk / "home")
    for end in ("os._exit(1)", "raise RuntimeError('cannot write its cache')", "__version__ = 'x' * 300000"):
        fake_runtime(fill + end)
        error = failing(make_board(transport=transport), runtime_job)
        assert error.code == "disk-full", end
        (small_disk / "ballast").unlink()


def test_a_disk_that_is_full_before_the_job(
    small_disk: Path, make_board: MakeBoard, runtime_job: dict[str, Any], fake_runtime: Any
) -> None:
    fake_runtime("__version__ = '1'")
    transport = LocalTransport(small_disk / "home")
    (small_disk / "ballast").write_bytes(bytes((40 << 20) - 8192))
    assert failing(make_board(transport=transport), runtime_job).code == "disk-full"
    (small_disk / "ballast").unlink()
    make_board(transport=transport).run(runtime_job, files={}, outputs={}, timeout_s=30)
    with (small_disk / "ballast").open("wb", buffering=0) as stream, pytest.raises(OSError, match="space"):
        while True:
            stream.write(bytes(4096))
    assert failing(make_board(transport=transport), runtime_job).code == "disk-full"
    assert make_board(transport=transport).run({"verb": "facts"}, files={}, outputs={}, timeout_s=30)["facts"]
