"""Cross-validation: one session per fold; every image of the training part is judged once."""

from __future__ import annotations

from typing import Any

from edgecnn.core.events import Finished, Listener, Warned
from edgecnn.data.folds import folds
from edgecnn.data.images import ImageSet
from edgecnn.train.trackers import Trackers
from edgecnn.workflows.train.folder import RunFolder, history_of, identity
from edgecnn.workflows.train.request import TrainRequest
from edgecnn.workflows.train.result import Fold, Trained
from edgecnn.workflows.train.session import TrainingSession, training_images
from edgecnn.workflows.train.start import TrainingInputs, network


def cross_validate(
    request: TrainRequest, inputs: TrainingInputs, about: dict[str, Any], *, folder: RunFolder, listener: Listener
) -> Trained:
    """Train one network per fold; each judges the images that it did not learn."""
    divided = "made here" in inputs.data.facts["split"]
    whole = _whole(inputs) if divided else inputs.data.training
    if divided:
        listener(Warned("whole-data", f"the folds divide all {len(whole)} images", "so no images are left to judge on"))
    done = []
    for number, (training, validation) in enumerate(folds(whole, request.folds, seed=request.seed), start=1):
        own = folder.fold(number)
        step = f"fold {number} of {request.folds}"
        facts = {
            **about["data"],
            "images": {"training": len(training), "validation": len(validation)},
            "digests": {"training": training.digest, "validation": validation.digest},
        }
        mine = {**about, "data": facts, "fold": number}
        run_of = identity(mine, request.folds)
        ran = own.begin(run_of, again=request.again)
        cached = ran is not None
        if ran is None:
            named = f"{request.out.name}-fold-{number}"
            trackers = Trackers(request.trackers if own.writes else (), folder=own.out, name=named, listener=listener)
            built = network(request, inputs.data.class_names)
            run = TrainingSession(request, built, mine, folder=own, listener=listener, trackers=trackers, step=step)
            ran = run.go(training_images(training, validation), run_of=run_of)
        else:
            listener(Finished(step, 0.0, cached=True))
        done.append(Fold(number, own.out, len(training), len(validation), history_of(ran), cached))
    trained = Trained(request.out, about, None, all(fold.cached for fold in done), "", folds=tuple(done))
    if folder.writes:
        folder.finish(identity(about, request.folds), trained.to_dict(), ())
    return trained


def _whole(inputs: TrainingInputs) -> ImageSet:
    """Training and held-out images of data that was divided here."""
    parts = (inputs.data.training, inputs.data.validation)
    return ImageSet(
        [path for part in parts for path in part.paths],
        [label for part in parts for label in part.labels or ()],
        preprocessing=inputs.preprocessing,
        root=parts[0].root,
    )
