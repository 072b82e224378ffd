"""Climb the ladder: where the recipe as written misses the accuracy budget, try one rung after the other.

The evaluation images are divided once: every attempt is judged on those kept for searching, and the one that is taken
is certified on the rest, which had no part in choosing it. The recipe as written comes first and is judged on all
images: nothing had been chosen by then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edgecnn import __version__
from edgecnn.assemble import top1
from edgecnn.compress.rungs import Attempt, Known, Rung
from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.errors import EdgecnnError, StepError, install_hint
from edgecnn.core.events import Finished, Started, Warned
from edgecnn.core.stage import Images
from edgecnn.core.store import CannotWrite, Work, digest_of
from edgecnn.evidence import Evidence, answer, gather, lint, reference, remembered, time_all, verify
from edgecnn.lanes import Lane, Surroundings, steps, walk
from edgecnn.measure.profiles import Profile
from edgecnn.recipe import Recipe
from edgecnn.report.climb import Climb, State, Tried
from edgecnn.report.verdict import Judgement, fewest_images, judge, points, would_pass

AS_WRITTEN = "as written"
SENSITIVE_ON = 64
"""Calibration images on which each layer alone is quantized, to find those that lose most."""
TOO_LITTLE = 0.1
"""Two attempts of a rung in a row that win back less than this share of what is missing end the rung."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What to climb for. `profile` is what attempts that cost latency are timed with, where a budget asks for it."""

    recipe: Recipe
    max_drop: float
    max_latency: float | None
    threads: int
    profile: Profile


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An attempt that was made: its lane, the evidence on what the lane ends in, and how it was judged."""

    tried: Tried
    lane: Lane
    evidence: Evidence
    judgement: Judgement


@dataclass(slots=True)
class _Climber:
    """The state of one lane's climb."""

    lane: Lane
    found: dict[Kind, Evidence]
    around: Surroundings
    ladder: Ladder
    source: Artifact
    tried: list[Tried] = field(default_factory=list)
    candidates: list[_Candidate] = field(default_factory=list)

    @property
    def images(self) -> Any:
        return self.around.data.evaluation

    @property
    def searching(self) -> range:
        return range(len(self.images) // 2)

    @property
    def certifying(self) -> range:
        return range(len(self.images) // 2, len(self.images))

    def gap(self) -> float:
        """How much more than the budget the best attempt so far loses, as a share of the images."""
        drops = [_lost(item.judgement) for item in self.candidates] or [item.drop for item in self.tried if item.drop]
        return max(0.0, min(drops, default=0.0) - self.ladder.max_drop)

    def known(self) -> Known:
        seen = [item.judgement.agreement for item in self.candidates] + [item.agreement for item in self.tried]
        return Known(max((share for share in seen if share is not None), default=None), self._worst_layers)

    def _worst_layers(self, count: int) -> list[str]:
        """The layers that lose most when they alone are INT8; found once, by the network that the recipe makes."""
        final, around = last_made(self.lane), self.around
        assert final is not None
        deployment = around.target.deployment(self.lane.format)
        model, label = self.lane.models[final], f"rank layers {self.lane.format}"

        def make(work: Work) -> None:
            from edgecnn.compress.sensitivity import rank_layers

            context = around.context(work.folder, work.folder, model=model, format=self.lane.format, name=label)
            work.facts["errors"] = rank_layers(context, count=SENSITIVE_ON)

        key = digest_of([__version__, model.sha256, around.data.calibration.digest, deployment and deployment.family])
        done, _ = remembered(around.store, "sensitivity", key, make=make, tell=around.tell, label=label)
        return list(done.facts["errors"])[:count]


def climb(
    lane: Lane, found: dict[Kind, Evidence], around: Surroundings, *, ladder: Ladder, source: Artifact
) -> tuple[Lane, Climb | None]:
    """The lane to deliver, and how it was found: the lane itself where the recipe as written passes.

    `found` gets the evidence on what a new lane holds. Raises CannotWrite only: an attempt that fails is told in the
    climb.
    """
    final = last_made(lane)
    if not ladder.recipe.ladder or final is None or not _can_be_judged(lane, final, found):
        return lane, None
    climber = _Climber(lane, found, around, ladder, source)
    first = _judged(climber, found[final], range(len(climber.images)))
    within: State = "within" if first.outcome == "PASS" else "over"
    climber.tried.append(_row("", AS_WRITTEN, within, first, found[final]))
    refusal = "" if first.outcome == "PASS" else _cannot_certify(climber)
    if first.outcome == "PASS" or refusal:
        return lane, _told(climber, AS_WRITTEN, None, refusal)
    chosen = _search(climber)
    if chosen is None:
        return lane, _told(climber, AS_WRITTEN, None, "no rung could be tried")
    return _certify(climber, chosen)


def last_made(lane: Lane) -> Kind | None:
    """What the recipe leads to in this format: the file that is meant to be shipped."""
    made = [kind for kind in lane.artifacts if not kind.is_baseline]
    return made[-1] if made else None


def _can_be_judged(lane: Lane, final: Kind, found: dict[Kind, Evidence]) -> bool:
    both = (found.get(Kind(lane.format, "fp32")), found.get(final))
    return all(item is not None and item.error is None and item.answers is not None for item in both)


def _cannot_certify(climber: _Climber) -> str:
    """Why climbing would be for nothing: too few images to prove the budget even of a file that changes no answer."""
    count, max_drop = len(climber.certifying), climber.ladder.max_drop
    needed = fewest_images(max_drop, labels=climber.images.labels is not None)
    if needed is not None and count >= needed:
        return ""
    more = f": about {2 * needed:,} evaluation images could" if needed else ""
    return f"not climbed: {count:,} images to certify on prove no drop of at most {points(max_drop)}{more}"


def _search(climber: _Climber) -> _Candidate | None:
    """Attempt by attempt, until one would be certified; else the one that came closest."""
    for rung in climber.ladder.recipe.ladder:
        known = climber.known()
        hopeless = rung.hopeless(known)
        if hopeless or (reason := _impossible(rung, climber)):
            state: State = "hopeless" if hopeless else "not possible"
            climber.tried.append(Tried(rung.kind, rung.kind, state, hopeless or reason))
            continue
        gains: list[float] = []
        for attempt in _attempts(rung, climber):
            if len(gains) >= 2 and max(gains[-2:]) < TOO_LITTLE:
                why = "the two before it won back almost nothing"
                climber.tried.append(Tried(rung.kind, attempt.label, "no better", why))
                break
            before = climber.gap()
            candidate = _try(rung, attempt, climber)
            if candidate is None:
                continue
            climber.candidates.append(candidate)
            if candidate.tried.state == "within":
                return candidate
            gains.append((before - climber.gap()) / before if before > 0 else 0.0)
    return min(climber.candidates, key=lambda item: _lost(item.judgement), default=None)


def _impossible(rung: Rung, climber: _Climber) -> str:
    training = climber.around.data.training
    if not rung.trains or training is not None:
        return ""
    return "there are no images to train on: DIR/train/CLASS/*.jpg"


def _attempts(rung: Rung, climber: _Climber) -> Iterator[Attempt]:
    """The rung's attempts; what goes wrong in finding them ends the rung, not the climb."""
    try:
        yield from rung.attempts(climber.ladder.recipe.stages, climber.known())
    except CannotWrite:
        raise
    except EdgecnnError as error:
        climber.tried.append(Tried(rung.kind, rung.kind, "failed", error.message))


def _try(rung: Rung, attempt: Attempt, climber: _Climber) -> _Candidate | None:
    """Walk the attempt's stages and judge what comes out on the searching images."""
    around, began = climber.around, time.monotonic()
    step = f"climb {climber.lane.format}: {attempt.label}"
    around.tell(Started(step))
    try:
        lane, evidence = _made(attempt, climber)
        answer(evidence, climber.images.select(climber.searching), around, threads=climber.ladder.threads)
        judgement = _judged(climber, evidence, climber.searching)
        slow = _too_slow(rung, evidence, climber)
    except CannotWrite:
        raise
    except EdgecnnError as error:
        around.tell(Warned(error.code, f"{step} failed: {error.message}", error.why))
        climber.tried.append(Tried(rung.kind, attempt.label, "failed", error.message))
        return None
    seconds = time.monotonic() - began
    around.tell(Finished(step, seconds, note=_in_words(judgement)))
    passes = not slow and would_pass(
        judgement,
        images=len(climber.searching),
        others=len(climber.certifying),
        max_drop=climber.ladder.max_drop,
    )
    row = _row(rung.kind, attempt.label, "within" if passes else "over", judgement, evidence)
    row = replace(row, why=slow, seconds=round(seconds, 1))
    climber.tried.append(row)
    return _Candidate(row, lane, evidence, judgement)


def _made(attempt: Attempt, climber: _Climber) -> tuple[Lane, Evidence]:
    around, format = climber.around, climber.lane.format
    recipe = climber.ladder.recipe.model_copy(update={"stages": attempt.stages})
    planned = steps(recipe, format, around)
    if missing := next((step.missing for step in planned if step.missing), None):
        raise StepError("missing-extra", f"{attempt.label} needs packages", hint=install_hint(missing))
    lane = walk(format, planned, source=climber.source, around=around)
    for error in lane.failed.values():
        raise error
    final = last_made(lane)
    if final is None:
        raise StepError("nothing-made", f"{attempt.label} made no file", hint="--verbose shows the steps")
    evidence = gather([lane], around)[final]
    if evidence.error is not None:
        raise evidence.error
    lint(evidence, around)
    return lane, evidence


def _too_slow(rung: Rung, evidence: Evidence, climber: _Climber) -> str:
    """Where a rung costs latency and the budget knows one: what it costs, if that is too much."""
    limit = climber.ladder.max_latency
    if not rung.costs_latency or limit is None:
        return ""
    baseline = climber.found[Kind(climber.lane.format, "fp32")]
    both = {baseline.artifact.kind: baseline, evidence.artifact.kind: evidence}
    before = baseline.speed
    time_all(both, climber.around, profile=climber.ladder.profile, threads=climber.ladder.threads, again=False)
    baseline.speed = before
    if evidence.speed is None or evidence.speed.median_high_ms <= limit:
        return ""
    return f"{evidence.speed.median_ms:.3g} ms, and the budget is {limit:g} ms"


def _judged(climber: _Climber, evidence: Evidence, positions: range) -> Judgement:
    """The evidence's answers, which are of the images at `positions`, against the baseline's of the same."""
    baseline = climber.found[Kind(climber.lane.format, "fp32")]
    assert baseline.answers is not None
    assert evidence.answers is not None
    labels = climber.images.labels
    return judge(
        top1(baseline.answers[positions.start : positions.stop]),
        top1(evidence.answers),
        None if labels is None else labels[positions.start : positions.stop],
        max_drop=climber.ladder.max_drop,
    )


def _certify(climber: _Climber, chosen: _Candidate) -> tuple[Lane, Climb]:
    """Judge the chosen lane on the images that did not choose it; its evidence takes the place of the old."""
    around, lane = climber.around, chosen.lane
    images: Images = climber.images.select(climber.certifying)
    fresh = gather([lane], around)
    for kind, evidence in fresh.items():
        known = climber.found.get(kind)
        if known is not None and known.artifact.sha256 == evidence.artifact.sha256:
            continue
        evidence.first = climber.certifying.start
        try:
            lint(evidence, around)
            answer(evidence, images, around, threads=climber.ladder.threads)
            expected, record = reference(evidence.model, images, around)
            evidence.records.append(record)
            verify(evidence, expected)
        except CannotWrite:
            raise
        except EdgecnnError as error:
            evidence.error = error
        climber.found[kind] = evidence
    for kind in [kind for kind in climber.found if kind.format == lane.format and kind not in lane.artifacts]:
        del climber.found[kind]
    final = climber.found[chosen.evidence.artifact.kind]
    if final.error is not None:
        return lane, _told(climber, chosen.tried.label, None, f"could not be certified: {final.error.message}")
    judgement = _judged(climber, final, range(final.first, len(climber.images)))
    return lane, _told(climber, chosen.tried.label, judgement, _outcome_in_words(climber, chosen, judgement))


def _outcome_in_words(climber: _Climber, chosen: _Candidate, judgement: Judgement) -> str:
    images = f"{len(climber.certifying):,} images that did not choose it"
    if judgement.outcome == "PASS":
        return f"{chosen.tried.label}: certified on {images}"
    if chosen.tried.state == "within":
        return f"{chosen.tried.label} was within the budget where it was chosen, and is not certified on {images}"
    missing = _lost(chosen.judgement) - climber.ladder.max_drop
    return f"no rung is within the budget; {chosen.tried.label} came closest, {_missing(missing)}"


def _missing(share: float) -> str:
    return f"{100 * share:.2f} points over it" if share > 0 else "within it, but not by enough to be proven"


def _lost(judgement: Judgement) -> float:
    """The drop; without labels the share of answers that changed, which bounds it."""
    return judgement.drop if judgement.drop is not None else 1 - (judgement.agreement or 0.0)


def _in_words(judgement: Judgement) -> str:
    if judgement.drop is None:
        return f"agreement {judgement.agreement or 0:.2%}"
    return f"drop {100 * judgement.drop:.2f} points"


def _row(rung: str, label: str, state: State, judgement: Judgement, evidence: Evidence) -> Tried:
    return Tried(
        rung=rung,
        label=label,
        state=state,
        drop=judgement.drop,
        drop_low=judgement.drop_low,
        drop_high=judgement.drop_high,
        agreement=judgement.agreement,
        size_bytes=evidence.artifact.size_bytes,
    )


def _told(climber: _Climber, chosen: str, judgement: Judgement | None, why: str) -> Climb:
    return Climb(
        format=climber.lane.format,
        searching=len(climber.searching),
        certifying=len(climber.certifying),
        attempts=tuple(climber.tried),
        chosen=chosen,
        outcome=judgement.outcome if judgement else None,
        why=why,
    )
