"""The losses are those of the papers, and the objective shows teacher and student the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecnn.core.errors import InputError
from edgecnn.train.distillation_loss import CachedLogits, Distilled, Method, dist, dkd, hinton

STUDENT = np.array([[2.0, 0.5, -1.0, 0.3], [0.1, 1.2, 0.7, -0.4], [-0.6, 0.2, 1.5, 0.9]])
TEACHER = np.array([[3.0, -0.5, -2.0, 0.1], [0.4, 2.2, 0.1, -1.0], [-1.0, 0.6, 0.8, 2.0]])
TARGETS = [0, 1, 3]


@dataclass
class RunData:
    x: Tensor
    labels: Tensor | None
    targets: Tensor | None
    indices: Tensor


def batch(targets: Any = TARGETS) -> RunData:
    wanted = None if targets is None else torch.tensor(targets)
    return RunData(torch.from_numpy(STUDENT).float(), wanted, wanted, torch.tensor([2, 0, 1]))


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    raised = np.exp(logits / temperature)
    return raised / raised.sum(1, keepdims=True)


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Of one distribution; written out, for there are no zeros here."""
    return float(sum(p * (math.log(p) - math.log(q)) for p, q in zip(theirs, ours, strict=True)))


def tensors() -> tuple[Tensor, Tensor]:
    return torch.from_numpy(STUDENT), torch.from_numpy(TEACHER)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dist_is_one_minus_pearson_of_rows_and_of_columns(temperature: float) -> None:
    ours, theirs = softened(STUDENT, temperature), softened(TEACHER, temperature)
    rows = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]
    columns = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours.T, theirs.T, strict=True)]
    expected = temperature**2 * (2 * (1 - np.mean(rows)) + 2 * (1 - np.mean(columns)))
    assert float(dist(*tensors(), temperature=temperature)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_hinton_is_the_divergence_from_the_teacher(temperature: float) -> None:
    pairs = zip(softened(TEACHER, temperature), softened(STUDENT, temperature), strict=True)
    expected = temperature**2 * np.mean([divergence(theirs, ours) for theirs, ours in pairs])
    assert float(hinton(*tensors(), temperature=temperature)) == pytest.approx(expected, rel=1e-5)


def test_hintons_gradient_is_of_one_size_at_every_temperature() -> None:
    """At high temperatures it tends to (z - v) / classes for centred logits: arXiv:1503.02531, equation 4."""
    student = torch.from_numpy(STUDENT - STUDENT.mean(1, keepdims=True)).requires_grad_()
    teacher = torch.from_numpy(TEACHER - TEACHER.mean(1, keepdims=True))
    torch.autograd.backward(hinton(student, teacher, temperature=200.0))
    assert student.grad is not None
    expected = (student.detach() - teacher) / student.shape[1] / len(student)
    assert torch.allclose(student.grad, expected, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_parts_the_target_from_the_others(temperature: float) -> None:
    expected = []
    for ours, theirs, target in zip(
        softened(STUDENT, temperature), softened(TEACHER, temperature), TARGETS, strict=True
    ):
        pair = [np.array([p[target], 1 - p[target]]) for p in (theirs, ours)]
        rest = [np.delete(p, target) / (1 - p[target]) for p in (theirs, ours)]
        expected.append(divergence(*pair) + 8 * divergence(*rest))
    found = float(dkd(*tensors(), torch.tensor(TARGETS), temperature=temperature))
    assert found == pytest.approx(temperature**2 * np.mean(expected), rel=1e-4)


def test_dkd_of_equal_weights_is_hinton() -> None:
    """KD = TCKD + (1 - teacher's target share) NCKD: equation 7 of arXiv:2203.08679, for one image."""
    student, teacher = torch.from_numpy(STUDENT[:1]), torch.from_numpy(TEACHER[:1])
    away = 1 - float(torch.softmax(teacher, 1)[0, 0])
    ours, theirs = torch.softmax(student, 1)[0].numpy(), torch.softmax(teacher, 1)[0].numpy()
    others = divergence(theirs[1:] / theirs[1:].sum(), ours[1:] / ours[1:].sum())
    found = float(dkd(student, teacher, torch.tensor([0]), temperature=1.0)) - (8 - away) * others
    assert found == pytest.approx(float(hinton(student, teacher, temperature=1.0)), rel=1e-4)


@pytest.mark.parametrize("method", ["dist", "hinton", "dkd"])
def test_equal_answers_cost_nothing_and_constant_ones_have_a_gradient_that_is_a_number(method: Method) -> None:
    teacher = torch.from_numpy(TEACHER).float()
    objective = Distilled(CachedLogits(teacher), method=method, label_weight=0.0)
    given = batch()
    same = nn.Identity()
    given.x = teacher[given.indices]
    assert float(objective(same, given)[0]) == pytest.approx(0.0, abs=1e-4)
    given.x = torch.zeros_like(teacher).requires_grad_()
    torch.autograd.backward(objective(same, given)[0])
    assert given.x.grad is not None
    assert torch.isfinite(given.x.grad).all()


class Watched(nn.Module):
    """Remembers what it was shown, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.modes.append(self.training)
        answer: Tensor = self.layer(x)
        return answer


def test_teacher_and_student_see_one_batch_and_only_the_student_learns() -> None:
    teacher, student, given = Watched().train(), Watched().train(), batch()
    before = [value.clone() for value in teacher.state_dict().values()]
    objective = Distilled(teacher)
    teacher.train()  # what somebody else does to it between steps is undone
    loss, logits = objective(student, given)
    torch.autograd.backward(loss)
    assert teacher.seen[0] is given.x is student.seen[0]
    assert (teacher.modes, student.modes) == ([False], [True])
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad is not None for parameter in student.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))
    assert logits.requires_grad


def test_the_teacher_computes_in_the_precision_of_the_step() -> None:
    seen = []

    class Typed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            answer = super().forward(x)
            seen.append(answer.dtype)
            return answer

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = Distilled(Typed(4, 4))(Typed(4, 4), batch())
    assert seen == [torch.bfloat16] * 2
    assert loss.dtype == torch.float32


def test_labels_join_with_the_weight_of_the_paper_or_the_one_given() -> None:
    teacher, student, given = CachedLogits(torch.from_numpy(TEACHER)), nn.Identity(), batch()
    labels = float(nn.functional.cross_entropy(given.x, torch.tensor(TARGETS)))
    alone = {method: float(Distilled(teacher, method, label_weight=0.0)(student, given)[0]) for method in METHODS}
    for method, weight in METHODS.items():
        assert float(Distilled(teacher, method)(student, given)[0]) == pytest.approx(alone[method] + weight * labels)
        assert float(Distilled(teacher, method, label_weight=3.0)(student, given)[0]) == pytest.approx(
            alone[method] + 3 * labels
        )
    assert Distilled(teacher, label_weight=3.0).needs_labels
    assert not Distilled(teacher).needs_labels
    assert not Distilled(teacher, label_weight=0.0).needs_labels


METHODS: dict[Method, float] = {"dist": 1.0, "hinton": 0.1, "dkd": 1.0}


@pytest.mark.parametrize("method", list(METHODS))
def test_without_labels_the_teacher_alone_decides(method: Method) -> None:
    """DKD takes the teacher's own answer for the target; here that is the label of every image."""
    theirs = torch.from_numpy(TEACHER[[1, 2, 0]])  # in the order of the set: the batch asks for 2, 0, 1
    objective = Distilled(CachedLogits(theirs), method)
    labels = theirs[batch().indices].argmax(1)
    without = float(objective(nn.Identity(), batch(None))[0])
    with_them = Distilled(CachedLogits(theirs), method, label_weight=0.0)
    assert without == pytest.approx(float(with_them(nn.Identity(), batch(labels.tolist()))[0]))


@pytest.mark.parametrize("method", list(METHODS))
def test_mixed_targets_are_taken(method: Method) -> None:
    given = batch(np.float32([[0.7, 0.3, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 0.2, 0.8]]))
    loss, _ = Distilled(CachedLogits(torch.from_numpy(TEACHER)), method)(nn.Identity(), given)
    assert torch.isfinite(loss)


def test_cached_answers_are_those_of_the_same_images() -> None:
    cached = CachedLogits(torch.from_numpy(TEACHER).half())
    assert torch.equal(cached(batch()), torch.from_numpy(TEACHER[[2, 0, 1]]).half().float())


def test_the_teachers_weight_rises_over_the_warmup() -> None:
    objective = Distilled(CachedLogits(torch.from_numpy(TEACHER)), "dkd", label_weight=0.0, warmup_epochs=4)
    whole = float(Distilled(objective.teacher, "dkd", label_weight=0.0)(nn.Identity(), batch())[0])
    shares = []
    for epoch in (1, 2, 4, 9):
        objective.begin_epoch(epoch)
        shares.append(float(objective(nn.Identity(), batch())[0]) / whole)
    assert shares == pytest.approx([0.25, 0.5, 1.0, 1.0])


def test_a_teacher_of_other_classes_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match="the student has 4 classes and the teacher 7") as raised:
        Distilled(CachedLogits(torch.zeros(3, 7)))(nn.Identity(), batch())
    assert raised.value.code == "classes-differ"
