"""The losses are their formulas, for labels and for mixed targets; the mean does not depend on the cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from colours import net, settings
from torch import Tensor

from edgecnn.train.feed import FedBatch
from edgecnn.train.losses import Labels, cross_entropy, focal, label_loss

LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 1.2, 0.7], [-0.6, 0.2, 1.5], [3.0, -2.0, 0.0]])
LABELS = torch.tensor([0, 2, 1, 0])
WEIGHTS = torch.tensor([0.5, 1.0, 2.5])


def log_p() -> np.ndarray:
    raised = np.exp(LOGITS.double().numpy())
    return np.asarray(np.log(raised / raised.sum(1, keepdims=True)))


def shares(smoothing: float = 0.0) -> np.ndarray:
    return np.asarray(np.eye(3)[LABELS.numpy()] * (1 - smoothing) + smoothing / 3)


def test_cross_entropy_is_its_formula() -> None:
    each = -log_p()[range(4), LABELS.numpy()]
    assert float(cross_entropy(LOGITS, LABELS)) == pytest.approx(each.mean())
    weighted = (each * WEIGHTS.numpy()[LABELS.numpy()]).mean()
    assert float(cross_entropy(LOGITS, LABELS, weights=WEIGHTS)) == pytest.approx(weighted)
    smooth = -(shares(0.2) * log_p()).sum(1)
    assert float(cross_entropy(LOGITS, LABELS, smoothing=0.2)) == pytest.approx(smooth.mean())


def test_focal_is_its_formula() -> None:
    p = np.exp(log_p())
    each = -(shares(0.1) * (1 - p) ** 2 * log_p()).sum(1)
    assert float(focal(LOGITS, LABELS, gamma=2.0, smoothing=0.1)) == pytest.approx(each.mean(), rel=1e-5)
    weighted = (each * WEIGHTS.numpy()[LABELS.numpy()]).mean()
    found = focal(LOGITS, LABELS, gamma=2.0, smoothing=0.1, weights=WEIGHTS)
    assert float(found) == pytest.approx(weighted, rel=1e-5)
    assert float(focal(LOGITS, LABELS, gamma=0.0)) == pytest.approx(float(cross_entropy(LOGITS, LABELS)))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_labels_are_shares_of_one_class(weights: Tensor | None) -> None:
    mixed = torch.nn.functional.one_hot(LABELS, 3).float()
    for loss in (cross_entropy, focal):
        assert float(loss(LOGITS, mixed, smoothing=0.1, weights=weights)) == pytest.approx(
            float(loss(LOGITS, LABELS, smoothing=0.1, weights=weights))
        )
        halves = [loss(LOGITS[cut], LABELS[cut], weights=weights) for cut in (slice(2), slice(2, 4))]
        assert float(sum(halves) / 2) == pytest.approx(float(loss(LOGITS, LABELS, weights=weights)))


def test_what_is_certain_has_a_gradient() -> None:
    sure = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for label in (0, 1):
        loss = focal(sure, torch.tensor([label]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert sure.grad is not None
        assert torch.isfinite(sure.grad).all()


def test_rare_classes_weigh_more() -> None:
    module = net().requires_grad_(False)
    x = torch.randn(4, 3, 8, 8)
    labels = torch.tensor([0, 0, 0, 1])
    batch = FedBatch(x, labels, labels, torch.arange(4))
    balanced = Labels(label_loss(settings(class_weights="balanced"), labels.tolist(), classes=2))
    balanced.to("cpu")
    module.eval()
    loss, logits = balanced(module, batch)
    weights = torch.tensor([2 / 3, 2.0])
    assert float(loss) == pytest.approx(float(cross_entropy(logits, labels, weights=weights)))
    wanted = label_loss(settings(loss="focal", focal_gamma=1.0), labels.tolist(), classes=2)
    plain, _ = Labels(wanted)(module, batch)
    assert float(plain) == pytest.approx(float(focal(logits, labels, gamma=1.0)))
