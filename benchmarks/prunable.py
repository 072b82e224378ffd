"""Which of torchvision's CNNs can be pruned, how far, and why not: constructed without weights, half their multiply-
adds asked for. Writes the table in docs/pruning.md."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import records

PAGE = Path(__file__).parent.parent / "docs" / "pruning.md"
BEGIN, END = "<!-- written by benchmarks/prunable.py: begin -->", "<!-- written by benchmarks/prunable.py: end -->"
TRANSFORMERS = ("vit_", "swin_", "maxvit_")
SIDE = 96
SIDES = {"inception_v3": 128}
"""Pixels where the usual ones are too few for a network."""


def main() -> None:
    """One process for each network, with a time limit, so that none can take the others with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="of torchvision.models, done anew; all CNNs by default")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one network")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_pruned(options.one)))
        return
    names = options.networks or _convolutional()
    found = _known() if options.networks else {}
    for number, name in enumerate(names, 1):
        found[name] = _asked(name, options.limit)
        records.say(f"{number}/{len(names)} {name}: {_outcome(found[name])}")
    records.table("half the multiply-adds, layers in multiples of 16", COLUMNS, [_row(*item) for item in found.items()])
    pruned = sum(item.get("macs", 1) <= 0.5 for item in found.values())
    goals = [records.Goal("CNNs that run through", f"{len(found)}", str(_ran(found)), _ran(found) == len(found))]
    records.print_goals(goals)
    settings = {"side": SIDE, "macs": 0.5, "round_to": 16, "max_layer": 0.75, "reached": pruned}
    records.save("prunable", found, settings=settings, goals=goals)
    _write_page(found)


def _known() -> dict[str, Any]:
    """What an earlier run found."""
    place = records.RESULTS / "prunable.json"
    return dict(json.loads(place.read_text())["result"]) if place.exists() else {}


def _convolutional() -> list[str]:
    from torchvision import models

    return [name for name in models.list_models(module=models) if not name.startswith(TRANSFORMERS)]


def _asked(name: str, limit_s: float) -> dict[str, Any]:
    """What came of one network, in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "--one", name],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit_s:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["died without a word"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _pruned(name: str) -> dict[str, Any]:
    """The facts of one network: shares kept, layers pruned, and the reasons of those left whole."""
    import torch
    from torchvision import models

    from edgecnn.compress.prune.algorithm import PruneTarget, prune
    from edgecnn.core.errors import EdgecnnError, InputError
    from edgecnn.core.quantities import Amount

    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = models.get_model(name, weights=None, **options).eval()
    side = SIDES.get(name, SIDE)
    example, began = torch.zeros(1, 3, side, side), time.monotonic()
    target, reachable = 0.5, None
    try:
        try:
            made = prune(module, example, PruneTarget("macs", Amount(target)))
        except InputError as error:
            if error.code != "target-out-of-reach":
                raise
            reachable = int(error.hint.split()[1].rstrip("%,")) / 100
            made = prune(module, example, PruneTarget("macs", Amount(reachable)))
    except EdgecnnError as error:
        return {"error": f"{error.message}: {error.why}"}
    with torch.no_grad():
        shape = list(made.module(example).shape)
    facts = made.facts
    reasons: dict[str, list[str]] = {}
    for path, why in made.unpruned.items():
        reasons.setdefault(why, []).append(path)
    return {
        "layers": len(facts["layers"]),
        "pruned_layers": facts["pruned_layers"],
        **{key: facts[key]["after"] / facts[key]["before"] for key in ("macs", "parameters", "size")},
        "macs_before": facts["macs"]["before"],
        "output": shape,
        "reachable": reachable,
        "left_whole": reasons,
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


COLUMNS = ("network", "MACs left", "parameters left", "layers pruned", "left whole, and why")


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    if "error" in found:
        return name, "-", "-", "-", found["error"]
    share = f"{found['macs']:.1%}" + (" (least)" if found["reachable"] else "")
    layers = f"{found['pruned_layers']} of {found['layers']}"
    return name, share, f"{found['parameters']:.1%}", layers, _why(found["left_whole"])


def _why(reasons: dict[str, list[str]]) -> str:
    """Reasons by how many layers they concern, the classes aside."""
    said = []
    for why, paths in sorted(reasons.items(), key=lambda item: -len(item[1])):
        if "for each class" not in why or any("fc" not in path and "classifier" not in path for path in paths):
            said.append(f"{len(paths)}: {why}")
    return "; ".join(said) or "-"


def _outcome(found: dict[str, Any]) -> str:
    return found.get("error") or f"{found['macs']:.1%} of the MACs left, {found['seconds']} s, {found['peak_mb']} MB"


def _ran(found: dict[str, dict[str, Any]]) -> int:
    return sum("error" not in item for item in found.values())


def _write_page(found: dict[str, dict[str, Any]]) -> None:
    """The table, between the two marks of the page."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|--:|--:|--:|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _row(*item)) + " |" for item in found.items()]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


if __name__ == "__main__":
    records.leave(main)
