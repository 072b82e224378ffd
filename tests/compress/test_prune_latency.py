"""Widths for a latency: exported, timed layer by layer, chosen, made and measured again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from edgecnn.compress.prune.group import PrunableGroup, Ranking
from edgecnn.compress.prune.latency import LatencyOutcome, LayerTimeTable, exported_times, prune_to_latency, widths_for
from edgecnn.core.device import Deployment, DeviceProfile
from edgecnn.core.errors import InputError, MissingError
from edgecnn.core.events import Event, Progress, Warned
from edgecnn.core.preprocessing import Preprocessing
from edgecnn.core.quantities import Amount
from edgecnn.core.stage import Context
from edgecnn.measure.connection import this_host
from edgecnn.measure.layer_times import layer_times_on

HOST = DeviceProfile(
    name="host",
    title="This machine",
    local=True,
    deployments=(Deployment(format="onnx", backend="onnxruntime", family="onnxruntime"),),
)
PREPROCESSING = Preprocessing(crop=(32, 32), resize=None)


class Net(nn.Module):
    """Three convolutions one after the other: three groups."""

    def __init__(self, a: int = 64, b: int = 64, c: int = 64) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, a, 3, 2, 1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(b, c, 3, 1, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(c, 4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.fc(torch.flatten(self.pool(self.c(self.b(self.a(x)))), 1))
        return answer


def group(name: str, after: str, importance: float) -> PrunableGroup:
    layers: tuple[tuple[str, Literal["out", "in"]], ...] = ((f"{name}.0", "out"), (after, "in"))
    return PrunableGroup(f"{name}.0", layers, 64, (16, 32, 48, 64), tuple(range(64)), (importance,) * 64)


GROUPS = (group("a", "b.0", 1.0), group("b", "c.0", 1.1), group("c", "fc", 0.9))


def cut(widths: Mapping[str, int]) -> nn.Module:
    return Net(**{name: widths.get(f"{name}.0", 64) for name in "abc"}).eval()


@dataclass
class Named:
    name: str = "net"
    num_classes: int = 4
    input_shape: tuple[int, int, int] = (3, 32, 32)
    sha256: str = ""

    def module(self) -> nn.Module:
        return cut({})


@dataclass
class PreparedNetwork:
    preprocessing: Preprocessing = PREPROCESSING


@dataclass
class Times:
    """A target of our making: the time of each layer by the shape of its weights."""

    told: Callable[[str, list[int]], float]
    asked: int = 0

    def __call__(self, module: nn.Module) -> Mapping[str, float]:
        self.asked += 1
        shapes = {name.removesuffix(".weight"): list(value.shape) for name, value in module.named_parameters()}
        return {name: self.told(name, shape) for name, shape in shapes.items() if not name.endswith("bias")}


def on_plateaus(name: str, shape: list[int]) -> float:
    """32 channels at a time, and a first layer that waits for memory."""
    if name == "a.0":
        return 3e5
    return 1e5 * math.prod(math.ceil(side / 32) for side in shape[:2]) if name in ("b.0", "c.0") else 0.0


def context(folder: Path, layer_times: Any, told: list[Event]) -> Context:
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    model: Any = Named()
    return Context(
        workdir=folder,
        scratch=folder / "scratch",
        model=model,
        data=PreparedNetwork(),  # type: ignore[arg-type]
        target=HOST,
        format="onnx",
        listener=told.append,
        seed=0,
        teacher=model,
        layer_times=layer_times,
    )


def chosen(folder: Path, times: Any, budget: Amount, told: list[Event] | None = None) -> LatencyOutcome:
    surroundings = context(folder, None, [] if told is None else told)
    table = LayerTimeTable(cut, times, surroundings.scratch / "layer-times.json")
    return widths_for(cut({}), GROUPS, table, budget=budget, context=surroundings)


def test_channels_go_where_time_goes_with_them(tmp_path: Path) -> None:
    """1.1 ms whole; a stays, for its time is flat, and nothing is cut within a block of 32."""
    told: list[Event] = []
    found = chosen(tmp_path, Times(on_plateaus), Amount(0.85), told)
    assert found.before_ns == pytest.approx(3e5 + 2 * 4e5)
    assert found.widths == {"a.0": 64, "b.0": 64, "c.0": 32}
    assert found.predicted_ns == pytest.approx(found.after_ns) == pytest.approx(9e5, rel=0.03)
    assert found.is_met
    assert found.speedup == pytest.approx(11 / 9, rel=0.03)
    assert "predicted" in str(found)
    assert not [event for event in told if isinstance(event, Warned)]
    counted = [event for event in told if isinstance(event, Progress) and event.unit == "widths"]
    assert [event.done for event in counted] == list(range(1, counted[-1].total + 1))


def test_milliseconds_are_a_budget_as_well(tmp_path: Path) -> None:
    found = chosen(tmp_path, Times(on_plateaus), Amount(0.62, "ms"))
    assert found.budget_ns == pytest.approx(6.2e5)
    assert found.after_ns <= 6.2e5
    assert found.widths["b.0"] == 32


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    """A killed run finds its table in the scratch folder."""
    first, second = Times(on_plateaus), Times(on_plateaus)
    before = chosen(tmp_path, first, Amount(0.8))
    assert chosen(tmp_path, second, Amount(0.8)) == before
    assert (first.asked, second.asked) == (5, 0)  # four widths, and the choice
    (tmp_path / "scratch" / "layer-times.json").write_text("{")
    assert chosen(tmp_path, second, Amount(0.8)) == before
    assert second.asked == 5


def test_a_prediction_that_is_off_is_corrected_once(tmp_path: Path) -> None:
    """Uneven widths cost half as much again, which no uniform width shows."""

    def uneven(name: str, shape: list[int]) -> float:
        return on_plateaus(name, shape) * (1.5 if len(set(shape[:2])) > 1 else 1.0)

    times = Times(uneven)
    told: list[Event] = []
    found = chosen(tmp_path, times, Amount(0.7), told)
    assert found.after_ns <= 0.7 * found.before_ns * 1.03
    assert not [event for event in told if isinstance(event, Warned)]


def test_a_target_that_channels_do_not_decide_is_refused_or_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        chosen(tmp_path / "flat", Times(lambda name, shape: 1e5), Amount(0.9))
    assert raised.value.code == "target-out-of-reach"
    assert "0.400 of 0.400 ms" in raised.value.why

    def worse_when_made(name: str, shape: list[int]) -> float:
        return on_plateaus(name, shape) * (3.0 if len(set(shape[:2])) > 1 else 1.0)

    told: list[Event] = []
    found = chosen(tmp_path / "slower", Times(worse_when_made), Amount(0.72), told)
    said = [event.code for event in told if isinstance(event, Warned)]
    assert found.is_met or said == ["not-faster" if found.after_ns >= found.before_ns else "latency-missed"]


def test_a_network_that_is_fast_enough_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        chosen(tmp_path, Times(on_plateaus), Amount(2.0, "ms"))
    assert raised.value.code == "nothing-to-prune"


def test_without_a_target_to_time_it_names_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as raised:
        exported_times(context(tmp_path, None, []))
    assert raised.value.code == "no-layer-times"
    assert "macs" in raised.value.hint


@pytest.mark.slow
def test_on_this_host_the_layers_of_onnx_runtime_are_timed(tmp_path: Path) -> None:
    """Groups by the dependency graph, the file by the exporter, times by ONNX Runtime, and a network that works."""
    pytest.importorskip("onnxruntime")
    surroundings = context(tmp_path, layer_times_on(this_host(), HOST, threads=1), [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = cut({})
    example = torch.zeros(1, 3, 32, 32)
    made = prune_to_latency(
        module, example, budget=Amount(0.7), ranking=Ranking(round_to=32, max_layer=0.5), context=surroundings
    )
    told = made.facts["latency"]
    assert told["before_ns"] > 0 < told["after_ns"]
    assert told["predicted_ns"] > 0
    assert set(told["widths"]) == {"a.0", "b.0", "c.0"}
    assert sum(told["widths"].values()) < 3 * 64
    assert made.module(example).shape == (1, 4)
    assert {name: made.module.get_submodule(name).out_channels for name in told["widths"]} == told["widths"]
