"""Which channels matter, and how many go where for a target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from prunable_networks import network
from torch import Tensor, nn

from edgecnn.compress.prune import amount
from edgecnn.compress.prune.algorithm import PruneTarget, groups, prune
from edgecnn.compress.prune.group import Importance, PrunableGroup, Ranking
from edgecnn.compress.prune.importance import importances, slices
from edgecnn.core.errors import InputError
from edgecnn.core.events import Event, Progress
from edgecnn.core.quantities import Amount
from edgecnn.models.cost import count_macs

IMAGE = torch.zeros(1, 3, 32, 32)
USEFUL = frozenset(range(0, 32, 2))
"""The channels of the first layer that carry something, below."""


def with_useless_channels(weak: float = 0.05) -> nn.Module:
    """Every second channel of the first layer is made small: filters, norm scale, and the weights that read it."""
    made = network("plain")
    convolution, norm, reader = (made.get_submodule(path) for path in ("body.0.0", "body.0.1", "body.1.0"))
    useless = [index for index in range(32) if index not in USEFUL]
    with torch.no_grad():
        convolution.weight[useless] *= weak
        norm.weight[useless] *= weak
        norm.bias[useless] = 0
        reader.weight[:, useless] *= weak
    return made


def losses(module: nn.Module) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        images = torch.randn(8, 3, 32, 32, generator=generator)
        yield nn.functional.cross_entropy(module(images), torch.arange(8) % 5)


def chosen(module: nn.Module, importance: Importance, **options: object) -> frozenset[int]:
    """The 16 channels of the first layer that stay."""
    ranking = Ranking(importance=importance, losses=losses if importance == "taylor" else None, **options)  # type: ignore[arg-type]
    first = next(group for group in groups(module, IMAGE, ranking=ranking) if group.root == "body.0.0")
    return frozenset(first.kept(16))


@pytest.mark.parametrize("importance", ["group-l2", "taylor", "bn-scale", "fpgm", "lamp"])
def test_what_carries_nothing_goes_first(importance: Importance) -> None:
    assert chosen(with_useless_channels(), importance) == USEFUL


def test_random_knows_nothing_and_follows_its_seed() -> None:
    made = with_useless_channels()
    first, again, other = (chosen(made, "random", seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 4 <= len(first & USEFUL) <= 12


def test_taylor_needs_a_loss_and_leaves_no_gradient() -> None:
    made = network("plain").requires_grad_(False)
    with pytest.raises(InputError) as raised:
        groups(made, IMAGE, ranking=Ranking(importance="taylor"))
    assert raised.value.code == "no-loss"
    groups(made, IMAGE, ranking=Ranking(importance="taylor", losses=losses))
    assert all(item.grad is None and not item.requires_grad for item in made.parameters())


def test_taylor_is_the_squared_change_of_the_loss() -> None:
    """To first order: weights times gradients, summed over a filter, squared, added over the batches."""
    made = network("plain")
    found = [group.dependencies for group in groups(made, IMAGE) if group.dependencies and group.root == "body.2.0"]
    scores = importances(made, found, Ranking(importance="taylor", losses=losses))[0]
    convolution, norm, head = (made.get_submodule(path) for path in ("body.2.0", "body.2.1", "head"))
    wanted = torch.zeros(64)
    for loss in losses(made):
        made.zero_grad()
        loss.backward()
        products = [layer.weight * layer.weight.grad for layer in (convolution, norm, head)]
        wanted += (products[0].flatten(1).sum(1) ** 2 + products[1] ** 2 + products[2].sum(0) ** 2).detach() / 3
    assert scores is not None
    torch.testing.assert_close(scores.float(), wanted / wanted.mean())


def test_without_batch_norm_its_scale_ranks_nothing() -> None:
    made = network("normed")
    found = groups(made, IMAGE, ranking=Ranking(importance="bn-scale"))
    assert [group.root for group in found] == ["body.3.0"]
    assert found.unpruned["body.0"] == "nothing in it ranks its channels by bn-scale"


def test_weights_of_a_grouped_convolution_by_input() -> None:
    layer = nn.Conv2d(8, 4, 1, groups=2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(16.0).reshape(4, 4, 1, 1))
    assert slices(layer, layer.weight, "in").tolist()[:2] == [[0, 4], [1, 5]]
    assert slices(layer, layer.weight, "in").tolist()[4] == [8, 12]
    turned = nn.ConvTranspose2d(3, 5, 2)
    assert slices(turned, turned.weight, "out").shape == (5, 12)
    assert slices(turned, turned.weight, "in").shape == (3, 20)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        *(("plain", "macs"), ("plain", "parameters"), ("plain", "size")),
        *((name, "macs") for name in ("residual", "dense", "inverted", "grouped", "option_a")),
    ],
)
def test_the_target_is_met_within_one_portion(name: str, measure: amount.Measure) -> None:
    """On the network that results, counted anew; one portion of one layer more would be too much."""
    whole = network(name)
    ranking = Ranking(round_to=8)
    made = prune(whole, IMAGE, PruneTarget(measure, Amount(0.6)), ranking=ranking)
    before, after = amount.cost(whole, IMAGE, measure), amount.cost(made.module, IMAGE, measure)
    assert after <= 0.6 * before
    facts = made.facts[measure]
    assert (facts["before"], facts["after"]) == (before, after)
    found = groups(whole, IMAGE, ranking=ranking)
    costs = amount.costs(whole, IMAGE, found.groups)
    widths = {item["name"]: item["after"] for item in made.facts["layers"]}
    now = {group.root: widths[group.root] for group in found}
    wider = [{**now, g.root: next(w for w in g.widths if w > now[g.root])} for g in found if now[g.root] < g.channels]
    assert wider
    assert min(costs.at(step, measure) for step in wider) > 0.6 * before * (1 - amount.SLACK)


def test_macs_are_those_of_torch() -> None:
    """A convolution class of one's own counts as well."""

    class Own(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return self._conv_forward(nn.functional.pad(input, (1, 1, 1, 1)), self.weight, self.bias)

    assert count_macs(Own(3, 8, 3), (1, 3, 10, 10)) == 3 * 8 * 9 * 100
    assert (
        count_macs(network("plain"), (1, 3, 32, 32)) == 1024 * 27 * 32 + 256 * 9 * 32 * 48 + 64 * 9 * 48 * 64 + 64 * 5
    )


def test_size_counts_an_int8_file() -> None:
    network_of_one = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 2))
    assert amount.int8_bytes(network_of_one) == (216 + 9 * 8) + (16 + 9 * 2)


def test_a_target_out_of_reach_says_what_can_be_reached() -> None:
    whole = network("option_a")
    with pytest.raises(InputError) as raised:
        prune(whole, IMAGE, PruneTarget("macs", Amount(0.1)))
    assert raised.value.code == "target-out-of-reach"
    share = raised.value.hint.split()[1].rstrip(",")
    assert raised.value.hint.startswith("--macs ")
    made = prune(whole, IMAGE, PruneTarget("macs", Amount(float(share.rstrip("%")) / 100)))
    assert made.facts["macs"]["after"] <= float(share.rstrip("%")) / 100 * made.facts["macs"]["before"]


def test_a_pruning_that_would_change_nothing_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        prune(network("residual"), IMAGE, PruneTarget("macs", Amount(0.9)), ranking=Ranking(round_to=64))
    assert raised.value.code == "nothing-to-prune"
    assert "rounded to 64" in raised.value.why
    with pytest.raises(InputError) as raised:
        prune(network("residual"), IMAGE, PruneTarget("size", Amount(1e9, "B")))
    assert raised.value.code == "nothing-to-prune"


def test_rounds_prune_in_equal_parts_and_train_between() -> None:
    whole, seen, told = network("plain"), [], list[Event]()

    def between(module: nn.Module, number: int, rounds: int) -> None:
        seen.append((number, rounds, count_macs(module, (1, 3, 32, 32))))
        with torch.no_grad():
            module.get_submodule("head").bias.fill_(number)

    ranking = Ranking(round_to=4, max_layer=0.7)
    made = prune(
        whole, IMAGE, PruneTarget("macs", Amount(0.4), rounds=3), ranking=ranking, between=between, listener=told.append
    )
    before = made.facts["macs"]["before"]
    assert [item[:2] for item in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [item[2] / before for item in seen] == pytest.approx([0.8, 0.6, 0.4], abs=0.05)
    assert made.facts["macs"]["after"] <= 0.4 * before
    assert made.unpruned == groups(whole, IMAGE, ranking=ranking).unpruned
    narrower = {item["name"] for item in made.facts["layers"] if item["after"] < item["before"]}
    assert narrower and not narrower & set(made.unpruned)
    assert made.facts["left_whole"] == made.unpruned
    assert all(item["after"] >= 0.3 * item["before"] for item in made.facts["layers"])
    assert made.module.get_submodule("head").bias.tolist() == [3] * 5
    assert [event.done for event in told if isinstance(event, Progress)] == [0, 1, 2, 3]
    kept = made.plan.kept["body.1.0"].out
    assert kept is not None
    assert torch.equal(
        made.module.get_submodule("body.1.0").weight,
        whole.get_submodule("body.1.0").weight[list(kept)][:, list(made.plan.kept["body.1.0"].into or ())],
    )


def test_layers_of_one_pattern_give_the_same_share() -> None:
    """Isomorphic pruning: within the blocks half of the channels, whatever the layers outside are worth."""
    whole = network("option_a")
    with torch.no_grad():
        whole.get_submodule("body.3.first.0").weight.mul_(100)
    ranking = Ranking(round_to=1, max_layer=0.9)
    found = groups(whole, IMAGE, ranking=ranking)
    scopes = amount.scopes_of(found.groups, whole, isomorphic=True)
    assert [len(scope) for scope in scopes] == [3]
    whole = network("inverted")
    scopes = amount.scopes_of(groups(whole, IMAGE, ranking=ranking).groups, whole, isomorphic=True)
    assert [len(scope) for scope in scopes] == [1, 1, 1, 1]
    made = prune(whole, IMAGE, PruneTarget("macs", Amount(0.5), isomorphic=True), ranking=ranking)
    shares = [item["after"] / item["before"] for item in made.facts["layers"] if item["name"] != "head"]
    assert max(shares) - min(shares) < 0.05


def test_the_least_important_of_all_groups_go_first() -> None:
    cheap = PrunableGroup("a", (("a", "out"),), 4, (1, 2, 3, 4), (0, 1, 2, 3), (0.1, 0.2, 0.3, 5.0))
    dear = PrunableGroup("b", (("b", "out"),), 4, (1, 2, 3, 4), (3, 2, 1, 0), (9.0, 8.0, 7.0, 0.25))
    assert cheap.kept(2) == (2, 3)
    assert dear.kept(3) == (0, 1, 2)
    assert dear.worth(3) == 24.0
    widths = amount.reach([[cheap, dear]], lambda found: found["a"] + found["b"], 5)
    assert widths == {"a": 2, "b": 3}
    with pytest.raises(amount.Unreachable) as raised:
        amount.reach([[cheap, dear]], lambda found: found["a"] + found["b"], 1)
    assert raised.value.least == 2


def test_room_that_rounding_leaves_is_given_back() -> None:
    """Both groups fall a portion of 16 at once; one of them is needed."""
    groups_of_two = [
        PrunableGroup(name, ((name, "out"),), 32, (16, 32), tuple(range(32)), (value,) * 32)
        for name, value in (("a", 1.0), ("b", 1.0))
    ]
    widths = amount.reach([[item] for item in groups_of_two], lambda found: found["a"] + found["b"], 48)
    assert sorted(widths.values()) == [16, 32]
