"""How long `edgecnn --help` takes: CPU seconds, median of ten fresh processes."""

from __future__ import annotations

import argparse
import statistics
import sys

import jobs
import records

LIMIT_S = 0.4
COMMANDS = (("--help",), ("optimize", "--help"), ("--version",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    found = {}
    for command in COMMANDS:
        argv = [sys.executable, "-m", "edgecnn", *command]
        jobs.spend(argv)  # byte code and page cache
        costs = [jobs.spend(argv)[0] for _ in range(options.repeats)]
        found[" ".join(("edgecnn", *command))] = {
            "cpu_s": statistics.median(cost.cpu_s for cost in costs),
            "cpu_low_s": min(cost.cpu_s for cost in costs),
            "cpu_high_s": max(cost.cpu_s for cost in costs),
            "wall_s": statistics.median(cost.wall_s for cost in costs),
        }
    records.table(
        f"start of the command line, median of {options.repeats}",
        ("command", "CPU s", "lowest", "highest", "wall s"),
        [(name, *(f"{value:.3f}" for value in row.values())) for name, row in found.items()],
    )
    help_s = found["edgecnn --help"]["cpu_s"]
    goals = [records.Goal("CPU of edgecnn --help", "under 0.4 s", f"{help_s:.3f} s", help_s < LIMIT_S)]
    records.print_goals(goals)
    records.save("command_line", found, settings={"repeats": options.repeats}, goals=goals)


if __name__ == "__main__":
    records.leave(main)
