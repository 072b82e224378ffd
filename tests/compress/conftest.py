"""A small network with squeeze-and-excitation and hard-swish that reads digits, and the surroundings of a stage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgecnn.config.devices import load_device
from edgecnn.core.artifact import Artifact, FormatName
from edgecnn.core.events import Event
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.stage import Context
from edgecnn.data import ImageSet, open_data
from edgecnn.data.demo import write_digits

PREPARED = Preprocessing(crop=(32, 32), resize=None, mean=(0.5,), std=(0.25,), color="L")
TARGET = "jetson-orin-nano-8gb"
"""It runs every format: TensorRT on the GPU, the others on its CPU cores."""


def block(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


class Excite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Reader(nn.Module):
    """MobileNetV3's parts, one of each."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = block(nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.depthwise = block(nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.excite = Excite(16)
        self.project = block(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24))
        self.inside = block(
            *(nn.Conv2d(24, 48, 1, bias=False), nn.BatchNorm2d(48), nn.Hardswish()),
            *(nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), nn.BatchNorm2d(48), nn.ReLU()),
            *(nn.Conv2d(48, 24, 1, bias=False), nn.BatchNorm2d(24)),
        )
        self.head = nn.Linear(24, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.project(self.excite(self.depthwise(self.stem(x))))
        x = x + self.inside(x)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(F.hardswish(x), 1), 1))


@dataclass(frozen=True)
class Network:
    """A torch module as `core.stage.Model`."""

    made: nn.Module
    name: str = "tests:reader"
    num_classes: int = 10
    input_shape: tuple[int, int, int] = (1, 32, 32)
    sha256: str = "0" * 64

    def module(self) -> nn.Module:
        return self.made.eval()


@dataclass(frozen=True)
class Pictures:
    """Images as `core.stage.Data`."""

    calibration: Any
    training: Any
    evaluation: Any = None
    preprocessing: Preprocessing = PREPARED
    class_names: Sequence[str] = tuple("0123456789")


@dataclass
class RunContext:
    """Contexts below one folder; `told` is what the stages said."""

    folder: Path
    model: Network
    data: Pictures
    told: list[Event] = field(default_factory=list)

    def context(self, name: str, format: FormatName, **changes: Any) -> Context:
        workdir, scratch = self.folder / name, self.folder / f"{name}.scratch"
        for place in (workdir, scratch):
            place.mkdir(exist_ok=True)
        context = Context(
            workdir=workdir,
            scratch=scratch,
            model=self.model,
            data=self.data,
            target=load_device(TARGET),
            format=format,
            listener=self.told.append,
            seed=0,
            teacher=self.model,
        )
        return replace(context, **changes)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, ImageSet]:
    """(training, all of them): 1,198 and 1,797 digits."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    write_digits(folder)
    data = open_data(folder, num_classes=10, preprocessing=PREPARED, calibration_images=100)
    everything = ImageSet(
        (*data.training.paths, *data.evaluation.paths),
        (*(data.training.labels or ()), *(data.evaluation.labels or ())),
        preprocessing=PREPARED,
        root=folder,
    )
    return data.training, everything


@pytest.fixture(scope="session")
def reader(digits: tuple[ImageSet, ImageSet]) -> Network:
    """The network, trained for a few seconds."""
    training, _ = digits
    images = torch.cat([torch.from_numpy(batch) for batch in training.batches(256)])
    labels = torch.tensor(training.labels)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Reader()
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs=8, steps_per_epoch=19)
        for _ in range(8):
            for chosen in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(network(images[chosen]), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    torch.set_num_threads(threads)
    return Network(network.eval())


@pytest.fixture
def around(tmp_path: Path, reader: Network, digits: tuple[ImageSet, ImageSet]) -> RunContext:
    """64 digits to calibrate on, 256 to train on."""
    training, _ = digits
    return RunContext(tmp_path, reader, Pictures(training.take(64), training.take(256)))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory, reader: Network) -> Callable[[FormatName], Artifact]:
    """The reader in a format, in float; exported once."""
    from edgecnn.core import plugins
    from edgecnn.formats.registry import format_named

    folder = tmp_path_factory.mktemp("exports")
    made: dict[str, Artifact] = {}

    def export(format: FormatName) -> Artifact:
        write = plugins.resolve(format_named(format).export)
        suffix = format_named(format).suffix  # TensorRT reads the file that ONNX Runtime reads
        if suffix not in made:
            made[suffix] = write(reader, folder / f"model{suffix}", preprocessing=PREPARED)
        return replace(made[suffix], format=format)

    return export


@pytest.fixture
def exported(tmp_path: Path, exports: Callable[[FormatName], Artifact]) -> Callable[[FormatName], Artifact]:
    """A copy of the reader in a format, in float, in a folder of its own."""

    def copy(format: FormatName) -> Artifact:
        if format == "tflite":
            pytest.importorskip("litert_torch")
            pytest.importorskip("ai_edge_quantizer")
        source = exports(format)
        folder = tmp_path / "export"
        folder.mkdir(exist_ok=True)
        return source.at(Path(shutil.copy(source.path, folder)))

    return copy
