"""Calibration: one image at a time, resumed after a kill, deaf to damaged state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from edgecnn.core.errors import StepError
from edgecnn.core.events import Event, Progress, ignore
from edgecnn.formats.quantize_stage import Quantize
from edgecnn.quantize import observe as calibration
from edgecnn.quantize.observe import observe
from edgecnn.quantize.ranges import RangeTable


class CountingImages:
    """Images that exist one at a time: asking for the next spoils the last."""

    labels = None

    def __init__(self, count: int, digest: str = "images") -> None:
        self.count = count
        self.digest = digest
        self.largest_batch = 0
        self.handed_out = 0

    def __len__(self) -> int:
        return self.count

    def take(self, count: int) -> CountingImages:
        return CountingImages(count, self.digest)

    def pixels(self, size: int) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def batches(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, self.count, size):
            indices = range(start, min(start + size, self.count))
            batch = np.stack([np.random.default_rng(i).standard_normal((3, 8, 8)) * (1 + i % 7) for i in indices])
            self.largest_batch = max(self.largest_batch, len(batch))
            self.handed_out += 1
            image = batch.astype(np.float32)
            yield image
            image[:] = np.nan


class Network:
    """Two activations; counts its calls and can be killed at one of them."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.calls = 0
        self.killed_at = killed_at

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        self.calls += 1
        if self.calls == self.killed_at:
            raise KeyboardInterrupt
        return {"input": images, "relu": np.maximum(images * 3.0, 0.0)}


@pytest.fixture
def saving_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SAVE_EVERY_S", 0.0)


def calibrated(network: Network, images: CountingImages, scratch: Path, observer: str = "mse") -> RangeTable:
    return observe(
        network, images, options=Quantize(observer=observer), symmetric=False, scratch=scratch, listener=ignore
    )


def test_ranges_cover_every_image(tmp_path: Path) -> None:
    images = CountingImages(9)
    table = calibrated(Network(), images, tmp_path, "minmax")
    everything = np.concatenate([image.copy() for image in CountingImages(9).batches(1)])
    assert table["input"] == (everything.min(), everything.max())
    assert table["relu"] == (0.0, everything.max() * np.float32(3.0))


def test_images_are_streamed(tmp_path: Path) -> None:
    images = CountingImages(9)
    calibrated(Network(), images, tmp_path)
    assert images.largest_batch == 1
    assert images.handed_out == 9, "one pass"


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    observe(Network(), CountingImages(3), options=Quantize(), symmetric=False, scratch=tmp_path, listener=told.append)
    assert told == [Progress("calibrate", done, 3, "images") for done in (1, 2, 3)]


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("observer", ["minmax", "entropy"])
def test_a_killed_calibration_goes_on_and_ends_alike(tmp_path: Path, observer: str) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    whole.mkdir()
    half.mkdir()
    straight = calibrated(Network(), CountingImages(10), whole, observer)
    with pytest.raises(KeyboardInterrupt):
        calibrated(Network(killed_at=7), CountingImages(10), half, observer)
    rest = Network()
    assert calibrated(rest, CountingImages(10), half, observer) == straight
    assert rest.calls == 4, "six were done"


@pytest.mark.usefixtures("saving_always")
def test_state_of_other_images_is_dropped(tmp_path: Path) -> None:
    calibrated(Network(), CountingImages(10, "old"), tmp_path)
    network = Network()
    table = calibrated(network, CountingImages(3, "new"), tmp_path)
    assert network.calls == 3
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert table == calibrated(Network(), CountingImages(3, "new"), fresh)


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise", "one byte", "other arrays"])
def test_damaged_state_is_dropped(tmp_path: Path, damage: str) -> None:
    straight = calibrated(Network(), CountingImages(4), tmp_path)
    (saved,) = tmp_path.iterdir()
    raw = saved.read_bytes()
    if damage == "other arrays":
        with saved.open("wb") as stream:
            np.savez(stream, digest=np.array("images"))
    elif damage == "one byte":
        at = raw.index(b"NUMPY") + 200
        saved.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
    else:
        saved.write_bytes({"truncated": raw[: len(raw) // 2], "empty": b"", "noise": b"\x00noise" * 50}[damage])
    network = Network()
    assert calibrated(network, CountingImages(4), tmp_path) == straight
    assert network.calls == 4


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepError) as caught:
        calibrated(Network(), CountingImages(0), tmp_path)
    assert caught.value.code == "no-images"
    assert "--data" in caught.value.hint


def test_nan_is_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    def broken(images: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"input": images, "conv3": images / np.float32(np.nan)}

    with pytest.raises(StepError) as caught:
        observe(broken, CountingImages(2), options=Quantize(), symmetric=False, scratch=tmp_path, listener=ignore)
    assert caught.value.code == "not-finite"
    assert "conv3" in caught.value.why
