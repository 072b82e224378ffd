"""Worker processes: the same tensors, errors that name the file, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train.feed import open_feed
from edgecnn.train.loading import worker_count
from edgecnn.train.settings import Augment, Feed, TrainSettings

P = Preprocessing(crop=(8, 8), resize=8)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(22)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (12, 14, 3), np.uint8)).save(path)
    return ImageSet(paths, [number % 3 for number in range(22)], preprocessing=P, root=folder)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    handler, main = signal.getsignal(signal.SIGCHLD), sys.modules["__main__"]
    yield
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGCHLD) is handler
    assert sys.modules["__main__"] is main
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def opened(images: ImageSet, workers: int, **changes: Any) -> Feed:
    settings = TrainSettings(**{"batch": 4, "workers": workers, "cache": "off", **changes})
    return open_feed(images, settings, device=CPU, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache", "varied"),
    [
        ("on", Augment(random_resized_crop=0.3, flip=True)),
        ("off", Augment(crop_padding=1, random_resized_crop=0.3, randaugment=9, color_jitter=0.2, cutmix=1.0)),
    ],
)
def test_the_number_of_workers_changes_nothing(images: ImageSet, cache: str, varied: Augment) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    here, there = (opened(images, workers, augment=varied, cache=cache) for workers in (0, 2))
    try:
        begun = there.epoch(1)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        processes = {child.pid for child in multiprocessing.active_children()}
        assert len(processes) == 2
        for number in (1, 2):
            for one, other in zip(here.epoch(number), there.epoch(number), strict=True):
                assert torch.equal(one.x, other.x)
                assert torch.equal(one.indices, other.indices)
                assert one.targets is not None
                assert other.targets is not None
                assert torch.equal(one.targets, other.targets)
                assert one.labels is not None
                assert one.labels.tolist() == [index % 3 for index in one.indices.tolist()]
        assert {child.pid for child in multiprocessing.active_children()} == processes  # they stay from epoch to epoch
        assert there.waited_s > 0
    finally:
        there.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_image_is_named_and_a_dead_worker_is_no_hang(images: ImageSet, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(images.paths[0].read_bytes()[:100])
    stream = opened(ImageSet([*images.paths[:7], broken], None, preprocessing=P, root=tmp_path), 1)
    try:
        with pytest.raises(InputError) as caught:
            list(stream.epoch(1))
        assert caught.value.code == "broken-image"
        assert str(broken) in caught.value.message
        assert "damaged" in caught.value.why or "truncated" in caught.value.why
        broken.write_bytes(images.paths[0].read_bytes())
        assert len(list(stream.epoch(2))) == 2  # the workers go on
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(StepError) as died:
            list(stream.epoch(3))
        assert time.monotonic() - began < 30
        assert died.value.code == "loader-died"
        assert "SIGKILL" in died.value.why
        assert "--workers" in died.value.hint
    finally:
        stream.close()


def test_too_little_shared_memory_is_no_hang(images: ImageSet) -> None:
    """A limit on file sizes, which shared memory heeds too; it is inherited by the worker."""
    part = Augment(random_resized_crop=0.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        stream = opened(images, 1)
        try:
            with pytest.raises(StepError) as caught:
                list(stream.epoch(1))
        finally:
            stream.close()
        # Held images that cannot be shared are varied in the main process.
        unshared = opened(images, 1, cache="on", augment=part)
        found = list(unshared.epoch(1))
        assert multiprocessing.active_children() == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "no-shared-memory"
    assert "--shm-size" in caught.value.hint
    assert len(found) == 5


SCRIPT = """
import sys, torch
from pathlib import Path
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.data import ImageSet
from edgecnn.train.feed import open_feed
from edgecnn.train.settings import TrainSettings

print("begun", flush=True)
folder = Path(sys.argv[1])
images = ImageSet(sorted(folder.iterdir()), None, preprocessing=Preprocessing(crop=(8, 8), resize=8), root=folder)
settings = TrainSettings(batch=2, workers=1, cache="off")
feed = open_feed(images, settings, device=torch.device("cpu"), seed=0)
for number in range(1_000_000):
    for batch in feed.epoch(number):
        if number == 1:
            import multiprocessing
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            number = -1
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_script_leaves_no_orphan(images: ImageSet, tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C reaches all processes of a terminal; SIGKILL only one. The script has no guard around its main part."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    running = subprocess.Popen(
        [sys.executable, str(script), str(images.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    workers = [int(word) for word in running.stdout.readline().split()]
    assert len(workers) == 1
    if how is signal.SIGINT:
        os.killpg(running.pid, how)
    else:
        running.kill()
    out, err = running.communicate(timeout=60)
    assert out == "" or set(out.split()) == {str(pid) for pid in workers}  # never "begun" again
    assert not {"spawn_main", "_serve"} & set(err.replace("\n", " ").split()), err  # only the main process's own end
    assert ("KeyboardInterrupt" in err) == (how is signal.SIGINT), err
    deadline = time.monotonic() + 30
    while any(_is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_are_started_where_they_pay() -> None:
    assert worker_count(3, device=CPU, images=10) == 3
    assert worker_count(0, device=torch.device("cuda"), images=10**6) == 0
    assert worker_count(None, device=CPU, images=10**6) == 0
    assert worker_count(None, device=torch.device("cuda"), images=100) == 0
    assert 1 <= worker_count(None, device=torch.device("cuda"), images=10**6, world=64) <= 8


def test_held_images_that_are_only_moved_need_no_workers(images: ImageSet) -> None:
    stream = opened(images, 2, cache="on", augment=Augment(crop_padding=1, flip=True, random_erasing=0.5, mixup=0.2))
    assert len(list(stream.epoch(1))) == 5
    assert multiprocessing.active_children() == []
    stream.close()
