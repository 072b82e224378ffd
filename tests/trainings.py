"""A training of the workbench's network: its command line, and what it leaves."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from workbench import FLAGS, Workbench

RESNET = "edgecnn.train.resnet_small:resnet_small"
FILES = ("best.safetensors", "confusion.png", "history.json", "last.safetensors", "train.json")


def words(bench: Workbench, out: Path, *more: str, data: Path | None = None, epochs: int = 3) -> list[str]:
    """A training of the workbench's network that takes half a second."""
    settings = ["--epochs", str(epochs), "--batch", "20", "--lr", "0.02", "--device", "cpu", "--workers", "0"]
    return ["train", str(data or bench.data), "--arch", bench.model, *FLAGS, *settings, "--out", str(out), *more]


def copy(trained: Path, place: Path) -> Path:
    return Path(shutil.copytree(trained, place))


def weights(file: Path) -> dict[str, bytes]:
    """Tensor by tensor; the order of the metadata in the file is not ours to say."""
    from safetensors.numpy import load_file

    return {name: value.tobytes() for name, value in load_file(file).items()}


def interrupt(argv: list[str], *, at: str) -> str:
    """Press Ctrl-C where stderr shows a line that begins so; give all of stderr."""
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith(at):
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.read()
    assert process.returncode == 130, said
    return said
