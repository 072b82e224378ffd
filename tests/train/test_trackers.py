"""What trackers write, read back with the libraries' own readers; and that none of them stops a training."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgecnn.core import plugins
from edgecnn.core.errors import InputError, MissingError, StepError, install_hint
from edgecnn.core.events import Event, Warned, ignore
from edgecnn.train.settings import Epoch
from edgecnn.train.trackers import Trackers, flat

SETTINGS = {"architecture": "tiny", "settings": {"epochs": 2, "ema": None, "augment": {"flip": True}}, "seed": 3}
EPOCHS = (Epoch(1.5, 0.25, 0.5, 1e-3, 2.0, 100.0), Epoch(0.5, 0.75, None, 1e-4, 1.0, 200.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".store").mkdir()
    Image.new("RGB", (8, 4), "red").save(tmp_path / "confusion.png")
    (tmp_path / "history.json").write_text("{}")
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server, no key, whatever this machine has."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def written(names: tuple[str, ...], folder: Path, status: str = "finished") -> Trackers:
    trackers = Trackers(names, folder=folder, name="a-run", listener=ignore)
    trackers.begin(SETTINGS)
    for number, epoch in enumerate(EPOCHS, start=1):
        trackers.epoch(number, epoch)
    trackers.picture("confusion", folder / "confusion.png")
    trackers.artifact(folder / "history.json")
    trackers.end(status)
    return trackers


def test_settings_are_plain_values_under_dotted_names() -> None:
    assert dict(flat(SETTINGS)) == {
        "architecture": "tiny",
        "settings.epochs": 2,
        "settings.ema": "None",
        "settings.augment.flip": True,
        "seed": 3,
    }


def test_tensorboard_is_always_written(folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers = written((), folder)
    assert trackers.where == {"tensorboard": f"tensorboard --logdir {folder / 'tensorboard'}"}
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(1, 1.5), (2, 0.5)]
    assert [event.step for event in read.Scalars("validation_accuracy")] == [1]
    image = read.Images("confusion")[0]
    assert (image.step, image.width, image.height) == (2, 8, 4)
    assert "settings/text_summary" in read.Tags()["tensors"]


@pytest.mark.usefixtures("offline")
def test_mlflow_writes_to_a_folder_beside_the_results(folder: Path) -> None:
    trackers = written(("mlflow",), folder)
    assert str(folder / "mlruns") in trackers.where["mlflow"]
    from mlflow.tracking import MlflowClient

    client = MlflowClient((folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("edgecnn")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("a-run", "FINISHED")
    assert run.data.params["settings.augment.flip"] == "True"
    assert [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")] == [
        (1, 1.5),
        (2, 0.5),
    ]
    stored = Path(run.info.artifact_uri.removeprefix("file://"))
    assert sorted(str(path.relative_to(stored)) for path in stored.rglob("*.*")) == [
        "history.json",
        "pictures/confusion.png",
    ]


@pytest.mark.usefixtures("offline")
def test_a_broken_off_mlflow_run_goes_on_as_the_same_run(folder: Path) -> None:
    written(("mlflow",), folder, "interrupted")
    written(("mlflow",), folder)
    from mlflow.tracking import MlflowClient

    client = MlflowClient((folder / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("edgecnn").experiment_id])
    assert run.info.status == "FINISHED"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("mode", ["offline", None])
def test_wandb_is_written_offline_where_that_is_said_or_there_is_no_key(
    mode: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    trackers = written(("wandb",), folder)
    (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    assert trackers.where["wandb"] == f"wandb sync {file.parent}"
    deadline = time.monotonic() + 30  # its process writes the file a little after `finish` has returned
    while not any(record.HasField("exit") for record in wandb_records(file)) and time.monotonic() < deadline:
        time.sleep(0.05)
    rows = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(file)
        if record.HasField("history")
    ]
    assert [(row["_step"], row["loss"]) for row in rows if "loss" in row] == [(1, 1.5), (2, 0.5)]
    assert any("confusion" in row for row in rows)


def wandb_records(file: Path) -> Iterator[Any]:
    """A .wandb file is a LevelDB log: after 7 bytes, blocks of 32 KiB; each piece has a checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

    raw, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, at)
        whole += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the only piece, or the last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


class Faulty:
    """A tracker whose disk fills up in the second epoch."""

    where = "nowhere"

    def __init__(self, folder: Path, name: str) -> None:
        self.calls: list[str] = []

    def begin(self, settings: Mapping[str, Any]) -> None:
        self.calls.append("begin")

    def epoch(self, number: int, epoch: Epoch) -> None:
        self.calls.append(f"epoch {number}")
        if number == 2:
            raise OSError(28, "No space left on device")

    def picture(self, name: str, path: Path) -> None:
        self.calls.append("picture")

    def artifact(self, path: Path) -> None:
        self.calls.append("artifact")

    def end(self, status: str) -> None:
        self.calls.append(f"end {status}")


class Refusing(Faulty):
    def begin(self, settings: Mapping[str, Any]) -> None:
        raise ConnectionError("no server at example.org")


def with_plugin(monkeypatch: pytest.MonkeyPatch, kind: type[Faulty]) -> list[Faulty]:
    made: list[Faulty] = []
    load = plugins.load

    def loaded(group: str, name: str) -> Any:
        def make(folder: Path, run: str) -> Faulty:
            made.append(kind(folder, run))
            return made[-1]

        return make if name == "faulty" else load(group, name)

    monkeypatch.setattr(plugins, "load", loaded)
    return made


def test_a_tracker_that_fails_is_left_out_with_one_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = with_plugin(monkeypatch, Faulty), list[Event]()
    trackers = Trackers(("faulty",), folder=folder, name="a-run", listener=told.append)
    trackers.begin(SETTINGS)
    for number in (1, 2, 2, 2):
        trackers.epoch(number, EPOCHS[0])
    trackers.picture("confusion", folder / "confusion.png")
    trackers.end("finished")
    assert made[0].calls == ["begin", "epoch 1", "epoch 2"]
    (warning,) = [event for event in told if isinstance(event, Warned)]
    assert warning.code == "tracker-failed"
    assert "No space left" in warning.message
    assert list(trackers.where) == ["tensorboard"]


def test_a_tracker_that_cannot_begin_ends_the_run_before_it_costs_anything(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_plugin(monkeypatch, Refusing)
    trackers = Trackers(("faulty",), folder=folder, name="a-run", listener=ignore)
    with pytest.raises(StepError) as caught:
        trackers.begin(SETTINGS)
    trackers.end("failed")
    assert caught.value.code == "tracker-failed"
    assert "no server at example.org" in caught.value.why


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(MissingError) as caught:
        Trackers((name,), folder=folder, name="a-run", listener=ignore)
    assert caught.value.hint == install_hint(name)


def test_an_unknown_tracker(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        Trackers(("mlfow",), folder=folder, name="a-run", listener=ignore)
    assert caught.value.code == "unknown-tracker"
    assert "'mlflow'" in caught.value.hint
