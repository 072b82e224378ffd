"""`edgecnn prune`, as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from workbench import FLAGS, Workbench

from edgecnn.core.artifact import Artifact
from edgecnn.models import open_model, save
from edgecnn.train.resnet_small import resnet_small
from edgecnn.workflows.prune import PruneResult

if TYPE_CHECKING:
    from workbench import Ended

Invoke = Callable[..., "Ended"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prune") / "small.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save(path, resnet_small(num_classes=4), architecture="edgecnn.train.resnet_small:resnet_small", num_classes=4)
    return path


def test_a_pruned_checkpoint_opens_like_any_other(checkpoint: Path, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "half.safetensors"
    ended = invoke("prune", str(checkpoint), "--macs", "50%", "--crop", "32", "--out", str(out))
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["blocks.5.conv1", "64"] in [line[:2] for line in lines]
    assert any(line[:1] == ["MACs"] and float(line[-1].rstrip("%")) <= 50 for line in lines)
    assert "fc: its channels are what the network gives: one for each class" in ended.out
    assert "no images were given" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    inspected = invoke("inspect", str(out), "--json").json
    assert inspected["form"] == "safetensors, pruned"
    assert any("layers have fewer outputs" in note for note in inspected["notes"])
    whole = invoke("inspect", str(checkpoint), "--json").json
    assert inspected["macs"] <= 0.5 * whole["macs"]


def test_what_was_done_is_one_json_document(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    out = tmp_path / "tiny.safetensors"
    words = ["--parameters", "70%", "--round-to", "2", "--data", str(bench.data), "--importance", "taylor", "--json"]
    ended = invoke("prune", *bench.source, *words, "--out", str(out))
    assert ended.code == 0, ended.err
    found = ended.json
    assert found["path"] == str(out)
    assert (found["variant"], found["history"], found["importance"]) == ("pruned", ["prune"], "taylor")
    assert found["parameters"]["after"] <= 0.7 * found["parameters"]["before"]
    assert found["bn_images"] > 0
    assert {item["name"]: item["before"] for item in found["layers"]}["fc"] == 4
    opened = open_model(out, architecture=bench.model)
    assert opened.preprocessing is not None and opened.preprocessing.crop == (32, 32)


def test_training_between_the_rounds(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    out, config = tmp_path / "tiny.safetensors", tmp_path / "training.yaml"
    config.write_text("{batch: 8, device: cpu, workers: 0, learning_rate: 0.01, mixed_precision: 'off'}\n")
    words = ["--macs", "60%", "--round-to", "2", "--iterations", "2", "--finetune", "1", "--config", str(config)]
    ended = invoke("prune", *bench.source, *words, "--data", str(bench.data), "--out", str(out), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["macs"]["after"] <= 0.6 * ended.json["macs"]["before"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--macs", "50%", "--out", "half.pth"), "wrong-suffix"),
        (("--out", "half.safetensors"), "bad-option"),
        (("--macs", "50%", "--size", "50%", "--out", "half.safetensors"), "bad-option"),
        (("--macs", "half", "--out", "half.safetensors"), "bad-option"),
        (("--macs", "50%", "--importance", "magic", "--out", "half.safetensors"), "bad-option"),
        (("--macs", "2%", "--out", "half.safetensors"), "target-out-of-reach"),
        (("--macs", "50%", "--round-to", "64", "--out", "half.safetensors"), "nothing-to-prune"),
        (("--macs", "50%", "--ignore", "backbone", "--out", "half.safetensors"), "no-such-layer"),
        (("--macs", "50%", "--finetune", "1", "--out", "half.safetensors"), "no-training-images"),
        (("--macs", "50%", "--importance", "taylor", "--out", "half.safetensors"), "no-training-images"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_named(
    words: tuple[str, ...],
    code: str,
    checkpoint: Path,
    tmp_path: Path,
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = invoke("prune", str(checkpoint), "--crop", "32", *words)
    assert ended.code == 2
    assert ended.error == code
    assert not list(tmp_path.iterdir())


def test_a_share_beyond_the_whole_is_refused_in_its_own_unit(checkpoint: Path, tmp_path: Path, invoke: Invoke) -> None:
    ended = invoke("prune", str(checkpoint), "--macs", "150%", "--out", str(tmp_path / "half.safetensors"))
    assert ended.code == 2
    assert "--macs 150%: has to be less than 1 (100%)" in ended.err


def test_a_latency_is_told_on_the_page(checkpoint: Path) -> None:
    facts = {
        "layers": [{"name": "conv1", "before": 16, "after": 8}],
        **{key: {"before": 200, "after": 100} for key in ("macs", "parameters", "size")},
        "latency": {"before_ns": 2e6, "after_ns": 1.25e6, "budget_ns": 1.2e6, "speedup": 1.6},
        "importance": "group-l2",
        "left_whole": {},
    }
    page = PruneResult(Artifact(checkpoint, "torch", "fp32", (), (), ""), facts).page()
    assert "layers together on this machine: 2.000 ms before, 1.250 ms after (1.60x); asked for: 1.200 ms" in page


def test_pruned_twice_and_exported(bench: Workbench, tmp_path: Path, invoke: Invoke) -> None:
    once, twice, out = (tmp_path / name for name in ("once.safetensors", "twice.safetensors", "tiny.onnx"))
    words = ("--model", bench.model, *FLAGS)
    assert invoke("prune", *bench.source, "--macs", "80%", "--round-to", "2", "--out", str(once)).code == 0
    ended = invoke("prune", str(once), *words, "--macs", "80%", "--round-to", "2", "--out", str(twice), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["macs"]["before"] < 0.8 * _macs(bench, invoke)
    ended = invoke("export", str(twice), *words, "--out", str(out), "--json")
    assert ended.code == 0, ended.err
    assert ended.json["parity"]["agreement"] == 1


def _macs(bench: Workbench, invoke: Invoke) -> int:
    found: int = json.loads(invoke("inspect", str(bench.checkpoint), "--model", bench.model, "--json").out)["macs"]
    return found + 1
