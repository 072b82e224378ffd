"""Output of a run: report.*, run.json, samples.json, artifacts/, bundle/, each renamed into place."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgecnn.core import plugins
from edgecnn.core.artifact import Artifact, Kind
from edgecnn.core.stage import Data
from edgecnn.core.store import beside, cannot_write, one_at_a_time, write_atomically
from edgecnn.formats.registry import formats_of_suffix
from edgecnn.report.facts import Provenance
from edgecnn.report.model import Report, Row
from edgecnn.workflows.optimize.assessment import Assessment
from edgecnn.workflows.optimize.bundle import write_bundle
from edgecnn.workflows.optimize.file_names import file_name
from edgecnn.workflows.optimize.recommendation import recommended

OURS = re.compile(r"model(\.[a-z-]+)*\.(fp32|fp16|int8)(?P<suffix>\.[a-z0-9]+)|model(\.[a-z-]+)+\.safetensors")
"""Names of the files in artifacts/; see `file_names`."""
REPORTS = {"markdown": "report.md", "json": "report.json"}


def write_run(
    out: Path,
    report: Report,
    *,
    assessments: Mapping[Kind, Assessment],
    networks: Mapping[str, Artifact],
    data: Data,
    decoder: Path,
    provenance: Provenance,
    samples: Path | None,
) -> None:
    """Write everything under `out`, of two runs one after the other: what lies there is of one run.

    Raises StepError when the folder cannot be written; what is finished stays in the store.
    """
    with one_at_a_time(out / ".store" / "write.lock"):
        _deliver(out / "artifacts", assessments, networks)
        for reporter, name in REPORTS.items():
            write_atomically(out / name, plugins.load("reporters", reporter)(report))
        ended = {"outcome": report.outcome, "created": report.created, "stages": report.to_dict()["stages"]}
        run = {**provenance.to_dict(), **ended}
        write_atomically(out / "run.json", json.dumps(run, indent=2, ensure_ascii=False, default=str) + "\n")
        if samples is not None:
            copy_into_place(samples / "samples.json", out / "samples.json")
        else:
            (out / "samples.json").unlink(missing_ok=True)
        chosen = recommended(report.rows, report.budget)
        if chosen is None:  # a bundle of an earlier run would pass for this one's
            shutil.rmtree(out / "bundle", ignore_errors=True)
        else:
            assessment = next(item for kind, item in assessments.items() if str(kind) == chosen.name)
            _bundle(out / "bundle", chosen, assessment, report=report, data=data, decoder=decoder)


def _deliver(folder: Path, assessments: Mapping[Kind, Assessment], networks: Mapping[str, Artifact]) -> None:
    """Copy the exported files and the changed checkpoints, which come by their names."""
    delivered = {
        file_name(kind): assessment.artifact for kind, assessment in assessments.items() if assessment.error is None
    }
    delivered |= networks
    for name, artifact in delivered.items():
        copy_into_place(artifact.path, folder / name)
    _remove_others(folder, set(delivered))


def _remove_others(folder: Path, made: set[str]) -> None:
    """Remove the files of an earlier run that made other formats; what others put there stays."""
    for path in folder.iterdir() if folder.is_dir() else ():
        ours = OURS.fullmatch(path.name)
        known = ours is not None and (ours["suffix"] is None or formats_of_suffix(ours["suffix"]))
        if known and path.name not in made:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _bundle(folder: Path, chosen: Row, assessment: Assessment, *, report: Report, data: Data, decoder: Path) -> None:
    backend = assessment.deployment.backend
    write_bundle(
        folder,
        assessment.artifact,
        backend=backend,
        preprocessing=data.preprocessing,
        labels=data.class_names,
        decoder=decoder,
        facts={
            "target": report.target["name"],
            "target_backend": assessment.deployment.backend,
            "outcome": chosen.outcome or "BASELINE",
            "outcome_why": chosen.outcome_why,
        },
    )


def copy_into_place(source: Path, target: Path) -> None:
    """Copy beside `target`, then rename: a reader never meets half a file."""
    unfinished = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, unfinished)
        unfinished.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise cannot_write(target, error) from error
