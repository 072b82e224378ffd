"""Finished work is whole or not there; what is half-done belongs to a living process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgecnn.core.errors import StepError
from edgecnn.core.store import Store, beside, digest_of, one_at_a_time, sweep, write_atomically

KEY = digest_of({"what": "went in"})


def finish(store: Store, content: str = "result", key: str = KEY) -> None:
    with store.work("step", key) as work:
        (work.folder / "inner").mkdir()
        (work.folder / "inner" / "file.txt").write_text(content)
        work.facts["content"] = content


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_was_finished_is_found_with_its_facts(store: Store) -> None:
    assert store.find("step", KEY) is None
    finish(store)
    found = store.find("step", KEY)
    assert found is not None and found.facts == {"content": "result"}
    assert (found.folder / "inner" / "file.txt").read_text() == "result"
    assert store.find("step", digest_of("else")) is None and store.find("other", KEY) is None


def test_the_key_does_not_depend_on_the_order_of_facts() -> None:
    assert digest_of({"a": 1, "b": [2, None]}) == digest_of({"b": [2, None], "a": 1}) != digest_of({"a": 1})


def test_what_failed_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.work("step", KEY) as work:
        (work.folder / "half").write_text("half")
        raise ZeroDivisionError
    assert list(store.root.iterdir()) == []


def damage_bytes(folder: Path) -> None:
    (folder / "inner" / "file.txt").write_text("RESULT")


def damage_missing(folder: Path) -> None:
    (folder / "inner" / "file.txt").unlink()


def damage_facts(folder: Path) -> None:
    (folder / "done.json").write_text('{"facts": {')


def damage_facts_of_another_kind(folder: Path) -> None:
    (folder / "done.json").write_text("[]")


def damage_no_facts(folder: Path) -> None:
    (folder / "done.json").unlink()


@pytest.mark.parametrize(
    "damage", [damage_bytes, damage_missing, damage_facts, damage_facts_of_another_kind, damage_no_facts]
)
def test_what_is_damaged_is_not_found_and_is_replaced(store: Store, damage: Callable[[Path], None]) -> None:
    finish(store)
    found = store.find("step", KEY)
    assert found is not None
    damage(found.folder)
    assert store.find("step", KEY) is None
    finish(store)
    again = store.find("step", KEY)
    assert again is not None and (again.folder / "inner" / "file.txt").read_text() == "result"
    assert [path.name for path in store.root.iterdir()] == [again.folder.name]


def test_the_first_to_finish_wins(store: Store) -> None:
    with store.work("step", KEY) as slow:
        finish(store, "first")
        slow.facts["content"] = "second"
    found = store.find("step", KEY)
    assert found is not None and found.facts["content"] == "first"
    assert len(list(store.root.iterdir())) == 1


def test_only_the_folders_of_dead_processes_are_swept(store: Store, dead_process: int) -> None:
    finish(store)
    mine = beside(store.root / "step-abc")
    dead = store.root / f".step-abc.{dead_process}-0a1b2c"
    private_scratch = store.root / f"..scratch-step-abc.{dead_process}-0a1b2c"
    scratch = store.root / ".scratch-step-abc"
    for folder in (mine, dead, private_scratch, scratch):
        folder.mkdir()
    (dead / "half").write_text("half")
    unfinished_file = store.root / f".report.md.{dead_process}-ffffff"
    unfinished_file.touch()
    replaced = store.root / f".bundle.{dead_process}-ffffff.old"
    replaced.mkdir()
    foreign = store.root / ".gitignore"
    foreign.touch()
    sweep(store.root)
    left = {path.name for path in store.root.iterdir() if path.name.startswith(".")}
    assert left == {mine.name, ".scratch-step-abc", ".gitignore"}
    assert store.find("step", KEY) is not None
    sweep(store.root / "nowhere")


def age(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def test_a_scratch_nobody_came_back_for_is_swept(store: Store) -> None:
    old, recent, held = (store.root / f".scratch-step-{name}" for name in ("old", "recent", "held"))
    for folder in (old, recent):
        folder.mkdir(parents=True)
        (folder / "state").write_text("40 of 200")
    age(old, 8)
    age(recent, 6)
    with store.scratch("step", "held") as folder:
        assert folder == held
        age(held, 8)
        sweep(store.root)
        assert {path.name for path in store.root.iterdir()} == {recent.name, held.name}
    assert (recent / "state").read_text() == "40 of 200"


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / ".store" / "write.lock"
    seen: list[int] = []

    def once(index: int) -> None:
        with one_at_a_time(lock):
            seen.append(index)
            time.sleep(0.01)
            seen.append(index)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(12)))
    assert seen[::2] == seen[1::2] and len(seen) == 24
    waited: list[int] = []

    def after() -> None:
        with one_at_a_time(lock, on_wait=lambda: waited.append(1)):
            pass

    with ThreadPoolExecutor(1) as pool:
        with one_at_a_time(lock, on_wait=lambda: waited.append(0)):
            second = pool.submit(after)
            while not waited:
                time.sleep(0.01)
            assert not second.done()
        second.result(timeout=10)
    assert waited == [1]
    with pytest.raises(ZeroDivisionError), one_at_a_time(lock):
        raise ZeroDivisionError
    with one_at_a_time(lock):
        pass


def test_scratch_outlives_a_failure_and_not_a_success(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.scratch("step", KEY) as folder:
        (folder / "state").write_text("40 of 200")
        raise KeyboardInterrupt
    with store.scratch("step", KEY) as folder:
        assert (folder / "state").read_text() == "40 of 200"
    with store.scratch("step", KEY) as folder:
        assert not (folder / "state").exists()
    assert list(store.root.iterdir()) == []


def test_two_at_once_do_not_share_a_scratch(store: Store) -> None:
    with store.scratch("step", KEY) as first:
        (first / "state").write_text("first")
        with store.scratch("step", KEY) as second:
            assert second != first and not (second / "state").exists()
        assert not second.exists() and (first / "state").exists()


def test_many_at_once_come_and_go(store: Store) -> None:
    def once(index: int) -> None:
        with store.scratch("step", KEY) as folder:
            write_atomically(folder / "state", str(index))
            finish(store, "same")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(once, range(200)))
    assert [path.name for path in store.root.iterdir()] == [f"step-{KEY[:24]}"]


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("use", ["prepare", "work", "scratch", "write"])
def test_a_file_in_the_place_of_the_folder(tmp_path: Path, use: str) -> None:
    (tmp_path / "store").write_text("a file")
    store = Store(tmp_path / "store" / ".store")
    with pytest.raises(StepError) as caught:
        if use == "prepare":
            store.prepare()
        elif use == "work":
            finish(store)
        elif use == "scratch":
            with store.scratch("step", KEY):
                pass
        else:
            write_atomically(store.root / "report.md", "text")
    assert (caught.value.code, caught.value.exit_code) == ("cannot-write", 5)
    assert caught.value.why == os.strerror(errno.ENOTDIR) and "--out" in caught.value.hint


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes, where this process may mount a file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "edgecnn-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if sys.platform == "linux" else None
    if done is None or done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip() if done else sys.platform}")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607


def write_bytes(folder: Path) -> None:
    (folder / "big").write_bytes(bytes(4 << 20))


def save_array(folder: Path) -> None:
    np.save(folder / "big.npy", np.zeros(4 << 20, np.uint8), allow_pickle=False)


@pytest.mark.parametrize("fill", [write_bytes, save_array])
def test_a_full_disk_is_called_so_and_takes_nothing_with_it(small_disk: Path, fill: Callable[[Path], None]) -> None:
    store = Store(small_disk / ".store")
    finish(store)
    with pytest.raises(StepError) as caught, store.work("step", digest_of("big")) as work:
        fill(work.folder)
    assert caught.value.code == "cannot-write" and "No space left" in caught.value.why
    assert "free some space" in caught.value.hint
    assert store.find("step", KEY) is not None and len(list(store.root.iterdir())) == 1


def test_a_full_disk_keeps_the_old_report(small_disk: Path) -> None:
    write_atomically(small_disk / "report.md", "old")
    with pytest.raises(StepError, match="cannot write"):
        write_atomically(small_disk / "report.md", bytes(4 << 20))
    assert (small_disk / "report.md").read_text() == "old" and len(list(small_disk.iterdir())) == 1
