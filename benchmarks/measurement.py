"""Whether the measurement can be trusted: beside other tools' loops, against itself, with and without sensors."""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import records

from edgecnn.core.events import ignore
from edgecnn.formats.files import open_artifact
from edgecnn.measure.device import ThisMachine
from edgecnn.measure.effort import Profile, profile_named
from edgecnn.measure.latency import Candidate, compare, measure
from edgecnn.statistics.samples import mean_interval

HERE = Path(__file__).parent
PARTS = ("peers", "sensors", "self", "planted")
BRIEF = Profile("brief", 5, 200, 0.5, 10.0, warmup_s=0.3)
"""Of the comparisons of a file with itself: five processes each, as `standard`, but shorter, for there are fifty."""
BUDGET = {"alike": 0.02, "sensors": 0.01, "false": 0.05}
SAMPLES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--comparisons", type=int, default=50, help="of a file with itself")
    parser.add_argument("--blocks", type=int, default=10, help="of the paired parts")
    parser.add_argument("--profile", default="standard", help="of the planted slowdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        files = _networks(Path(folder))
        work: Mapping[str, Callable[[], tuple[Any, list[records.Goal]]]] = {
            "peers": lambda: _peers(files, options.blocks),
            "sensors": lambda: _sensors(files, options.blocks),
            "self": lambda: _against_itself(files, options.comparisons),
            "planted": lambda: _planted(files, options.profile),
        }
        for part in options.parts:
            records.say(f"-- {part}")
            found, goals = work[part]()
            records.print_goals(goals)
            records.save(f"measurement_{part}", found, settings=vars(options), goals=goals)


def _networks(folder: Path) -> dict[str, Path]:
    """`whole` has 20 convolutions, `slow` 21 (5 % more of the same work); `small` is for the many comparisons."""
    made = {}
    for name, layers, channels, side in (("whole", 19, 32, 48), ("slow", 20, 32, 48), ("small", 9, 16, 32)):
        out = {"onnx": str(folder / f"{name}.onnx")}
        if name == "whole":
            out["tflite"] = str(folder / f"{name}.tflite")
        settings = {"layers": layers, "channels": channels, "side": side, "out": out}
        jobs.spend([sys.executable, str(HERE / "loops.py"), "chain", json.dumps(settings)])
        made.update({f"{name}.{format}": Path(path) for format, path in out.items()})
    return made


def _peers(files: Mapping[str, Path], blocks: int) -> tuple[Any, list[records.Goal]]:
    """The probe beside the loops of onnxruntime_perf_test and benchmark_model, a fresh process each, interleaved."""
    found, goals = {}, []
    for kind, name in (("perf_test", "whole.onnx"), ("benchmark_model", "whole.tflite")):
        ours = _probe(files[name], sensors=True)

        def theirs(kind: str = kind, name: str = name) -> float:
            settings = json.dumps({"model": str(files[name]), "times": SAMPLES})
            _, printed = jobs.spend([sys.executable, str(HERE / "loops.py"), kind, settings])
            return float(json.loads(printed.strip().splitlines()[-1])["median_ns"])

        ratio = _paired(ours, theirs, blocks)
        found[kind] = ratio
        within = abs(ratio["ratio"] - 1) <= BUDGET["alike"]
        goals.append(records.Goal(f"median against {kind}", "within 2 %", _percent(ratio), within))
    return found, goals


def _sensors(files: Mapping[str, Path], blocks: int) -> tuple[Any, list[records.Goal]]:
    """The probe with sensors read beside it, and without."""
    ratio = _paired(_probe(files["whole.onnx"], sensors=True), _probe(files["whole.onnx"], sensors=False), blocks)
    within = abs(ratio["ratio"] - 1) < BUDGET["sensors"]
    return ratio, [records.Goal("median with sensors", "less than 1 % off", _percent(ratio), within)]


def _probe(path: Path, *, sensors: bool) -> Callable[[], float]:
    artifact = open_artifact(path)
    backend = "tflite" if path.suffix == ".tflite" else "onnxruntime"
    fields = replace(BRIEF, min_iterations=SAMPLES, min_s=1.0, warmup_s=1.0).job_fields()
    job = {"verb": "latency", "backend": backend, "threads": 1, "options": {}, "sensors": sensors, **fields}

    def run() -> float:
        with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
            output = Path(folder) / "samples.npy"
            result = ThisMachine().run(
                job, files={"model": artifact.path}, outputs={"output": output}, timeout_s=BRIEF.timeout_s
            )
            return float(np.median(np.load(output, allow_pickle=False))) / float(result["runs_per_sample"])

    return run


def _paired(one: Callable[[], float], other: Callable[[], float], blocks: int) -> dict[str, Any]:
    """Median of `one` over median of `other`, block by block in random order, with Student's 95 % interval."""
    rng = random.Random(0)  # noqa: S311 - an order, no secret
    logs, pairs = [], []
    for block in range(blocks):
        order = [0, 1]
        rng.shuffle(order)
        taken = {index: (one, other)[index]() for index in order}
        pairs.append([taken[0], taken[1]])
        logs.append(math.log(taken[0] / taken[1]))
        records.say(f"   block {block + 1} of {blocks}: {taken[0] / taken[1]:.4f}")
    low, high = mean_interval(logs)
    centre = float(np.mean(logs))
    return {"ratio": math.exp(centre), "low": math.exp(low), "high": math.exp(high), "medians_ns": pairs}


def _percent(ratio: Mapping[str, float]) -> str:
    low, centre, high = ((ratio[key] - 1) * 100 for key in ("low", "ratio", "high"))
    return f"{centre:+.2f} % [{low:+.2f}, {high:+.2f}]"


def _against_itself(files: Mapping[str, Path], comparisons: int) -> tuple[Any, list[records.Goal]]:
    """The same file twice, many times over: how often a difference is claimed that is not there."""
    found = []
    for seed in range(comparisons):
        ratio = _ratio(files["small.onnx"], files["small.onnx"], BRIEF, seed)
        found.append(ratio)
        records.say(f"   {seed + 1} of {comparisons}: {ratio['speedup']:.4f}, {ratio['conclusion']}")
    claimed = sum(ratio["conclusion"] in ("faster", "slower") for ratio in found)
    rate = claimed / comparisons
    shown = f"{claimed} of {comparisons} ({rate:.0%})"
    met = rate <= BUDGET["false"]
    return {"claimed": claimed, "of": comparisons, "comparisons": found}, [
        records.Goal("a file against itself: differences claimed", "at most 5 %", shown, met)
    ]


def _planted(files: Mapping[str, Path], profile: str) -> tuple[Any, list[records.Goal]]:
    """One convolution in twenty-one more: is it found, and how large?"""
    ratio = _ratio(files["slow.onnx"], files["whole.onnx"], profile_named(profile), 0)
    shown = f"{ratio['conclusion']}, {1 / ratio['speedup'] - 1:+.1%} [{1 / ratio['high'] - 1:+.1%}, "
    shown += f"{1 / ratio['low'] - 1:+.1%}]"
    return ratio, [records.Goal(f"5 % more work, profile {profile}", "slower", shown, ratio["conclusion"] == "slower")]


def _ratio(candidate: Path, baseline: Path, profile: Profile, seed: int) -> dict[str, Any]:
    candidates = [
        Candidate(name, open_artifact(path), "onnxruntime", 1) for name, path in (("a", baseline), ("b", candidate))
    ]
    first, second = measure(candidates, profile=profile, seed=seed, listener=ignore)
    ratio = compare(second, first)
    return {
        **{key: getattr(ratio, key) for key in ("speedup", "low", "high", "blocks", "conclusion")},
        "grades": [first.grade, second.grade],
        "reasons": sorted({reason.code for latency in (first, second) for reason in latency.reasons}),
    }


if __name__ == "__main__":
    records.leave(main)
