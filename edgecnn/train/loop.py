"""The training loop: fine-tuning, distillation and quantization-aware training all go through here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch  # noqa: TID253  (kernel, reached by a late import)
from torch import Tensor, nn  # noqa: TID253

from edgecnn.core.errors import InputError, StepError
from edgecnn.core.events import Progress, Tell, nobody
from edgecnn.train.feed import Feed
from edgecnn.train.settings import Epoch, History, LabelledImages, TrainingImages, TrainSettings

STEP = "train"
# One-cycle learning rate as in L. Smith and N. Topin, Super-Convergence, 2018, arXiv:1708.07120.
START_SHARE = 1 / 25
END_SHARE = 1 / 1e4


def fit(
    module: nn.Module,
    images: TrainingImages | LabelledImages,
    *,
    settings: TrainSettings,
    tell: Tell = nobody,
    seed: int = 0,
) -> History:
    """Train `module` in place on labelled images and leave it in eval mode where it was.

    The same seed on the same machine gives the same weights; torch's global random state is as before afterwards. Tells
    one Progress per epoch. Raises InputError for images without labels or labels outside the outputs, StepError when
    the loss is no longer a number.
    """
    images = images if isinstance(images, TrainingImages) else TrainingImages(images)
    _require_labels(images.train)
    home = next(module.parameters()).device
    device = torch.device(settings.device) if settings.device else home
    module.to(device).to(memory_format=torch.channels_last)
    epochs: list[Epoch] = []
    with _seeded(seed, device):
        feed = Feed(images.train, settings, device=device, seed=seed)
        run = _Run(module, settings, steps=settings.epochs * len(feed), device=device)
        try:
            for number in range(1, settings.epochs + 1):
                started = time.perf_counter()
                loss, accuracy, rate = run.epoch(feed)
                judged = measure_accuracy(module, images.validation) if images.validation else None
                epochs.append(Epoch(loss, accuracy, judged, rate, time.perf_counter() - started))
                tell(Progress(STEP, number, settings.epochs, unit="epoch", note=_note(epochs[-1])))
        finally:
            module.eval().to(home).to(memory_format=torch.contiguous_format)
    return History(tuple(epochs), str(device))


@torch.inference_mode()
def measure_accuracy(module: nn.Module, images: LabelledImages, *, batch: int = 256) -> float:
    """Top-1 accuracy in [0, 1] of `module` where it is, in float32; its mode is as before afterwards."""
    labels = torch.tensor(_require_labels(images))
    device, mode = next(module.parameters()).device, module.training
    module.eval()
    found = [module(torch.from_numpy(x).to(device)).argmax(1).cpu() for x in images.batches(batch)]
    module.train(mode)
    return float((torch.cat(found) == labels).double().mean())


class _Run:
    """Optimizer, schedule and loss scaling of one training run."""

    def __init__(self, module: nn.Module, settings: TrainSettings, *, steps: int, device: torch.device) -> None:
        self._module = module
        self._settings = settings
        self._device = device
        self._optimizer = _optimizer(module, settings)
        self._half = settings.mixed_precision and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._half)
        self._loss = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
        self._taken, self._steps = 0, steps

    def epoch(self, feed: Feed) -> tuple[float, float, float]:
        """(mean loss, accuracy on the varied training images, last learning rate)."""
        self._module.train()
        lost = torch.zeros((), device=self._device, dtype=torch.float64)
        right = torch.zeros_like(lost)
        seen = 0
        rate = 0.0
        for x, labels in feed.epoch():
            rate = self._set_rate()
            loss, logits = self._step(x, labels)
            lost += loss.detach() * len(x)
            right += (logits.detach().argmax(1) == labels).sum()
            seen += len(x)
        mean = float(lost) / seen
        if not math.isfinite(mean):
            raise StepError(
                "training-diverged",
                "the training loss is no longer a number",
                why=f"after {self._taken} steps at a learning rate of up to {self._settings.learning_rate:g}",
                hint="lower the learning rate, for example to a tenth",
            )
        return mean, float(right) / seen, rate

    def _step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
            logits = self._module(x)
            if self._taken == 0:
                _require_outputs(logits, labels)
            loss = self._loss(logits, labels)
        self._scaler.scale(loss).backward()
        if self._settings.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._module.parameters(), self._settings.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._taken += 1
        return loss, logits

    def _set_rate(self) -> float:
        rate = self._settings.learning_rate * one_cycle(self._taken, self._steps, warmup=self._settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate


def one_cycle(step: int, steps: int, *, warmup: float) -> float:
    """Share of the peak learning rate at `step` of `steps`: up along half a cosine, then down to almost nothing."""
    peak = max(1.0, warmup * steps - 1)
    if step <= peak:
        return START_SHARE + (1 - START_SHARE) * _half_cosine(step / peak)
    return 1 - (1 - END_SHARE) * _half_cosine((step - peak) / max(1.0, steps - 1 - peak))


def _half_cosine(share: float) -> float:
    return (1 - math.cos(math.pi * min(1.0, share))) / 2


def _optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only: scales and biases are not shrunk."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout and the like draw from torch's global generators: seed them, and give them back as they were."""
    devices = (
        [device.index if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
    )
    exact = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        try:
            yield
        finally:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = exact


def _require_labels(images: LabelledImages) -> tuple[int, ...]:
    if not len(images):
        raise InputError("no-images", "there are no images to train on")
    if images.labels is None:
        raise InputError(
            "no-labels", "training needs labels", why="nobody knows the classes of these images", hint="give --data DIR"
        )
    return images.labels


def _require_outputs(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2:
        raise InputError("bad-outputs", f"the network gives {tuple(logits.shape)} for a batch, not (images, classes)")
    if int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0:
        raise InputError(
            "class-count",
            f"label {int(labels.max())} is outside the network's {logits.shape[1]} outputs",
            hint="give a checkpoint with as many outputs as the data has classes",
        )


def _note(epoch: Epoch) -> str:
    judged = "" if epoch.validation_accuracy is None else f", validation {epoch.validation_accuracy:.2%}"
    return f"loss {epoch.loss:.3f}, training {epoch.train_accuracy:.2%}{judged}"
