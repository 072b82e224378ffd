"""What hangs together in a network, and what of it can be pruned: every known trap of the library is one test."""

from __future__ import annotations

import pytest
import torch
from prunable_networks import NETWORKS, network
from torch import Tensor, nn

from edgecnn.compress.prune import graph
from edgecnn.compress.prune.algorithm import groups, shrink
from edgecnn.compress.prune.graph import ENTANGLED, OUTPUTS, dependency_groups
from edgecnn.compress.prune.group import Prunable, Pruned, Ranking
from edgecnn.compress.prune.trial import MIXED, differs, examine, scrambled, sift
from edgecnn.core.errors import InputError, StepError
from edgecnn.models.pruned import Channels, PruningPlan, narrowed, skeleton

IMAGE = torch.zeros(1, 3, 32, 32)
PRUNED = {
    "plain": {"body.0.0", "body.1.0", "body.2.0"},
    "residual": {"body.2.second", "body.1.first.0", "body.2.first.0"},
    "dense": {"body.0.0", "body.1.grow.0", "body.2.grow.0", "body.3.0"},
    "inverted": {"body.0.0", "body.1.2.down", "body.1.2.up", "body.1.3"},
    "grouped": {"body.0.0", "body.1.0", "body.2.0"},
    "flat": {"body.0.0", "body.1.0"},
    "by_convolution": {"body.0.0", "body.1.0"},
    "option_a": {"body.1.first.0", "body.2.first.0", "body.3.first.0"},
    "shuffled": {"body.1.branch.1.0", "body.2.branch.1.0"},
    "by_mean": {"body.after.0"},
    "attended": {"body.1.wide"},
    "scaled": {"body.2.narrow", "body.1.wide", "body.2.wide"},
    "normed": {"body.0", "body.3.0"},
    "aided": {"body.0", "more.0", "aid.0.0"},
}
"""The root layers of what can go, by network."""
_found: dict[str, tuple[nn.Module, Prunable]] = {}


def prunable(name: str) -> tuple[nn.Module, Prunable]:
    """The network and what was found of it, looked for once."""
    if name not in _found:
        made = network(name)
        _found[name] = made, groups(made, IMAGE)
    return _found[name]


def halved(name: str) -> tuple[nn.Module, Pruned]:
    """Every group at its narrowest width."""
    whole, found = prunable(name)
    return whole, shrink(whole, IMAGE, {group.root: group.widths[0] for group in found}, prunable=found)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_can_go_is_found_and_the_rest_is_named(name: str) -> None:
    whole, found = prunable(name)
    assert {group.root for group in found} == PRUNED[name]
    coupled = {path for group in found for path, axis in group.layers if axis == "out"}
    layers = {path for path, item in whole.named_modules() if isinstance(item, nn.Conv2d | nn.Linear)}
    assert layers == coupled | set(found.unpruned)
    assert not coupled & set(found.unpruned)
    assert all(found.unpruned.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_works_as_the_whole_one(name: str) -> None:
    """Outputs and gradients as before; it gives what the whole one gives that does not read the channels that went;
    and each layer that lost outputs has a multiple of 16."""
    whole, made = halved(name)
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = examine(whole, noise), examine(made.module, noise)
    assert (after.shape, after.trained, after.gradients) == (before.shape, before.trained, before.gradients)
    assert sum(item.numel() for item in made.module.parameters()) < sum(item.numel() for item in whole.parameters())
    assert differs(scrambled(whole, noise, seed=1), noise, made.plan) == ""
    widths = [item["after"] for item in made.facts["layers"] if item["after"] != item["before"]]
    assert widths
    assert not [width for width in widths if width % 16]


def test_the_whole_network_is_left_as_it_was() -> None:
    whole, found = prunable("inverted")
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    state = torch.get_rng_state()
    groups(whole, IMAGE, usable_groups=[group.dependencies for group in found if group.dependencies])
    shrink(whole, IMAGE, {group.root: group.widths[0] for group in found}, prunable=found)
    assert all(torch.equal(before[key], value) for key, value in whole.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(item.grad is None for item in whole.parameters())


def test_classes_that_a_convolution_gives_are_not_pruned() -> None:
    """SqueezeNet: the library takes 1000 classes to 496 without a word."""
    _, found = prunable("by_convolution")
    assert found.unpruned == {"classes": OUTPUTS}
    assert halved("by_convolution")[1].module(IMAGE).shape == (1, 64)


def test_a_shortcut_that_pads_keeps_its_channels_and_what_is_within_the_blocks_goes() -> None:
    _, found = prunable("option_a")
    assert {"body.0.0", "body.1.second.0", "body.2.second.0", "body.3.second.0"} <= set(found.unpruned)


def test_what_goes_through_a_channel_shuffle_stays_and_what_does_not_goes() -> None:
    """ShuffleNetV2: ZeroDivisionError in the library, for the whole network."""
    _, found = prunable("shuffled")
    assert "torch-pruning" in found.unpruned["body.0.0"]


def test_a_mean_over_channels_is_seen() -> None:
    """Nothing fails there but the result: shapes fit, and the network computes something else."""
    _, found = prunable("by_mean")
    assert found.unpruned["body.before.0"] == MIXED


def test_attention_is_left_whole_and_the_layers_beside_it_are_pruned() -> None:
    _, found = prunable("attended")
    assert "multi-head attention" in found.unpruned["body.1.narrow"]
    assert "multi-head attention" in found.unpruned["body.1.attention.out_proj"]


def test_groups_of_a_convolution_stay_equal_and_may_keep_other_channels() -> None:
    whole, made = halved("grouped")
    smaller = made.module.get_submodule("body.1.0")
    assert (smaller.groups, smaller.in_channels, smaller.out_channels) == (4, 16, 16)
    kept = made.plan.kept["body.1.0"].out
    assert kept is not None
    assert [sum(index // 16 == block for index in kept) for block in range(4)] == [4] * 4
    assert len({tuple(index % 16 for index in kept if index // 16 == block) for block in range(4)}) > 1
    assert whole.get_submodule("body.1.0").groups == 4


def test_a_linear_layer_that_reads_a_map_loses_all_places_of_a_channel() -> None:
    _, made = halved("flat")
    head = made.module.get_submodule("head")
    assert head.in_features == 16 * 64
    kept = made.plan.kept["head"].into
    assert kept is not None
    assert all(len([index for index in kept if index // 64 == channel]) in (0, 64) for channel in range(32))


def test_layers_that_only_training_reads_follow() -> None:
    _, made = halved("aided")
    made.module.train()
    answers = made.module(torch.zeros(2, 3, 32, 32))
    assert [tuple(item.shape) for item in answers] == [(2, 5), (2, 5)]
    made.module.eval()


def test_tied_weights_are_left_whole() -> None:
    whole = network("plain")
    twice = nn.Conv2d(64, 64, 3, 1, 1)
    again = nn.Conv2d(64, 64, 3, 1, 1)
    again.weight = twice.weight
    whole.body = nn.Sequential(whole.body, twice, again)
    found = groups(whole, IMAGE)
    assert "in common with" in found.unpruned["body.1"]
    assert "in common with" in found.unpruned["body.2"]
    assert {group.root for group in found} == {"body.0.0.0", "body.0.1.0"}


def test_a_computed_weight_is_left_whole() -> None:
    whole = network("plain")
    nn.utils.parametrizations.weight_norm(whole.get_submodule("body.1.0"))
    found = groups(whole, IMAGE)
    assert {group.root for group in found} == {"body.2.0"} or "body.1.0" in found.unpruned
    assert "body.1.0" not in {group.root for group in found}


def test_what_was_asked_to_stay_stays() -> None:
    whole, found = prunable("residual")
    dependencies = [group.dependencies for group in found if group.dependencies]
    for word, stay in (("body.1.first.0", 1), ("body.1", 2), (r"body\.\d\.first.*", 2), ("body", 3)):
        kept = groups(whole, IMAGE, ranking=Ranking(ignore=(word,)), usable_groups=dependencies)
        assert len(kept) == len(found) - stay
        assert [why for why in kept.unpruned.values() if "asked to stay whole" in why]


def test_a_layer_narrower_than_the_rounding_is_said_to_be() -> None:
    whole, found = prunable("residual")
    kept = groups(
        whole, IMAGE, ranking=Ranking(round_to=32), usable_groups=[g.dependencies for g in found if g.dependencies]
    )
    assert not kept.groups
    assert kept.unpruned["body.1.first.0"] == "it has 32 channels, which are rounded to 32"


def test_no_more_of_a_layer_goes_than_is_allowed() -> None:
    whole, found = prunable("plain")
    ranking = Ranking(round_to=8, max_layer=0.3)
    kept = groups(whole, IMAGE, ranking=ranking, usable_groups=[g.dependencies for g in found if g.dependencies])
    assert {group.root: group.widths for group in kept} == {
        "body.2.0": (48, 56, 64),
        "body.1.0": (40, 48),
        "body.0.0": (24, 32),
    }


def test_widths_that_are_not_offered_are_refused() -> None:
    whole, found = prunable("plain")
    with pytest.raises(InputError, match="cannot have 17 channels"):
        shrink(whole, IMAGE, {"body.0.0": 17}, prunable=found)
    with pytest.raises(InputError, match="'head' cannot be pruned") as raised:
        shrink(whole, IMAGE, {"head": 3}, prunable=found)
    assert raised.value.why == OUTPUTS


def test_a_network_that_cannot_be_traced_is_an_error_of_ours() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("not today")

    with pytest.raises(StepError) as raised:
        dependency_groups(Closed(), IMAGE)
    assert raised.value.code == "cannot-trace"
    assert "not today" in raised.value.why


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that would take more is left whole; the others are not."""
    bare = skeleton(network("dense"))
    monkeypatch.setattr(graph, "MOST_EDGES", 20)
    found = dependency_groups(bare, IMAGE.to("meta"))
    assert any(item.obstacle == ENTANGLED for item in found)
    assert any(not item.obstacle for item in found)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.gain = network("plain"), nn.Parameter(torch.ones(7))

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.inner(x) * self.gain.sum()
            return answer

    groups(Loud(), IMAGE)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_what_works_together_is_found_by_halving() -> None:
    whole = dependency_groups(skeleton(network("dense")), IMAGE.to("meta"))
    bad = {whole[1], whole[4]}
    asked = []

    def fault(items: object) -> str:
        chosen = list(items)  # type: ignore[call-overload]
        asked.append(len(chosen))
        return "bad" if bad & set(chosen) else ""

    working, failed = sift(whole, fault)
    assert set(failed) == bad
    assert set(working) == set(whole) - bad

    def only_apart(items: object) -> str:
        return "together" if {whole[0], whole[3]} <= set(items) else ""  # type: ignore[call-overload]

    working, failed = sift(whole, only_apart)
    assert set(failed) == {whole[3]}
    assert len(working) == len(whole) - 1


def test_a_wrong_alignment_is_seen_where_every_shape_fits() -> None:
    """The consumer drops other channels than the producer: nothing but the numbers tells."""
    whole = network("plain")
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    left, wrong = tuple(range(16)), tuple(range(1, 17))
    right_plan = PruningPlan(
        {
            "body.0.0": Channels(left),
            "body.0.1": Channels(left),
            "body.1.0": Channels(None, left),
        }
    )
    wrong_plan = PruningPlan({**right_plan.kept, "body.1.0": Channels(None, wrong)})
    assert examine(narrowed(whole, wrong_plan), noise).shape == (1, 5)
    reference = scrambled(whole, noise, seed=0)
    assert differs(reference, noise, right_plan) == ""
    assert differs(reference, noise, wrong_plan) == MIXED
