"""Artifacts: facts about a file that survive being written down and moved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgecnn.core.artifact import Artifact, Kind, TensorSpec, sha256_of


def artifact(folder: Path) -> Artifact:
    path = folder / "model.int8.onnx"
    path.write_bytes(b"abc" * 1000)
    return Artifact(
        path=path,
        format="onnx",
        precision="int8",
        inputs=(TensorSpec("input", ("batch", 3, 32, 32), "float32", "NCHW"),),
        outputs=(TensorSpec("logits", ("batch", 10), "float32"),),
        sha256=sha256_of(path),
        history=("export", "quantize"),
    )


def test_it_survives_json_and_finds_its_file_in_another_folder(tmp_path: Path) -> None:
    made = artifact(tmp_path)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    made.path.rename(moved / made.path.name)
    again = Artifact.from_dict(json.loads(json.dumps(made.to_dict())), moved)
    assert again == made.at(moved / made.path.name)
    assert again.size_bytes == 3000


def test_no_folder_is_written_down(tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(artifact(tmp_path).to_dict())


def test_its_kind_is_format_and_precision(tmp_path: Path) -> None:
    assert artifact(tmp_path).kind == Kind("onnx", "int8")
    assert str(artifact(tmp_path).kind) == "onnx int8"


def test_a_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
