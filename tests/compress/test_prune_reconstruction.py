"""What channels are worth to the layers that read them, and the weights that make up for their going."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from prunable_networks import network
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.compress.prune import reconstruction
from edgecnn.compress.prune.algorithm import PruneTarget, groups, prune, shrink
from edgecnn.compress.prune.group import DependencyGroup, Ranking
from edgecnn.core.errors import InputError
from edgecnn.core.events import Event, Progress
from edgecnn.core.quantities import Amount

IMAGE = torch.zeros(1, 3, 32, 32)


def images(batches: int = 4) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(batches):
        yield torch.randn(16, 3, 32, 32, generator=generator)


RANKING = Ranking("reconstruction", round_to=8, images=images)


def away(module: nn.Module, other: nn.Module) -> float:
    """Squared distance of the answers to images that nothing was fitted to, as a share of their spread."""
    x = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        wanted, given = module.eval()(x), other.eval()(x)
    return float((wanted - given).square().sum() / (wanted - wanted.mean(0)).square().sum())


def with_copies() -> nn.Module:
    """The first layer's channels 16 to 31 are copies of 0 to 15, read with weights of their own."""
    made = network("plain").eval()
    convolution, norm = made.get_submodule("body.0.0"), made.get_submodule("body.0.1")
    with torch.no_grad():
        convolution.weight[16:] = convolution.weight[:16]
        norm.weight[16:], norm.bias[16:] = norm.weight[:16], norm.bias[:16]
    return made


def dependencies_of(module: nn.Module, root: str) -> DependencyGroup:
    return next(group.dependencies for group in groups(module, IMAGE) if group.dependencies and group.root == root)


def test_one_of_two_copies_goes_and_the_other_speaks_for_both() -> None:
    module, many = with_copies(), partial(images, 16)
    scores = reconstruction.scores(module, [dependencies_of(module, "body.0.0")], many)[0]
    assert scores is not None
    gone = set(scores.argsort()[:16].tolist())
    assert {index % 16 for index in gone} == set(range(16))
    ordered = scores.sort().values
    assert float(ordered[15]) < 0.1 * float(ordered[16])
    widths = {"body.0.0": 16}
    rebuilt = shrink(module, IMAGE, widths, ranking=replace(RANKING, images=many)).module
    sliced = shrink(module, IMAGE, widths, ranking=Ranking(round_to=8)).module
    assert away(module, rebuilt) < 0.02
    assert away(module, sliced) > 0.1


@pytest.mark.parametrize(
    "name",
    ["plain", "residual", "dense", "inverted", "flat", "by_convolution", "option_a", "attended", "scaled", "shuffled"],
)
def test_the_answers_stay_nearer_than_with_slices_of_the_weights(name: str) -> None:
    module = network(name).eval()
    ranking = Ranking("reconstruction", round_to=8, images=images, max_layer=0.9)
    rebuilt = prune(module, IMAGE, PruneTarget("macs", Amount(0.8)), ranking=ranking)
    sliced = prune(module, IMAGE, PruneTarget("macs", Amount(0.8)), ranking=Ranking(round_to=8, max_layer=0.9))
    assert away(module, rebuilt.module) < 0.8 * away(module, sliced.module)
    assert rebuilt.facts["macs"]["after"] <= 0.8 * rebuilt.facts["macs"]["before"]


def test_the_error_is_that_of_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the closed form, for every channel that could go first and for the eight that do."""
    monkeypatch.setattr(reconstruction, "ROWS_PER_BATCH", 1 << 20)
    module = network("plain").eval()
    reader = module.get_submodule("body.1.0")
    rows = []
    with torch.no_grad():
        for x in images():
            unfolded = functional.unfold(module.get_submodule("body.0")(x), 3, padding=1, stride=2)
            rows.append(unfolded.transpose(1, 2).reshape(-1, 32 * 9))
    inputs = torch.cat(rows).double()
    gram = inputs.T @ inputs
    gram.diagonal().add_(reconstruction._damping(len(gram), len(inputs)) * gram.diagonal().mean())
    weight = reader.get_parameter("weight").detach().flatten(1).double()
    energy = ((weight @ gram) * weight).sum(1)

    def error(gone: set[int]) -> float:
        left = torch.tensor([c * 9 + at for c in range(32) if c not in gone for at in range(9)])
        known = (weight @ gram)[:, left]
        kept = (known * torch.linalg.solve(gram[left][:, left], known.T).T).sum(1)
        return float(((energy - kept) / energy).mean())

    scores = reconstruction.scores(module, [dependencies_of(module, "body.0.0")], images)[0]
    assert scores is not None
    order = scores.argsort().tolist()
    singly = [error({index}) for index in range(32)]
    assert order[0] == singly.index(min(singly))
    assert float(scores[order[0]]) == pytest.approx(min(singly), rel=1e-3)
    together = error(set(order[:8]))
    assert float(scores[order[:8]].sum()) == pytest.approx(together, rel=0.02)
    # Nor do the least squares of the kept channels leave anything that other weights could mend.
    smaller = shrink(module, IMAGE, {"body.0.0": 24}, ranking=RANKING)
    kept = sorted(order[8:])
    columns = torch.tensor([c * 9 + at for c in kept for at in range(9)])
    own = smaller.module.get_submodule("body.1.0").get_parameter("weight").detach().flatten(1).double()
    residual = (weight @ gram)[:, columns] - own @ gram[columns][:, columns]
    assert float(residual.norm() / (weight @ gram).norm()) < 1e-5


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), ((1, 2), (2, 1), (2, 1))])
def test_the_places_looked_at_are_those_of_the_convolution(
    monkeypatch: pytest.MonkeyPatch, stride: int, padding: int, dilation: int
) -> None:
    monkeypatch.setattr(reconstruction, "ROWS_PER_BATCH", 1 << 20)
    layer = nn.Conv2d(6, 4, (3, 2), stride, padding, dilation, bias=False)
    given = [torch.randn(5, 6, 11, 9) for _ in range(2)]
    found = reconstruction._grams(nn.Sequential(layer), ["0"], lambda: given, 0)["0"]
    # Each output is a product with the inputs that the Gram matrix is made of: their energies are equal.
    weight = layer.weight.detach().flatten(1).double()
    wanted = sum(layer(x).double().square().sum((0, 2, 3)) for x in given)
    share = reconstruction._damping(len(found), sum(layer(x)[:, 0].numel() for x in given))
    found.diagonal().sub_(share / (1 + share) * found.diagonal().mean())
    torch.testing.assert_close(((weight @ found) * weight).sum(1), wanted, rtol=1e-4, atol=1e-6)


def test_memory_decides_the_passes_and_not_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network("dense").eval()
    dependency_groups = [group.dependencies for group in groups(module, IMAGE) if group.dependencies]
    at_once = reconstruction.scores(module, dependency_groups, images)
    monkeypatch.setattr(reconstruction, "MEMORY_BYTES", 1)
    passes = 0

    def counted() -> Iterator[Tensor]:
        nonlocal passes
        passes += 1
        return images()

    one_by_one = reconstruction.scores(module, dependency_groups, counted)
    assert passes == len(dependency_groups) > 1
    for first, second in zip(at_once, one_by_one, strict=True):
        assert first is not None and second is not None
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-9)


def test_what_is_too_wide_is_ranked_by_its_weights_and_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction, "WIDEST", 100)
    module = network("plain").eval()
    widths = {"body.0.0": 16, "body.1.0": 24}
    made = shrink(module, IMAGE, widths, ranking=RANKING)
    assert {
        name: tensor.tolist() for name, tensor in made.module.state_dict().items() if name.startswith("body.1.0")
    } == {
        name: tensor.tolist()
        for name, tensor in shrink(module, IMAGE, widths, ranking=Ranking(round_to=8)).module.state_dict().items()
        if name.startswith("body.1.0")
    }


def test_layers_in_groups_keep_slices_of_their_weights() -> None:
    module = network("grouped").eval()
    made = prune(module, IMAGE, PruneTarget("macs", Amount(0.6)), ranking=RANKING)
    path, kept = next(
        (path, kept) for path, kept in made.plan.kept.items() if getattr(module.get_submodule(path), "groups", 1) > 1
    )
    assert kept.out is not None
    whole = module.get_submodule(path).get_parameter("weight")
    left = made.module.get_submodule(path).get_parameter("weight")
    assert set(left.flatten().tolist()) <= set(whole.flatten().tolist())


def test_it_needs_images() -> None:
    with pytest.raises(InputError) as raised:
        groups(network("plain"), IMAGE, ranking=Ranking("reconstruction"))
    assert raised.value.code == "no-images"


class ByKeyword(nn.Module):
    """Its layers are called by keyword, and the last one is no plain convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), Halved(32, 32, 3)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(input=functional.relu(self.first(x))))
        x = functional.relu(self.last(x)).mean((2, 3))
        answer: Tensor = self.head(input=x)
        return answer


class Halved(nn.Conv2d):
    """A convolution with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.avg_pool2d(x, 2))


def test_layers_called_by_keyword_are_looked_at_and_subclasses_are_not() -> None:
    torch.manual_seed(0)
    module = ByKeyword().eval()
    widths = {"first": 16, "second": 16, "last": 16}
    rebuilt = shrink(module, IMAGE, widths, ranking=RANKING)
    for path, is_new in (("second", True), ("last", False), ("head", True)):
        kept = rebuilt.plan.kept[path]
        sliced = module.get_submodule(path).get_parameter("weight")[:, list(kept.into or ())]
        sliced = sliced if kept.out is None else sliced[list(kept.out)]
        assert torch.equal(rebuilt.module.get_submodule(path).get_parameter("weight"), sliced) is not is_new


def test_a_single_image_is_a_batch_of_one() -> None:
    layer = nn.Conv2d(6, 4, 3)
    rows = reconstruction._rows(layer, torch.randn(6, 7, 5), torch.Generator())
    assert rows.shape == (15, 54)


def test_progress_is_told_layer_by_layer() -> None:
    told: list[Event] = []
    prune(network("plain"), IMAGE, PruneTarget("macs", Amount(0.6)), ranking=RANKING, listener=told.append)
    measured = [event for event in told if isinstance(event, Progress) and event.step == "importance"]
    assert [event.done for event in measured] == [1, 2, 3]
    assert all(event.total == 3 for event in measured)
