"""Inference with the model in this folder: `python infer.py photo.jpg ...`

Needs numpy, Pillow and the runtime named in manifest.json (see requirements.txt); Python 3.8 or newer. The code in
`edge/` is the code the model was measured and judged with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from edge.privacy import disable_telemetry  # noqa: E402

disable_telemetry(os.environ)  # before the runtime is imported

from edge.backends import find  # noqa: E402
from edge.decode import decode, line  # noqa: E402
from edge.errors import ProbeError  # noqa: E402
from edge.normalise import normalise  # noqa: E402
from edge.pixels import from_array, load  # noqa: E402
from edge.specs import arrange  # noqa: E402

Photo = Union[str, Path, np.ndarray]  # noqa: UP007 - Python 3.8
"""The path of an image file, or the picture itself."""


class BundledModel:
    """The model, its preprocessing and its labels. Use as a context manager.

    `threads` are the runtime's, `batch` is how many images it takes at a time; `cpu` computes a model for a GPU on the
    CPU. A TensorRT engine is built the first time, which takes minutes, and kept in ~/.cache/edgecnn. Raises
    ProbeError.
    """

    def __init__(self, folder: Path = HERE, threads: int = 1, *, batch: int = 1, cpu: bool = False) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.preprocessing: dict[str, Any] = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        self.batch = batch
        runner = self.manifest.get("cpu", self.manifest) if cpu else self.manifest
        options = dict(runner["options"], threads=threads, **({"batch": batch} if batch > 1 else {}))
        self._session = find(runner["backend"]).load(str(folder / self.manifest["model"]), options)

    def outputs(self, images: Sequence[Photo]) -> np.ndarray:
        """The raw outputs, float32, one row for each image: the path of a file, or an array, uint8 (height, width, 3)
        in RGB or (height, width). Raises OSError or ValueError when one is no image."""
        prepared = [self._prepared(image) for image in images]
        rows: list[np.ndarray] = []
        for start in range(0, len(prepared), self.batch):
            taken = prepared[start : start + self.batch]
            full = np.stack(taken + [taken[-1]] * (self.batch - len(taken)))
            rows.extend(self._infer(full)[: len(taken)])
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def output(self, image: Photo) -> np.ndarray:
        """The raw output for one image, float32 without the batch."""
        row: np.ndarray = self.outputs([image])[0]
        return row

    def predict(self, image: Photo, top: int = 1) -> dict[str, Any]:
        """The answer to one image, as `edge/decode.py` reads it from the output."""
        return self.predict_all([image], top)[0]

    def predict_all(self, images: Sequence[Photo], top: int = 1) -> list[dict[str, Any]]:
        """The answer to each image, `batch` of them at a time; classifiers also give the likeliest `top` classes."""
        more = {"top": top} if top > 1 else {}
        return [decode(output, self.labels, **more) for output in self.outputs(images)]

    def _prepared(self, image: Photo) -> np.ndarray:
        read = from_array if isinstance(image, np.ndarray) else load
        pixels: np.ndarray = read(image, self.preprocessing)
        return pixels

    def _infer(self, pixels: np.ndarray) -> np.ndarray:
        feed = normalise(pixels, self.preprocessing["mean"], self.preprocessing["std"])
        spec = self._session.inputs[0]
        outputs: np.ndarray = self._session.infer({spec.name: arrange(feed, spec)})[0]
        return np.asarray(outputs, dtype=np.float32)

    def __enter__(self) -> BundledModel:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.__exit__(*error)


def main() -> int:
    """One line per image: file and answer. Exit code 1 when an image could not be read, 4 when the runtime is
    missing."""
    parser = argparse.ArgumentParser(description="Run the model in this folder on images.")
    parser.add_argument("images", nargs="+", type=Path, help="image files")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default 1)")
    parser.add_argument("--top", type=int, default=1, help="how many of the likeliest classes (default 1)")
    parser.add_argument(
        "--cpu", action="store_true", help="on the CPU in ONNX Runtime, where the model is for TensorRT"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    request = parser.parse_args()
    status = 0
    try:
        with BundledModel(threads=request.threads, cpu=request.cpu) as model:
            for path in request.images:
                try:
                    answer = model.predict(path, request.top)
                except (OSError, ValueError) as error:
                    print(f"{path}: {error}", file=sys.stderr)
                    status = 1
                    continue
                print(json.dumps({"file": str(path), **answer}) if request.json else f"{path}\t{line(answer)}")
    except ProbeError as error:
        print("\n".join(part for part in (error.message, error.why, error.hint) if part), file=sys.stderr)
        return 4 if error.code == "missing-runtime" else 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever read the labels has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
