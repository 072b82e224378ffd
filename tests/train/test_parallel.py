"""Two real processes learn what one does; only the first speaks and saves; what ends one ends both."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import colours
import pytest
import torch
from colours import Dawdling, net, settings, split

from edgecnn.core.errors import MissingError
from edgecnn.data import ImageSet
from edgecnn.train import fit, parallel
from edgecnn.train.state import LAST

ALIKE = {"epochs": 3, "optimizer": "sgd", "learning_rate": 0.1}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launched(images: ImageSet, out: Path, *more: str, **changes: Any) -> tuple[list[str], dict[str, str]]:
    """The command and the environment for two processes under torchrun, each with the settings `changes`."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    command = [*launcher, colours.__file__, str(images.root), str(out)]
    command += ["--settings", settings(**changes).model_dump_json(), *more]
    return command, {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def together(images: ImageSet, out: Path, *more: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    command, environment = launched(images, out, *more, **changes)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_end_where_one_does(images: ImageSet, tmp_path: Path, accumulate: int) -> None:
    alone = net(plain=True)
    history = fit(alone, split(images), settings=settings(**ALIKE, batch=16), objective=Dawdling(), seed=7)

    chosen = {**ALIKE, "batch": 8 // accumulate, "accumulate": accumulate}
    done = together(images, tmp_path / "out.pt", "--plain", "--scratch", str(tmp_path / "state"), **chosen)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert found["losses"] == pytest.approx([epoch.loss for epoch in history.epochs], rel=1e-5)
    # Each epoch is told of once: by the first process.
    said = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert said == ["epoch 1", "epoch 2", "epoch 3"]
    assert torch.load(tmp_path / "state" / LAST, weights_only=True)["stepper"]["taken"] == 3 * 3


@pytest.mark.slow
def test_a_process_that_fails_ends_the_other(images: ImageSet, tmp_path: Path) -> None:
    done = together(images, tmp_path / "out.pt", "--plain", "--fails", "1", **ALIKE)
    assert done.returncode != 0
    assert "this process fails" in done.stderr
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.slow
def test_weights_that_take_no_part_are_told_of(images: ImageSet, tmp_path: Path) -> None:
    done = together(images, tmp_path / "out.pt", "--plain", "--unused", **ALIKE)
    assert done.returncode != 0
    assert "weights that take no part in its answer" in done.stderr


@pytest.mark.slow
def test_ctrl_c_while_the_first_process_judges_stops_and_saves_all(images: ImageSet, tmp_path: Path) -> None:
    """The others wait for what it finds: it has to tell them to stop before all of them save."""
    state = tmp_path / "state"
    words = ("--plain", "--scratch", str(state), "--judging", "2")
    command, environment = launched(images, tmp_path / "out.pt", *words, **ALIKE, batch=8)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("judging"):
                os.killpg(process.pid, signal.SIGINT)
                break
        process.communicate(timeout=120)
    assert process.returncode != 0
    saved = torch.load(state / LAST, weights_only=True)
    assert (saved["epochs"], saved["done"]) == ([], 3)
    done = together(images, tmp_path / "out.pt", "--plain", "--scratch", str(state), **ALIKE, batch=8)
    assert done.returncode == 0, done.stderr
    assert "batch 6" in done.stdout and "batch 7" not in done.stdout, "the first epoch was learned again"


def test_alone_nothing_is_joined(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parallel.place() == (0, 1)
    with parallel.joined("cpu") as group:
        assert not torch.distributed.is_initialized()
        assert (group.total(1.5, 2), group.of_first(3), group.bytes_of_first(b"x")) == ([1.5, 2], [3], b"x")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert parallel.place() == (3, 4)


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there(images: ImageSet, device: str) -> None:
    with pytest.raises(MissingError) as caught:
        fit(net(), images, settings=settings(device=device))
    assert caught.value.code == "no-device"
    assert device in caught.value.message
