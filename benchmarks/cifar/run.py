"""ResNet-56 on CIFAR-10 JPEG images: fine-tuned, halved, INT8; the same by a die; and what a teacher is worth.

    python benchmarks/cifar/run.py --images DIR --weights FOLDER --work FOLDER [PART ...]

Every step is an `edgecnn` command or a call of its training loop, and is found finished in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import records  # noqa: E402

from edgecnn.core.errors import EdgecnnError, MissingError, StepError  # noqa: E402

PARTS = ("level", "half", "control", "one-shot", "cutmix", "reconstruction", "importance", "gain")
LEVEL_EPOCHS = 3
GAIN_EPOCHS, GAIN_IMAGES, SEEDS = 6, 10_000, (0, 1, 2)
UNTRAINED_IMAGES = 2000
IMPORTANCES = (
    *((name, 0) for name in ("reconstruction", "group-l2", "fpgm", "lamp", "taylor", "bn-scale")),
    *(("random", seed) for seed in SEEDS),
)
SCHEDULE = (*("--batch", "128", "--learning-rate", "0.05"), *("--set", "optimizer=sgd", "--set", "weight_decay=0.0005"))
IMAGES = ("--crop-padding", "4", "--flip", "--resize", "none", "--crop", "32")


def main() -> None:
    options = _arguments()
    found: dict[str, Any] = _known(options.work)
    for part in options.parts or PARTS:
        records.say(f"== {part}")
        found[part] = WAYS[part](options)
        (options.work / "found.json").write_text(json.dumps(found, indent=1))
    _show(found)
    records.save("cifar", found, settings=_settings(), goals=(goals := _goals(found)))
    records.print_goals(goals)


def level(options: argparse.Namespace) -> dict[str, Any]:
    """Both published checkpoints fine-tuned to these images, which lost detail to JPEG."""
    found = {}
    for depth in (20, 56):
        weights = next(iter(sorted(options.weights.glob(f"cifar10_resnet{depth}-*.th"))), None)
        if weights is None:
            raise MissingError(
                "no-weights", f"no cifar10_resnet{depth}-*.th in {options.weights}", hint="--weights DIR"
            )
        told = _edgecnn(
            *("train", str(options.images), "--arch", f"{HERE / 'resnet.py'}:resnet{depth}"),
            *("--pretrained", str(weights), "--epochs", str(LEVEL_EPOCHS), *SCHEDULE, *IMAGES),
            *("--out", str(options.work / f"level{depth}"), "--json"),
        )
        kept = ("accuracy", "settings", "history")
        found[f"resnet{depth}"] = {key: told[key] for key in kept if key in told}
    return found


def half(options: argparse.Namespace, recipe: str = "half") -> dict[str, Any]:
    """Half the multiply-adds, distilled, exported, INT8, judged on all 10,000 validation images."""
    best = options.work / "level56" / "best.safetensors"
    report = _edgecnn(
        *("optimize", str(best), "--model", f"{HERE / 'resnet.py'}:resnet56", "--data", str(options.images)),
        *("--recipe", str(HERE / f"{recipe}.yaml"), "--format", "onnx", "--out", str(options.work / recipe), "--json"),
        codes=(0, 1, 3),
    )
    rows = {" ".join(filter(None, (row["format"], row["precision"], row["variant"]))): row for row in report["rows"]}
    return {
        "outcome": report["outcome"],
        "rows": {name: _figures(row) for name, row in rows.items()},
        "warnings": report["warnings"],
    }


def control(options: argparse.Namespace) -> dict[str, Any]:
    return half(options, "control") | {"ahead": ahead(options, "half", "control")}


def ahead(options: argparse.Namespace, chosen: str, by_a_die: str) -> tuple[float, float, float]:
    """How much more of the validation images the network of one recipe gets right than that of another: the share,
    and its bounds at 95 % each side, paired."""
    import numpy as np
    import onnxruntime

    from edgecnn.core.preprocessing import Preprocessing
    from edgecnn.data import open_data
    from edgecnn.statistics.proportions import tango_bounds

    data = open_data(options.images, num_classes=10, preprocessing=Preprocessing(crop=(32, 32), resize=None))
    files = [options.work / recipe / "artifacts" / "model.pruned.fp32.onnx" for recipe in (chosen, by_a_die)]
    sessions = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]
    answers = [
        [session.run(None, {session.get_inputs()[0].name: x})[0].argmax() for session in sessions]
        for x in data.evaluation.batches(1)
    ]
    ours, theirs = (np.asarray(answers) == np.asarray(data.evaluation.labels)[:, None]).T
    more, less = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    low, high = tango_bounds(more, less, len(answers))
    return (more - less) / len(answers), low, high


def reconstruction(options: argparse.Namespace) -> dict[str, Any]:
    return half(options, "reconstruction")


def beside_control(options: argparse.Namespace, recipe: str) -> dict[str, Any]:
    found = {"half": half(options, recipe), "control": half(options, f"{recipe}-control")}
    return found | {"ahead": ahead(options, recipe, f"{recipe}-control")}


def importance(options: argparse.Namespace) -> dict[str, Any]:
    """Top-1 at half the multiply-adds before any training, batch norm re-estimated: what an importance is worth."""
    import torch
    from resnet import resnet56

    from edgecnn.compress.prune.algorithm import PruneTarget, prune
    from edgecnn.compress.prune.group import Ranking
    from edgecnn.compress.prune.kernel import batches, losses
    from edgecnn.core.preprocessing import Preprocessing
    from edgecnn.core.quantities import Amount
    from edgecnn.data import open_data
    from edgecnn.models import open_model
    from edgecnn.train import measure_accuracy
    from edgecnn.train.norms import reestimate

    data = open_data(options.images, num_classes=10, preprocessing=Preprocessing(crop=(32, 32), resize=None))
    best = options.work / "level56" / "best.safetensors"
    whole = open_model(best, architecture=f"{HERE / 'resnet.py'}:{resnet56.__name__}").module()
    asked, example = data.evaluation.take(UNTRAINED_IMAGES), torch.zeros(1, 3, 32, 32)
    found: dict[str, Any] = {"images": len(asked), "whole": measure_accuracy(whole, asked)}
    for name, seed in IMPORTANCES:
        looked_at = {"losses": losses(data.training, 1024, seed), "images": batches(data.training, 1024, seed)}
        ranking = Ranking(name, 8, 0.9, seed=seed, **looked_at)
        made = prune(whole, example, PruneTarget("macs", Amount(0.5)), ranking=ranking).module
        reestimate(made, data.training, count=2000, batch=64, seed=0)
        found[f"{name} {seed}"] = measure_accuracy(made, asked)
        records.say(f"{name}, seed {seed}: {found[f'{name} {seed}']:.2%}")
    return found


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    accuracy, speed = row["accuracy"] or {}, row["speed"] or {}
    kept = {key: accuracy.get(key) for key in ("images", "top1", "drop", "drop_low", "drop_high", "agreement")}
    return {**kept, "size_bytes": row["size_bytes"], "outcome": row["outcome"], "speedup": speed.get("speedup")}


def gain(options: argparse.Namespace) -> dict[str, Any]:
    """ResNet-20 from nothing, with labels alone and with ResNet-56 as teacher: same seeds, images and epochs."""
    runs = []
    for seed in SEEDS:
        for method in ("labels", "dist"):
            place = options.work / f"gain-{method}-{seed}.json"
            if not place.exists():
                place.write_text(json.dumps(_student(options, method, seed)))
            runs.append(json.loads(place.read_text()))
            records.say(f"seed {seed} {method}: {runs[-1]['top1']:.2%}")
    gains = [
        next(run["top1"] for run in runs if (run["seed"], run["method"]) == (seed, "dist"))
        - next(run["top1"] for run in runs if (run["seed"], run["method"]) == (seed, "labels"))
        for seed in SEEDS
    ]
    return {"runs": runs, "gains": gains, "mean": sum(gains) / len(gains), "interval": _student_interval(gains)}


def _student(options: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """One student trained; its top-1 on the validation images."""
    import torch
    from resnet import resnet20, resnet56

    from edgecnn.core.preprocessing import Preprocessing
    from edgecnn.data import open_data
    from edgecnn.models import open_model
    from edgecnn.train import TrainSettings, fit, measure_accuracy
    from edgecnn.train.distillation_loss import Distilled

    # the published normalisation of these checkpoints
    data = open_data(options.images, num_classes=10, preprocessing=Preprocessing(crop=(32, 32), resize=None))
    torch.manual_seed(seed)
    student, objective = resnet20(), None
    if method != "labels":
        best = options.work / "level56" / "best.safetensors"
        teacher = open_model(best, architecture=f"{HERE / 'resnet.py'}:{resnet56.__name__}")
        objective = Distilled(teacher.module(), method="dist", label_weight=1.0)
    settings = TrainSettings.model_validate(
        {
            **{"epochs": GAIN_EPOCHS, "batch": 128, "optimizer": "sgd", "learning_rate": 0.2, "weight_decay": 5e-4},
            "augment": {"crop_padding": 4, "flip": True},
        }
    )
    images, began = data.training.take(GAIN_IMAGES), time.monotonic()
    fit(student, images, settings=settings, objective=objective, seed=seed, listener=records.listener)
    top1 = measure_accuracy(student, data.evaluation)
    return {"seed": seed, "method": method, "top1": top1, "seconds": time.monotonic() - began}


def _student_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's two-sided 95 % interval of the mean."""
    import numpy as np
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


WAYS = {
    **{"level": level, "half": half, "control": control, "reconstruction": reconstruction},
    **{name: partial(beside_control, recipe=name) for name in ("one-shot", "cutmix")},
    **{"importance": importance, "gain": gain},
}


def _goals(found: Mapping[str, Any]) -> list[records.Goal]:
    goals = []
    if {"level", "half"} <= set(found):
        rows = found["half"]["rows"]
        fp32, pruned, small = (
            rows["onnx fp32"]["top1"],
            rows["onnx fp32 pruned"]["top1"],
            rows["onnx int8 pruned"]["top1"],
        )
        lost, more = 100 * (fp32 - pruned), 100 * (pruned - small)
        goals.append(records.Goal("ResNet-56 at half the MACs loses", "<= 0.5 points", f"{lost:.2f}", lost <= 0.5))
        goals.append(records.Goal("INT8 of it loses more", "<= 0.3 points", f"{more:.2f}", more <= 0.3))
        if "control" in found:
            goals.append(_ahead("ahead of the random control", found["control"]["ahead"]))
    for part, how in (("one-shot", "pruned at once"), ("cutmix", "at once, from mixed images")):
        if part in found:
            goals.append(_ahead(f"the same, {how}", found[part]["ahead"]))
    if "gain" in found:
        low, high = found["gain"]["interval"]
        shown = f"{100 * found['gain']['mean']:.2f} [{100 * low:.2f}, {100 * high:.2f}] points"
        goals.append(records.Goal("a teacher is worth, to ResNet-20", "a gain", shown, low > 0))
    return goals


def _ahead(what: str, found: Sequence[float]) -> records.Goal:
    share, low, high = (100 * value for value in found)
    return records.Goal(what, ">= 1 point", f"{share:.2f} [{low:.2f}, {high:.2f}]", share >= 1)


def _show(found: Mapping[str, Any]) -> None:
    halves = {part: found[part] for part in ("half", "control", "reconstruction") if part in found}
    for part in ("one-shot", "cutmix"):
        halves |= {f"{part}, {candidate}": found[part][candidate] for candidate in ("half", "control") if part in found}
    rows = [
        (
            part,
            name,
            f"{100 * row['top1']:.2f}",
            "-" if row["drop"] is None else f"{100 * row['drop']:.2f}",
            row["outcome"],
        )
        for part, candidate in halves.items()
        for name, row in candidate["rows"].items()
        if row["top1"] is not None
    ]
    if rows:
        records.table("ResNet-56", ("recipe", "file", "top-1 %", "drop", "verdict"), rows)


def _settings() -> dict[str, Any]:
    return {
        "level_epochs": LEVEL_EPOCHS,
        "gain": {"epochs": GAIN_EPOCHS, "images": GAIN_IMAGES, "seeds": SEEDS},
        "half": (HERE / "half.yaml").read_text(),
    }


def _known(work: Path) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    place = work / "found.json"
    return json.loads(place.read_text()) if place.exists() else {}


def _edgecnn(*words: str, codes: Sequence[int] = (0,)) -> Any:
    """One command; its JSON. Raises StepError with its last words when it ends otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn", *words], stdout=subprocess.PIPE, text=True, check=False, env=os.environ
    )
    if done.returncode not in codes:
        raise StepError("command-failed", f"edgecnn {words[0]} ended with {done.returncode}")
    return json.loads(done.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--images", type=Path, required=True, help="train/ and val/ with the ten class folders")
    parser.add_argument("--weights", type=Path, required=True, help="folder with cifar10_resnet20-*.th, resnet56-*.th")
    parser.add_argument("--work", type=Path, default=Path("cifar-work"))
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except EdgecnnError as error:
        records.err.print(f"{error.message}: {error.why} {error.hint}", highlight=False)
        sys.exit(error.exit_code)
