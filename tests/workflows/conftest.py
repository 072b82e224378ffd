"""A finished run to start from, and ways to run the command line in this process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from profile_networks import onnx_net, tflite_net
from trainings import words
from workbench import Ended, Workbench, in_process_of_its_own, make_workbench, once

from edgecnn.cli import console, failures
from edgecnn.cli.main import run

__all__ = ["onnx_net", "tflite_net"]
"""Fixtures that other rooms use too."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is expensive to make: one for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pipeline"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def bench(shared: Path) -> Workbench:
    """Forty images to calibrate on, sixty to judge on, and a small CNN that tells them apart."""
    return make_workbench(shared / "bench")


@pytest.fixture(scope="session")
def edgecnn() -> Callable[..., Ended]:
    """`edgecnn("plan", ...)`: the command in a process of its own."""
    return in_process_of_its_own


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`invoke("plan", ...)`: the command in this process, which has torch loaded already."""

    def call(*words: str) -> Ended:
        console.configure()
        code = failures.guard(lambda: run(list(words)), words)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return call


@pytest.fixture
def optimize(bench: Workbench, invoke: Callable[..., Ended], tmp_path: Path) -> Callable[..., Ended]:
    """`optimize("--crop", "x", checkpoint=..., data=...)` of the tiny network; nothing may be left in the folder."""

    def call(*more: str, checkpoint: Path | None = None, data: Path | None = None, model: str | None = "") -> Ended:
        words = ["optimize", str(checkpoint or bench.checkpoint), "--data", str(data or bench.data)]
        named = [] if model is None else ["--model", model or bench.model]
        out = tmp_path / "out"
        ended = invoke(
            *words, *named, "--crop", "32", "--resize", "none", "--profile", "smoke", "--out", str(out), *more
        )
        assert ended.out == "" and not out.exists(), "nothing should have been started"
        return ended

    return call


@dataclass(frozen=True)
class Run:
    """A finished `optimize` for this host in every format that can be made here; `out` is read, never written."""

    ended: Ended
    out: Path

    def copy(self, place: Path) -> Path:
        """A copy to go on in: its store holds everything."""
        return Path(shutil.copytree(self.out, place))


@pytest.fixture(scope="session")
def finished(bench: Workbench, shared: Path) -> Run:
    out, said = shared / "host", shared / "said.json"
    with once(out) as first:
        if first:
            ended = in_process_of_its_own(*bench.optimize(out, "--json"))
            said.write_text(json.dumps([ended.code, ended.out, ended.err]))
    return Run(Ended(*json.loads(said.read_text())), out)


@pytest.fixture(scope="session")
def trained(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read, never written."""
    out = tmp_path_factory.mktemp("trained") / "out"
    assert failures.guard(lambda: run(words(bench, out)), ["train"]) == 0
    return out
