"""`train` as it is called: arguments in the words of the command line, one session or one per fold, a result back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.core.events import Finished, Listener, ignore
from edgecnn.models.building import BuiltNetwork
from edgecnn.models.library_names import require_known
from edgecnn.tasks.task import DEFAULT
from edgecnn.train.parallel import joined, place
from edgecnn.train.trackers import Trackers
from edgecnn.workflows.arguments import PathLike, path_or_none, preprocessing_fields, stated
from edgecnn.workflows.train.folder import RunFolder, history_of, identity
from edgecnn.workflows.train.folds import cross_validate
from edgecnn.workflows.train.request import TrainRequest, out_for, settings_of
from edgecnn.workflows.train.result import Trained, optimize_command
from edgecnn.workflows.train.session import STEP, TrainingSession, training_images
from edgecnn.workflows.train.start import described, prepare

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgecnn.workflows.arguments import PreprocessingArguments


def train(
    data: PathLike,
    *,
    arch: str | None = None,
    pretrained: PathLike | None = None,
    task: str = DEFAULT,
    config: PathLike | None = None,
    set: Mapping[str, Any] | Sequence[str] | None = None,
    out: PathLike | None = None,
    folds: int = 0,
    tracker: str | Sequence[str] | None = None,
    again: bool = False,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    crop_padding: int | None = None,
    flip: bool | None = None,
    random_resized_crop: float | None = None,
    mixup: float | None = None,
    device: str | None = None,
    workers: int | None = None,
    listener: Listener = ignore,
    **preprocessing: Unpack[PreprocessingArguments],
) -> Trained:
    """Train a network on an image folder or a CSV table; the best epoch is kept for `optimize`.

    `arch` is resnet18, timm:NAME, path/file.py:factory or pkg.module:factory; `pretrained` holds weights to begin with;
    `task` is what the network is for: it decides the loss, and the figure by which the best epoch is chosen. Settings
    are those of `edgecnn.train.settings.TrainSettings`: in the YAML file `config`, before it in `set`
    (`{"augment.cutmix": 1.0}`), and before that in arguments of their own. A killed run goes on where it stopped when
    the same is asked for again. Raises EdgecnnError; KeyboardInterrupt when interrupted, with the last step saved.
    """
    settings = settings_of(
        path_or_none(config),
        stated(
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            crop_padding=crop_padding,
            flip=flip,
            random_resized_crop=random_resized_crop,
            mixup=mixup,
            device=device,
            workers=workers,
        ),
        changes=set or (),
    )
    if arch is not None:
        require_known(arch)
    weights = path_or_none(pretrained)
    request = TrainRequest(
        data=Path(data),
        out=Path(out) if out is not None else out_for(Path(data), arch, weights, folds=folds),
        architecture=arch,
        pretrained=weights,
        settings=settings,
        preprocessing=preprocessing_fields(preprocessing),
        trackers=(tracker,) if isinstance(tracker, str) else tuple(tracker or ()),
        folds=folds,
        seed=seed,
        again=again,
        task=task,
    )
    return replace(run(request, listener), is_first=place()[0] == 0)


def run(request: TrainRequest, listener: Listener = ignore) -> Trained:
    """Train what is asked for; the same request goes on where it stopped, and is found finished when it is.

    Under torchrun every process calls this, and the first alone tells and writes. Raises EdgecnnError;
    KeyboardInterrupt when interrupted, with the state of the last step saved.
    """
    first = place()[0] == 0
    listener = listener if first else ignore
    trackers = Trackers(request.trackers if first else (), folder=request.out, name=request.out.name, listener=listener)
    inputs = prepare(request, listener=listener)
    about = dict(described(inputs, request))
    folder = RunFolder(request.out, writes=first)
    with ExitStack() as context:
        context.enter_context(folder.held(listener))
        context.enter_context(joined(request.settings.device))  # one group for all that follows
        ran = folder.begin(identity(about, request.folds), again=request.again)
        if request.folds:
            return cross_validate(request, inputs, about, folder=folder, listener=listener)
        where: Mapping[str, str] = ran["trackers"] if ran is not None else {}
        if ran is None:
            run = TrainingSession(request, inputs.built, about, folder=folder, listener=listener, trackers=trackers)
            ran = run.go(training_images(inputs.data.training, inputs.data.validation), run_of=identity(about, 0))
            where = trackers.where
            cached = False
        else:
            cached = True
            listener(Finished(STEP, 0.0, cached=True))
        return Trained(
            request.out, about, history_of(ran), cached, _next(request, inputs.built, request.out), where=where
        )


def _next(request: TrainRequest, built: BuiltNetwork, out: Path) -> str:
    model = built.architecture if built.needs_model else None
    return optimize_command(out, request.data, model=model, task=request.task, seed=request.seed)
