"""A checkpoint of four outputs, the images it was trained on, and the command in a process of its own."""

from __future__ import annotations

import atexit
import fcntl
import json
import multiprocessing
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("checks", "columns", "rows", "spot")
SIDE = 32
TRAIN_PER_CLASS, VAL_PER_CLASS = 10, 15

TINY = '''
import torch
from torch import nn


class Tiny(nn.Module):
    """Two convolutions, one of them depthwise-separable: what INT8 has to survive, in a millisecond."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.features(x)), 1))


def tiny(num_classes=4):
    return Tiny(num_classes)
'''
MEAN, STD = "0.5,0.5,0.5", "0.25,0.25,0.25"
FLAGS = ("--resize", "none", "--crop", str(SIDE), "--mean", MEAN, "--std", STD)


@dataclass(frozen=True)
class Workbench:
    """What every test starts from; read, never written."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "tiny.pth"

    @property
    def data(self) -> Path:
        return self.folder / "patterns"

    @property
    def model(self) -> str:
        return f"{self.folder / 'tiny.py'}:tiny"

    @property
    def source(self) -> list[str]:
        """Checkpoint, network and preprocessing, as arguments."""
        return [str(self.checkpoint), "--model", self.model, *FLAGS]

    def optimize(self, out: Path, *more: str, data: Path | None = None) -> list[str]:
        """An `optimize` that decides quickly: a smoke measurement and a budget that 60 images can prove."""
        images = ["--data", str(data or self.data), "--profile", "smoke", "--max-drop", "10%"]
        return ["optimize", *self.source, *images, "--out", str(out), *more]


def pattern(kind: str, rng: np.random.Generator) -> np.ndarray:
    """A noisy two-coloured pattern, uint8 (32, 32, 3)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    period, phase = rng.integers(4, 7), rng.integers(0, 6)
    across, down = ((columns + phase) // period) % 2, ((rows + phase) // period) % 2
    middle = rng.integers(12, 20, 2)
    spot = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < rng.integers(50, 90)
    chosen = {"checks": across ^ down, "columns": across, "rows": down, "spot": spot.astype(int)}[kind]
    colours = np.stack([rng.integers(0, 90, 3), rng.integers(160, 256, 3)])
    return np.clip(colours[chosen] + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def write_images(folder: Path, count: int, *, seed: int, classes: Sequence[str] = CLASSES) -> None:
    """`count` PNG files for each class, in a folder per class."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(pattern(name, rng)).save(folder / name / f"{index:03}.png")


def train() -> dict[str, Any]:
    import torch

    names: dict[str, Any] = {}
    exec(compile(TINY, "tiny.py", "exec"), names)  # noqa: S102
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = names["tiny"]()
        rng = np.random.default_rng(7)
        pixels = np.stack([pattern(name, rng) for name in CLASSES for _ in range(64)])
        images = torch.from_numpy(((pixels / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2).astype(np.float32))
        labels = torch.arange(4).repeat_interleave(64)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(80):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return dict(network.state_dict())


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which has to be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The code of the error that was shown; it has to come with a hint, and without a traceback."""
        found = re.search(r"^error\[([a-z-]+)\]: .+", self.err, re.M)
        assert found, self.err
        assert re.search(r"^ hint: \S", self.err, re.M), self.err
        assert "Traceback" not in self.err
        return found[1]


@contextmanager
def once(folder: Path) -> Iterator[bool]:
    """Whether `folder` is still to be made: under pytest-xdist the first worker makes it and the others wait."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder.with_suffix(".made")
        yield not made.exists()
        made.touch()


def make_workbench(folder: Path) -> Workbench:
    """Forty images to calibrate on, sixty to judge on, and a small CNN that tells them apart; made once."""
    import torch

    made = Workbench(folder)
    with once(folder) as first:
        if first:
            write_images(made.data / "train", TRAIN_PER_CLASS, seed=1)
            write_images(made.data / "val", VAL_PER_CLASS, seed=2)
            (folder / "tiny.py").write_text(TINY)
            torch.save(train(), made.checkpoint)
    return made


def in_process_of_its_own(*words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ended:
    """The command in a process that shares nothing with this one: a fork of one that has imported the packages."""
    context = _forks()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        place = str(cwd or Path.cwd())
        process = context.Process(target=_run, args=(words, dict(env or os.environ), place, str(out), str(err)))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"edgecnn {' '.join(words)}: no end in 300 s")
        return Ended(process.exitcode, out.read_text(errors="replace"), err.read_text(errors="replace"))


@cache
def _forks() -> Any:
    """Processes forked from one that has imported `forked`, which it looks for where this module lies."""
    context, paths = multiprocessing.get_context("forkserver"), os.environ.get("PYTHONPATH")
    context.set_forkserver_preload(["forked"])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([paths] if paths else [])])
    forkserver.ensure_running()
    os.environ.pop("PYTHONPATH")
    os.environ.update({"PYTHONPATH": paths} if paths else {})
    return context


def _run(words: Sequence[str], env: Mapping[str, str], cwd: str, out: str, err: str) -> None:
    from edgecnn.cli.main import main

    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    os.chdir(cwd)
    for stream, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, stream)
        os.close(opened)
    sys.argv = ["edgecnn", *words]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        atexit._run_exitfuncs()
