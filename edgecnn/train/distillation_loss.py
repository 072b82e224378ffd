"""Distillation losses: three losses between logits, and the objective that uses one of them in training.

Logits are (N, classes). Every loss is the mean over the batch, scaled by the square of its temperature so that its
gradients are of one size at every temperature (Hinton et al. 2015, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgecnn.core.errors import InputError
from edgecnn.train.losses import LabelLoss
from edgecnn.train.settings import Batch

Method = Literal["dist", "hinton", "dkd"]

INTER_WEIGHT = INTRA_WEIGHT = 2.0
TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0
FEW_CLASSES = 100
"""Up to so many classes the papers take a temperature of 4 (CIFAR-100), above it 1 (ImageNet)."""
WARMUP_SHARE = 1 / 12
"""Of the epochs: 20 of 240 in Zhao et al. 2022."""
_EPS = 1e-8


class Defaults(NamedTuple):
    """What a paper took: a temperature for few classes and one for many, and the weight of the labels' loss beside a
    teacher's of weight 1."""

    few: float
    many: float
    label_weight: float

    def temperature(self, classes: int) -> float:
        return self.few if classes <= FEW_CLASSES else self.many


DEFAULTS: Mapping[Method, Defaults] = {
    "dist": Defaults(4.0, 1.0, 1.0),
    "hinton": Defaults(4.0, 4.0, 0.1),
    "dkd": Defaults(4.0, 1.0, 1.0),
}


def dist(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """One minus the Pearson correlation of student and teacher probabilities, image by image and class by class.

    The mean over the rows (inter-class) and over the columns (intra-class), weighted 2 and 2. Source: T. Huang et al.,
    Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, arXiv:2205.10536, equations 8 to 10.
    """
    ours, theirs = _softened(student, temperature), _softened(teacher, temperature)
    inter = 1 - pearson(ours, theirs).mean()
    intra = 1 - pearson(ours.T, theirs.T).mean()
    return temperature**2 * (INTER_WEIGHT * inter + INTRA_WEIGHT * intra)


def hinton(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student's softened probabilities from the teacher's, in nats.

    Source: G. Hinton et al., Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.
    """
    return temperature**2 * _divergence(_log_softened(student, temperature), _log_softened(teacher, temperature))


def dkd(student: Tensor, teacher: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Hinton's divergence in two parts: the target against all others (weight 1), and the others among themselves
    (weight 8).

    `targets` int64 (N,). Source: B. Zhao et al., Decoupled Knowledge Distillation, CVPR 2022, arXiv:2203.08679.
    """
    ours, theirs = _log_softened(student, temperature), _log_softened(teacher, temperature)
    others = F.one_hot(targets, ours.shape[1]) == 0
    target = _divergence(_against_others(ours, others), _against_others(theirs, others))
    among = _divergence(_of_others(ours, others), _of_others(theirs, others))
    return temperature**2 * (TARGET_WEIGHT * target + OTHERS_WEIGHT * among)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of `a` with the same row of `b`; 0 where a row is constant."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + _EPS)
    return correlation


def _softened(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits.float() / temperature, 1)


def _log_softened(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits.float() / temperature, 1)


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """KL of log-probabilities, mean over the rows."""
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def _against_others(log_shares: Tensor, others: Tensor) -> Tensor:
    """(N, 2): log-probability of the target and of all others together."""
    rest = log_shares.masked_fill(~others, -torch.inf).logsumexp(1)
    return torch.stack((log_shares[~others], rest), 1)


def _of_others(log_shares: Tensor, others: Tensor) -> Tensor:
    """(N, classes - 1): log-probabilities of the others, the target left out."""
    return log_shares[others].view(len(log_shares), -1).log_softmax(1)


class CachedLogits:
    """A teacher's answers to every image of the set, computed before: for images that are never varied."""

    def __init__(self, logits: Tensor) -> None:
        """`logits` (images, classes), float16 or float32, in the order of the set."""
        self._logits = logits

    def __call__(self, batch: Batch) -> Tensor:
        """float32 (N, classes)."""
        return self._logits[batch.indices.to(self._logits.device)].float()

    def to(self, device: str) -> None:
        self._logits = self._logits.to(device)


class LiveTeacher:
    """A network that looks at each batch as the student does: the same crop, mixture and precision."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """float32 (N, classes)."""
        answer: Tensor = self._module.eval()(batch.x)
        return answer.float()

    def to(self, device: str) -> None:
        self._module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(eq=False, slots=True)
class Distilled:
    """Training towards a teacher's answers, and the labels' beside them; satisfies `settings.Objective`.

    The loss is the teacher's plus `label_weight` times that of the labels. None takes the method's own: for
    `label_weight` that of its paper where images have labels and 0 where they have none, for `temperature` see
    `DEFAULTS`. DKD needs a target class: where images have no labels, or were mixed, it is the teacher's own answer.
    `warmup_epochs` raises the teacher's weight evenly over the first epochs (DKD's paper; the loop tells the epoch).
    `identity` is the teacher's digest: a half-done run does not go on with another. Raises InputError `classes-differ`
    when teacher and student do not have the same number of outputs.
    """

    teacher: nn.Module | LiveTeacher | CachedLogits
    method: Method = "dist"
    temperature: float | None = None
    label_weight: float | None = None
    label_loss: LabelLoss = F.cross_entropy
    warmup_epochs: float = 0.0
    identity: str = ""
    needs_labels: bool = field(init=False)
    _share: float = field(default=1.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.teacher, nn.Module):
            self.teacher = LiveTeacher(self.teacher)
        self.needs_labels = bool(self.label_weight)

    @property
    def digest(self) -> str:
        """What decides the loss, beside the labels' own part."""
        parts = (self.method, self.temperature, self.label_weight, self.warmup_epochs, self.identity)
        return " ".join(map(str, parts))

    def begin_epoch(self, number: int) -> None:
        """Told by the loop before epoch `number`, from 1."""
        self._share = min(1.0, number / self.warmup_epochs) if self.warmup_epochs else 1.0

    def __call__(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(mean loss, the student's logits)."""
        assert not isinstance(self.teacher, nn.Module)
        theirs = self.teacher(batch)
        ours: Tensor = module(batch.x)
        if ours.shape != theirs.shape:
            raise classes_differ(ours.shape[-1], theirs.shape[-1])
        loss = self._share * self._of_teacher(ours, theirs, batch)
        weight = DEFAULTS[self.method].label_weight if self.label_weight is None else self.label_weight
        if weight and batch.targets is not None:
            loss = loss + weight * self.label_loss(ours, batch.targets)
        return loss, ours

    def to(self, device: str) -> None:
        assert not isinstance(self.teacher, nn.Module)
        self.teacher.to(device)

    def _of_teacher(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        temperature = self.temperature or DEFAULTS[self.method].temperature(theirs.shape[1])
        if self.method == "dist":
            return dist(ours, theirs, temperature=temperature)
        if self.method == "hinton":
            return hinton(ours, theirs, temperature=temperature)
        known = batch.targets is not None and batch.targets.ndim == 1
        targets = batch.targets if known and batch.targets is not None else theirs.argmax(1)
        return dkd(ours, theirs, targets, temperature=temperature)


def classes_differ(student: int, teacher: int) -> InputError:
    """The error for a teacher and a student that do not answer the same question."""
    return InputError(
        "classes-differ",
        f"the student has {student} classes and the teacher {teacher}",
        why="each output of the student learns from the same output of the teacher",
        hint="give a teacher of the same classes in the same order",
    )
