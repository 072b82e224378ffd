"""Stage: one step that turns an artifact into another; and the images, data and network it works on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, FormatName, Kind
from edgecnn.core.device import DeviceProfile
from edgecnn.core.events import Listener
from edgecnn.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class Images(Protocol):
    """A set of images, decoded and preprocessed one batch at a time.

    `digest` identifies names, bytes, labels and preprocessing. `ids` tell the images of one data set apart, also in a
    part of it. `labels` are in the task's terms (output indices for classification), or None where they are not known.
    """

    @property
    def digest(self) -> str: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def labels(self) -> Sequence[Any] | None: ...
    def __len__(self) -> int: ...
    def pixels(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, NHWC, resized and cropped, channels in the order of `color`: uint8, or
        float32 on the same scale where the images come as tensors."""
        ...

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Batches of at most `size` images, float32 NCHW, normalised."""
        ...

    def take(self, count: int) -> Images:
        """The first `count` images."""
        ...


class LabelledImages(Images, Protocol):
    """Images to train on; `data.ImageSet` satisfies it. `labels` are None where they are not known."""

    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def paths(self) -> Sequence[Path]: ...
    def select(self, indices: Iterable[int]) -> LabelledImages:
        """The images at `indices`, in that order."""
        ...


class Data(Protocol):
    """Images to train and calibrate on, and images to judge on: never the same.

    `training` is None where there are none to learn from: without --data, or when all there is are images to judge on.
    """

    @property
    def calibration(self) -> Images: ...
    @property
    def training(self) -> LabelledImages | None: ...
    @property
    def evaluation(self) -> Images | None: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def class_names(self) -> Sequence[str]: ...


class Model(Protocol):
    """A network with its weights. `input_shape` is (C, H, W); `sha256` identifies architecture and weights."""

    @property
    def name(self) -> str: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def sha256(self) -> str: ...
    def module(self) -> nn.Module:
        """A fresh FP32 module on the CPU, in eval mode."""
        ...


class LayerTimes(Protocol):
    """How long the layers of an exported model take on the target."""

    def __call__(self, file: Path, format: FormatName) -> Mapping[str, float]:
        """Median time in ns by node name. Raises EdgecnnError when the target cannot be measured."""
        ...

    def identity(self, format: FormatName) -> Any:
        """What tells these times from those of another machine, runtime or number of threads, as a JSON value."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What surrounds a stage. Files written to `workdir` are kept when the stage finishes, all or none; `scratch`
    survives a killed process, so a long stage can leave its half-done state there and find it again.

    `model` is the network as the stages before left it, `teacher` the one the run began with. `layer_times` measures
    on the target; None where it cannot be reached or plays an emulation. `task` is the name of what the network is
    for.
    """

    workdir: Path
    scratch: Path
    model: Model
    data: Data
    target: DeviceProfile
    format: FormatName
    listener: Listener
    seed: int
    teacher: Model
    layer_times: LayerTimes | None = None
    task: str = "classification"


StageInput = Literal["calibration", "training", "labels", "layer times"]
"""What a stage reads beside the artifact: the images to calibrate on, the images to learn from, their labels (it learns
nothing without them), the times of layers on the target."""


class Stage(BaseModel):
    """One step of a recipe. Its YAML entry is itself the checked value: the fields are the options.

    A subclass sets `kind` (the word in YAML, a verb), `tools` (the packages whose versions decide the result) and
    `kernel` (`package.module:function`, imported when the stage runs), says what it accepts and produces and which
    `inputs` it reads. Register it under the entry-point group `edgecnn.stages`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[str]
    tools: ClassVar[tuple[str, ...]] = ()
    kernel: ClassVar[str] = ""
    """What does the work: called with (source artifact, context, options=the stage), gives the new artifact."""
    delivers: ClassVar[bool] = True
    """Whether what the stage makes is a file for the user; False for what only the next stage reads."""

    def tools_for(self, wanted: FormatName) -> tuple[str, ...]:
        """The packages whose versions decide the result on the way to a format."""
        return self.tools

    def inputs(self) -> frozenset[StageInput]:
        """What it reads beside the artifact; the digests of these are part of the result's."""
        return frozenset()

    @property
    def trains(self) -> bool:
        """Whether it learns from the training images."""
        return "training" in self.inputs()

    def decides(self, target: DeviceProfile, wanted: FormatName) -> Any:
        """What of the target decides the result, as a JSON value: the runtime family unless a stage says otherwise.

        Stages that answer alike for two formats run once for both.
        """
        deployment = target.deployment(wanted)
        return deployment.family if deployment else ""

    def produces(self, source: Kind, wanted: FormatName) -> Kind | None:
        """What this stage makes of `source` on the way to the format `wanted`; None where it does not apply."""
        raise NotImplementedError

    def missing(self, wanted: FormatName) -> str | None:
        """The extra that has to be installed before this stage can make `wanted`; None when nothing is missing."""
        return None

    def run(self, source: Artifact, context: Context) -> Artifact:
        """Make the new artifact in `context.workdir`. Raises EdgecnnError only."""
        artifact: Artifact = plugins.resolve(self.kernel)(source, context, options=self)
        return artifact

    def options(self) -> dict[str, Any]:
        return self.model_dump(mode="json")
