"""Inference with the model in this folder: `python infer.py photo.jpg ...`

Needs numpy, Pillow and the runtime named in manifest.json (see requirements.txt); Python 3.8 or newer. The code in
`edge/` is the code the model was measured and judged with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from edge.privacy import disable_telemetry  # noqa: E402

disable_telemetry(os.environ)  # before the runtime is imported

from edge.backends import find  # noqa: E402
from edge.decode import decode, line  # noqa: E402
from edge.errors import ProbeError  # noqa: E402
from edge.normalise import normalise  # noqa: E402
from edge.pixels import load  # noqa: E402
from edge.specs import arrange  # noqa: E402


class BundledModel:
    """The model, its preprocessing and its labels. Use as a context manager; `threads` are the runtime's."""

    def __init__(self, folder: Path = HERE, threads: int = 1) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.preprocessing: dict[str, Any] = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        options = dict(self.manifest["options"], threads=threads)
        self._session = find(self.manifest["backend"]).load(str(folder / self.manifest["model"]), options)

    def output(self, image: Path) -> np.ndarray:
        """The raw output for one image file, float32 without the batch. Raises OSError or ValueError when it is no
        image."""
        pixels = load(image, self.preprocessing)[None]
        feed = normalise(pixels, self.preprocessing["mean"], self.preprocessing["std"])
        spec = self._session.inputs[0]
        outputs: np.ndarray = self._session.infer({spec.name: arrange(feed, spec)})[0]
        return np.asarray(outputs, dtype=np.float32)[0]

    def predict(self, image: Path) -> dict[str, Any]:
        """The answer to one image file, as `edge/decode.py` reads it from the output."""
        return decode(self.output(image), self.labels)

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
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    request = parser.parse_args()
    status = 0
    try:
        with BundledModel(threads=request.threads) as model:
            for path in request.images:
                try:
                    answer = model.predict(path)
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
