"""TensorBoard tracker: event files beside the results."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.train.settings import Epoch
from edgecnn.train.trackers import flat, metrics

FOLDER = "tensorboard"


class TensorBoard:
    """Curves, settings and pictures under `folder/tensorboard`; a run that goes on adds a file beside the first."""

    def __init__(self, folder: Path, name: str) -> None:
        self._place = folder / FOLDER
        self._writer: Any = None
        self._settings: dict[str, Any] = {}
        self._last: dict[str, float] = {}
        self._number = 0

    @property
    def where(self) -> str:
        return f"tensorboard --logdir {self._place}"

    def begin(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(flat(settings))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._place))
        rows = "".join(f"| {name} | {value} |\n" for name, value in self._settings.items())
        self._writer.add_text("settings", f"| | |\n|-|-|\n{rows}")

    def epoch(self, number: int, epoch: Epoch) -> None:
        self._last, self._number = metrics(epoch), number
        for name, value in self._last.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), self._number, dataformats="HWC")

    def artifact(self, path: Path) -> None:
        self._writer.add_text("files", str(path), self._number)

    def end(self, status: str) -> None:
        if self._writer is None:
            return
        if status == "finished" and self._last:
            results = {f"hparam/{name}": value for name, value in self._last.items()}
            self._writer.add_hparams(self._settings, results, run_name=".", global_step=self._number)
        self._writer.close()
        self._writer = None
