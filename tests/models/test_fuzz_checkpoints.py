"""Checkpoints from anywhere: read, or refused by an InputError; nothing else, whatever the bytes."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import JSON, damaged, examples
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from edgecnn.core.errors import InputError
from edgecnn.models import facts
from edgecnn.models.pruned import PLAN_KEY, PruningPlan
from edgecnn.models.weights import METADATA_KEY, read_weights

STATE = {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2), "b.num_batches_tracked": torch.tensor(3)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file.pth"


def read(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = read_weights(path)
        except InputError as error:
            assert error.message
            assert error.code != "bug"
            return
    metadata = found.metadata
    facts.stated_architecture(metadata)
    facts.stated_size(metadata)
    facts.stated_history(metadata)
    facts.class_names(metadata, 2)
    facts.preprocessing_of(metadata)


def saved(content: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    torch.save(content, sink, **options)
    return sink.getvalue()


def exported() -> bytes:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x)

    sink = io.BytesIO()
    torch.export.save(torch.export.export(Net(), (torch.zeros(1, 3),)), sink)
    return sink.getvalue()


CONTENT = {"state_dict": STATE, "epoch": 3, "args": {"arch": "resnet18"}, "input_size": (3, 32, 32)}
FILES = (
    saved(CONTENT),
    saved(CONTENT, _use_new_zipfile_serialization=False),
    save(STATE, {METADATA_KEY: json.dumps({"architecture": "resnet18", "num_classes": 2})}),
)


@examples(200)
@given(raw=damaged(*FILES))
def test_damaged_files(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    read(path)


def test_damaged_exports(path: Path) -> None:
    whole = exported()

    @examples(60)
    @given(raw=damaged(whole))
    def damage(raw: bytes) -> None:
        path.write_bytes(raw)
        read(path)

    path.write_bytes(whole)
    read(path)
    damage()


@examples(100)
@given(raw=st.binary(max_size=64))
def test_a_few_bytes(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    read(path)


TENSORS = st.sampled_from(
    [
        torch.ones(2, 3),
        torch.zeros(0),
        torch.tensor(1),
        torch.zeros(1).expand(10**6, 10**6),
        torch.eye(3).to_sparse(),
        torch.ones(2, device="meta"),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.int8),
        torch.ones(2, dtype=torch.float16),
        torch.tensor([float("nan")]),
    ]
)
KEYS = st.sampled_from(["a.weight", "module.a.bias", "", "x", 3, None, ("a", 1), "edgecnn"])
NAMES = st.sampled_from(
    [
        "state_dict",
        "model",
        "args",
        "meta",
        "arch",
        "input_size",
        "class_names",
        "classes",
        "class_to_idx",
        "mean",
        "std",
        "preprocessing",
    ]
)
DICTIONARIES = st.recursive(
    st.dictionaries(KEYS, TENSORS | JSON, max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | JSON, max_size=4),
    max_leaves=5,
)


@examples(150)
@given(content=DICTIONARIES)
def test_dictionaries_of_anything(path: Path, content: dict[Any, Any]) -> None:
    path.write_bytes(saved(content))
    read(path)


def itself() -> dict[str, Any]:
    content: dict[str, Any] = {"net": dict(STATE)}
    content["model"] = content
    return content


def deep() -> dict[str, Any]:
    content: Any = dict(STATE)
    for _ in range(200):
        content = {"model": content}
    return {**STATE, "meta": {"config": content}, "list": [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}


@pytest.mark.parametrize("make", [itself, deep])
def test_dictionaries_in_each_other(path: Path, make: Any) -> None:
    path.write_bytes(saved(make()))
    read(path)


@pytest.mark.parametrize(
    ("key", "tensor", "says"),
    [
        ("x.weight", torch.eye(3).to_sparse(), "'x.weight' is a sparse tensor"),
        ("x.weight", torch.ones(2, device="meta"), "'x.weight' is a meta tensor"),
        ("x.weight", torch.ones(2, dtype=torch.complex64), "'x.weight' holds complex numbers"),
        ("x.weight", torch.ones(2, dtype=torch.int8), "'x.weight' holds int8 numbers"),
        ("x.bias", torch.ones(2, dtype=torch.int32), "'x.bias' holds int32 numbers"),
    ],
)
def test_what_is_no_weight_is_refused(path: Path, key: str, tensor: torch.Tensor, says: str) -> None:
    path.write_bytes(saved({**STATE, key: tensor}))
    with pytest.raises(InputError) as raised:
        read_weights(path)
    assert raised.value.code == "unusable-weights"
    assert says in raised.value.why


def test_a_small_file_that_asks_for_much_memory(path: Path) -> None:
    path.write_bytes(saved({**STATE, "x.weight": torch.zeros(1).expand(20_000, 1_000_000)}))
    with pytest.raises(InputError, match=r"asks for 80\.0 GB") as raised:
        read_weights(path)
    assert raised.value.code == "oversized-file"


def test_whole_numbers_beside_the_weights_stay(path: Path) -> None:
    path.write_bytes(saved({**STATE, "a.index": torch.ones(4, dtype=torch.int64), "a.mask": torch.ones(2) > 0}))
    assert read_weights(path).state["a.index"].dtype == torch.int64


@examples(200)
@given(raw=JSON)
def test_plans_of_pruned_channels(raw: Any) -> None:
    for plan in (raw, *({"version": 1, "kept": kept} for kept in (raw, {"a": raw}, {"a": {"out": raw}}))):
        try:
            PruningPlan.from_dict(plan)
        except InputError as error:
            assert error.code == "bad-plan"


@examples(150)
@given(own=JSON, plan=JSON)
def test_metadata_of_safetensors(path: Path, own: Any, plan: Any) -> None:
    about = {**own, PLAN_KEY: plan} if isinstance(own, Mapping) else own
    path.write_bytes(save(STATE, {METADATA_KEY: json.dumps(about)}))
    read(path)
